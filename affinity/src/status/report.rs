//! The state of zones and servers, as values.

use serde::Serialize;

use super::text::{Text, Utc};
use super::zone::{Loss, Refused, Tally};
use crate::policy::{Rejection, Status};
use crate::servers::{Known, Reason, Source};
use crate::table::{ServerStats, Stats};

/// The state of all zones and upstreams, at one moment.
#[derive(Debug, Default)]
pub struct Report<'a> {
    /// Version of this module.
    pub version: &'a str,
    /// Version of nginx.
    pub nginx_version: &'a str,
    /// Milliseconds since this nginx was started. A reload does not change that.
    pub uptime_ms: u64,
    /// Whether requests may change the state.
    pub write: bool,
    /// The zones of the configuration.
    pub zones: Vec<ZoneReport<'a>>,
    /// The upstreams with sessions.
    pub upstreams: Vec<UpstreamReport<'a>>,
}

/// One zone.
#[derive(Debug)]
pub struct ZoneReport<'a> {
    /// As in the configuration.
    pub name: Text<'a>,
    /// Bytes of shared memory.
    pub size: u64,
    /// The longest `timeout` of its upstreams, in milliseconds.
    pub timeout_ms: u64,
    /// The longest `lifetime` of its upstreams, in milliseconds; none if one has no limit.
    pub lifetime_ms: Option<u64>,
    /// The file of its memory, if it has one.
    pub file: Option<FileReport<'a>>,
    /// The records of its sessions, if the zone keeps some.
    pub records: Option<RecordsReport>,
    /// How the sessions are shared with other machines, if they are.
    pub share: Option<ShareReport<'a>>,
    /// What the table has counted.
    pub stats: Stats,
    /// The requests, counted by what became of them.
    pub tally: Tally,
    /// All servers on the zone's list.
    pub servers: Vec<ZoneServer<'a>>,
}

/// The records of a zone's sessions, which can be revived.
#[derive(Clone, Copy, Debug)]
pub struct RecordsReport {
    /// Bytes of memory.
    pub size: u64,
    /// Sessions whose record is kept.
    pub kept: u64,
    /// Records that made room for others.
    pub evicted: u64,
}

/// The file of a zone.
#[derive(Clone, Copy, Debug)]
pub struct FileReport<'a> {
    /// Absolute.
    pub path: Text<'a>,
    /// Bytes of the file.
    pub size: u64,
    /// How the zone began.
    pub began: Began,
    /// False if the file was removed or replaced.
    pub linked: bool,
    /// When nginx last had the file written to its disk.
    pub synced: Option<Utc>,
    /// Milliseconds since the oldest session began; none if there is no session.
    pub oldest_ms: Option<u64>,
}

/// The store that a zone is shared by.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ShareReport<'a> {
    /// The name of the `sticky_share`.
    pub name: Text<'a>,
    /// Where the store is, as the configuration has it.
    pub store: Text<'a>,
    /// Whether the store can be used.
    pub up: bool,
    /// Milliseconds since it was lost; none if it was not.
    pub away_ms: Option<u64>,
    /// Of the last replies: half came in so many milliseconds; none before the first.
    pub round_trip_ms: Option<u64>,
    /// 99 of 100 came in so many.
    pub round_trip_99_ms: Option<u64>,
    /// Sessions that requests wait for.
    pub waiting: u64,
    /// The worker that hears the messages of other machines; none if none does.
    pub listener: Option<u32>,
    /// Milliseconds since the store was last heard there; none if it never was.
    pub heard_ms: Option<u64>,
    /// How often messages may have been missed: each begin to listen counts.
    pub gaps: u64,
    /// Whether the store has what this machine knows, as far as this machine knows.
    pub announced: bool,
}

/// How a zone began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    /// Without sessions.
    New,
    /// Without sessions: its file was damaged.
    Damaged,
    /// With the memory of an nginx before, as it was.
    Attached,
    /// With sessions of another memory.
    Imported {
        /// How many were copied.
        taken: u64,
        /// How many there were.
        of: u64,
        /// Pages that were left out.
        damaged_pages: u64,
    },
}

impl Began {
    /// The text of the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Began::New => "new",
            Began::Damaged => "damaged",
            Began::Attached => "attached",
            Began::Imported { .. } => "imported",
        }
    }

    /// Sessions copied, sessions that there were, pages left out.
    pub(super) fn numbers(self) -> (u64, u64, u64) {
        match self {
            Began::New | Began::Damaged | Began::Attached => (0, 0, 0),
            Began::Imported { taken, of, damaged_pages } => (taken, of, damaged_pages),
        }
    }
}

/// A server on a zone's list.
#[derive(Debug)]
pub struct ZoneServer<'a> {
    /// Address and port, or path of the socket.
    pub address: Text<'a>,
    /// What the table has counted.
    pub stats: ServerStats,
}

/// One upstream.
#[derive(Debug)]
pub struct UpstreamReport<'a> {
    /// As in the configuration.
    pub name: Text<'a>,
    /// The zone of its sessions.
    pub zone: Text<'a>,
    /// Its servers, and those that have gone.
    pub servers: Vec<ServerReport<'a>>,
}

/// A server of an upstream.
#[derive(Clone, Copy, Debug)]
pub struct ServerReport<'a> {
    /// Address and port, or path of the socket.
    pub address: Text<'a>,
    /// The route of `sticky route`.
    pub route: Option<Text<'a>>,
    /// Its state.
    pub state: Known,
    /// The reason for that.
    pub reason: Reason,
    /// When that state began.
    pub since: Option<Utc>,
    /// The source of that.
    pub seen_by: Source,
    /// When it failed last.
    pub last_failure: Option<Utc>,
    /// When it last answered or accepted a connection.
    pub last_success: Option<Utc>,
    /// What the administrator wants.
    pub admin: Admin,
    /// Whether it is a backup server.
    pub backup: bool,
    /// Its sessions in the upstream's zone.
    pub live: u64,
    /// Requests that it got because it has their session.
    pub hits: u64,
    /// When its remaining sessions will be forgotten.
    pub drain_deadline: Option<Utc>,
}

/// What the administrator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// It gets new sessions.
    InService,
    /// It gets no new sessions, and keeps those that it has.
    Draining,
    /// It gets no requests.
    Down,
}

impl Admin {
    /// All of them.
    pub const ALL: [Admin; 3] = [Admin::InService, Admin::Draining, Admin::Down];

    /// The text of the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Admin::InService => "in_service",
            Admin::Draining => "draining",
            Admin::Down => "down",
        }
    }
}

impl ZoneReport<'_> {
    /// The number of requests of each status.
    pub(super) fn requests(&self) -> [(&'static str, u64); 8] {
        let of = |status| self.tally.requests(status);
        [
            ("none", of(Status::None)),
            ("new", of(Status::New)),
            ("hit", self.stats.hits),
            ("unknown", of(Status::Unknown)),
            ("unavailable", of(Status::Unavailable)),
            ("gone", of(Status::Gone)),
            ("rebound", of(Status::Rebound)),
            ("revived", of(Status::Revived)),
        ]
    }

    /// How many sessions may have been lost, were lost, and were revived.
    pub(super) fn losses(&self) -> [(&'static str, u64); 3] {
        let of = |loss| self.tally.losses(loss);
        [("pinged", of(Loss::Pinged)), ("lost", of(Loss::Lost)), ("revived", of(Loss::Revived))]
    }

    /// How many could not be revived, for each reason.
    pub(super) fn not_revived(&self) -> [(&'static str, u64); 3] {
        [Refused::NoServer, Refused::Misfit, Refused::Error]
            .map(|why| (why.as_str(), self.tally.losses(Loss::NotRevived(why))))
    }

    /// The number of rejected requests for each reason.
    pub(super) fn rejected(&self) -> [(&'static str, u64); 3] {
        let of = |rejection| self.tally.rejected(rejection);
        [
            ("unknown", of(Rejection::NotFound)),
            ("gone", of(Rejection::Gone)),
            ("unavailable", of(Rejection::Unavailable)),
        ]
    }

    /// Requests that have found their session and refreshed it.
    pub(super) fn refreshed(&self) -> u64 {
        [Status::Unavailable, Status::Rebound, Status::Revived]
            .into_iter()
            .fold(self.stats.hits, |sum, status| sum.saturating_add(self.tally.requests(status)))
    }
}
