//! What `sticky_api` shows and understands, as values: the state of zones and servers, its two
//! renderings, and the requests that ask for it or change it.
//!
//! Names and units of fields are a promise to users: docs/api.md describes them,
//! docs/api.schema.json holds the tests to it.

mod json;
mod negotiate;
mod output;
mod prometheus;
mod request;
mod text;

pub use json::{Answer, Document};
pub use negotiate::Format;
pub use output::{OutOfMemory, Output};
pub use request::{
    Drain, Id, Method, Refusal, Request, Resource, Task, FOREIGN, MAX_BODY, NO_LENGTH, NO_MEMORY,
    NO_ROOM, NO_SERVER, NO_SESSION, NO_UPSTREAM, NO_ZONE, RELOADING, TOO_LARGE,
};
pub use text::{Text, Utc};

use crate::policy::{Rejection, Status};
use crate::servers::{Known, Reason, Source};
use crate::table::{ServerStats, Stats};

/// Everything, at one moment.
#[derive(Debug, Default)]
pub struct Report<'a> {
    /// Version of this module.
    pub version: &'a str,
    /// Version of nginx.
    pub nginx_version: &'a str,
    /// Milliseconds since this nginx was started; a reload does not start it anew.
    pub uptime_ms: u64,
    /// Requests may change what is shown here.
    pub write: bool,
    /// The zones of the configuration.
    pub zones: Vec<Zone<'a>>,
    /// The upstreams with sessions.
    pub upstreams: Vec<Upstream<'a>>,
}

/// One zone.
#[derive(Debug)]
pub struct Zone<'a> {
    /// As in the configuration.
    pub name: Text<'a>,
    /// Bytes of shared memory.
    pub size: u64,
    /// Of the most patient upstream, in milliseconds.
    pub timeout_ms: u64,
    /// The same.
    pub lifetime_ms: Option<u64>,
    /// What the table has counted.
    pub stats: Stats,
    /// What became of requests.
    pub tally: Tally,
    /// All servers that the zone knows.
    pub servers: Vec<Holder<'a>>,
}

/// A server as a zone knows it.
#[derive(Debug)]
pub struct Holder<'a> {
    /// Address and port, or path of the socket.
    pub address: Text<'a>,
    /// What the table has counted.
    pub stats: ServerStats,
}

/// One upstream.
#[derive(Debug)]
pub struct Upstream<'a> {
    /// As in the configuration.
    pub name: Text<'a>,
    /// The zone of its sessions.
    pub zone: Text<'a>,
    /// Its servers, and those that have gone.
    pub servers: Vec<Server<'a>>,
}

/// A server as an upstream sees it.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// Address and port, or path of the socket.
    pub address: Text<'a>,
    /// Of `sticky route`.
    pub route: Option<Text<'a>>,
    /// What is known of it.
    pub state: Known,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Option<Utc>,
    /// Where that was seen.
    pub seen_by: Source,
    /// When it failed last, and when it was seen to answer or to accept a connection.
    pub last_failure: Option<Utc>,
    /// See above.
    pub last_success: Option<Utc>,
    /// What the administrator wants.
    pub admin: Admin,
    /// Whether it is a backup server.
    pub backup: bool,
    /// Its sessions in the upstream's zone.
    pub live: u64,
    /// Requests that it got because it holds their session.
    pub hits: u64,
    /// When the sessions that are left will be forgotten.
    pub drain_deadline: Option<Utc>,
}

/// What the administrator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// That it gets new sessions.
    InService,
    /// That it gets none, and keeps those that it has.
    Draining,
    /// That it gets no requests.
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

/// How many requests ended with which status, but for hits, which the table counts by server; and
/// how many were rejected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub [u64; Tally::LEN]);

impl Tally {
    /// How many counters there are.
    pub const LEN: usize = 9;

    /// The counter of a status; none of hits.
    pub const fn of_status(status: Status) -> Option<usize> {
        Some(match status {
            Status::Hit => return None,
            Status::None => 0,
            Status::New => 1,
            Status::Unknown => 2,
            Status::Unavailable => 3,
            Status::Gone => 4,
            Status::Rebound => 5,
        })
    }

    /// The counter of a rejection. A request whose ids contradict each other counts as one whose id is
    /// unknown.
    pub const fn of_rejection(rejection: Rejection) -> usize {
        match rejection {
            Rejection::NotFound | Rejection::Ambiguous => 6,
            Rejection::Gone => 7,
            Rejection::Unavailable => 8,
        }
    }

    /// Requests with that status.
    fn requests(&self, status: Status) -> u64 {
        Tally::of_status(status).and_then(|index| self.0.get(index)).copied().unwrap_or(0)
    }

    /// Requests answered so.
    fn rejected(&self, rejection: Rejection) -> u64 {
        self.0.get(Tally::of_rejection(rejection)).copied().unwrap_or(0)
    }
}

impl Zone<'_> {
    /// Requests of a status, with its name.
    fn requests(&self) -> [(&'static str, u64); 7] {
        let of = |status| self.tally.requests(status);
        [
            ("none", of(Status::None)),
            ("new", of(Status::New)),
            ("hit", self.stats.hits),
            ("unknown", of(Status::Unknown)),
            ("unavailable", of(Status::Unavailable)),
            ("gone", of(Status::Gone)),
            ("rebound", of(Status::Rebound)),
        ]
    }

    /// Rejected requests, with the reason.
    fn rejected(&self) -> [(&'static str, u64); 3] {
        let of = |rejection| self.tally.rejected(rejection);
        [
            ("unknown", of(Rejection::NotFound)),
            ("gone", of(Rejection::Gone)),
            ("unavailable", of(Rejection::Unavailable)),
        ]
    }

    /// Requests that have found their session, and thereby prolonged it.
    fn refreshed(&self) -> u64 {
        [Status::Unavailable, Status::Rebound]
            .into_iter()
            .fold(self.stats.hits, |sum, status| sum.saturating_add(self.tally.requests(status)))
    }
}

/// An upstream server's flags in the zone: whether it drains, and until when sessions may stay.
///
/// Both stand in one word, so that they change at once: the lowest bit says that it drains, the
/// others are the deadline in ticks, rounded up to an even one; zero stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining(pub u32);

impl Draining {
    /// The flags of a server that does not drain.
    pub const NO: Draining = Draining(0);

    /// The flags of one that does.
    pub fn until(deadline: Option<crate::time::Tick>) -> Draining {
        let deadline = deadline.map_or(0, |tick| (tick.0.wrapping_add(1) & !1).max(2));
        Draining(1 | deadline)
    }

    /// Whether the server drains.
    pub fn is_on(self) -> bool {
        self.0 & 1 != 0
    }

    /// When its sessions are to be forgotten.
    pub fn deadline(self) -> Option<crate::time::Tick> {
        match self.0 & !1 {
            0 => None,
            tick => Some(crate::time::Tick(tick)),
        }
    }
}

#[cfg(test)]
mod tests;
