//! The JSON rendering. Nothing here allocates but the output: a document is written field by field.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::output::{OutOfMemory, Output};
use super::refusal::{Refusal, NO_SERVER, NO_UPSTREAM, NO_ZONE};
use super::report::{
    Admin, FileReport, Report, ServerReport, ShareReport, UpstreamReport, ZoneReport, ZoneServer,
};
use super::request::Resource;
use super::text::{Text, Utc};

/// The body of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Document<'a> {
    /// A resource, or a part of the report.
    Report(&'a Report<'a>),
    /// All zones, by name.
    Zones(&'a [ZoneReport<'a>]),
    /// One zone.
    Zone(&'a ZoneReport<'a>),
    /// All upstreams, by name.
    Upstreams(&'a [UpstreamReport<'a>]),
    /// One upstream.
    Upstream(&'a UpstreamReport<'a>),
    /// Its servers, by address.
    Servers(&'a [ServerReport<'a>]),
    /// One server.
    Server(&'a ServerReport<'a>),
    /// The outcome of a task.
    Outcome(Outcome<'a>),
    /// The error in its place.
    Refusal(Refusal),
}

/// The outcome of a task.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome<'a> {
    /// Where a session is.
    Session {
        /// The address of its server.
        server: Text<'a>,
        /// Milliseconds since it was created.
        age_ms: u64,
        /// Milliseconds since its last use.
        idle_ms: u64,
    },
    /// How many sessions were forgotten.
    Forgotten {
        /// That number.
        forgotten: u64,
    },
}

impl<'a> Document<'a> {
    /// The part of a report that a resource names.
    pub fn of(report: &'a Report<'a>, resource: &Resource<'_>) -> Result<Document<'a>, Refusal> {
        let upstream = |name: &[u8]| {
            report.upstreams.iter().find(|upstream| upstream.name.0 == name).ok_or(NO_UPSTREAM)
        };
        Ok(match *resource {
            Resource::Everything => Document::Report(report),
            Resource::Zones => Document::Zones(&report.zones),
            Resource::Zone(name) | Resource::Session(name) => {
                Document::Zone(report.zones.iter().find(|zone| zone.name.0 == name).ok_or(NO_ZONE)?)
            }
            Resource::Upstreams => Document::Upstreams(&report.upstreams),
            Resource::Upstream(name) => Document::Upstream(upstream(name)?),
            Resource::Servers(name) => Document::Servers(&upstream(name)?.servers),
            Resource::Server(name, address) | Resource::Sessions(name, address) => {
                let servers = &upstream(name)?.servers;
                let named = servers.iter().find(|server| server.address.0 == address);
                Document::Server(named.ok_or(NO_SERVER)?)
            }
        })
    }

    /// The document as text, with a line feed at the end.
    pub fn to_json(&self) -> Result<Vec<u8>, OutOfMemory> {
        let mut output = Output::default();
        // Neither the values nor the output can fail.
        let written = serde_json::to_writer(&mut output, self);
        let ended = std::io::Write::write_all(&mut output, b"\n");
        match (written, ended) {
            (Ok(()), Ok(())) => output.finish(),
            _ => Err(OutOfMemory),
        }
    }
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Document::Report(report) => report.serialize(serializer),
            Document::Zones(zones) => Named(zones).serialize(serializer),
            Document::Zone(zone) => zone.serialize(serializer),
            Document::Upstreams(upstreams) => Named(upstreams).serialize(serializer),
            Document::Upstream(upstream) => upstream.serialize(serializer),
            Document::Servers(servers) => Named(servers).serialize(serializer),
            Document::Server(server) => server.serialize(serializer),
            Document::Outcome(answer) => answer.serialize(serializer),
            Document::Refusal(refusal) => {
                #[derive(Serialize)]
                struct Error {
                    status: u16,
                    text: &'static str,
                }
                let error = Error { status: refusal.status, text: refusal.text };
                Pairs([("error", error)]).serialize(serializer)
            }
        }
    }
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            version: &'a str,
            nginx_version: &'a str,
            uptime_ms: u64,
            write: bool,
            zones: Named<'a, ZoneReport<'a>>,
            upstreams: Named<'a, UpstreamReport<'a>>,
        }
        Fields {
            version: self.version,
            nginx_version: self.nginx_version,
            uptime_ms: self.uptime_ms,
            write: self.write,
            zones: Named(&self.zones),
            upstreams: Named(&self.upstreams),
        }
        .serialize(serializer)
    }
}

impl Serialize for FileReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            path: Text<'a>,
            size_bytes: u64,
            began: &'static str,
            imported: u64,
            imported_of: u64,
            damaged_pages: u64,
            linked: bool,
            synced: Option<Utc>,
            oldest_ms: Option<u64>,
        }
        let (imported, imported_of, damaged_pages) = self.began.numbers();
        Fields {
            path: self.path,
            size_bytes: self.size,
            began: self.began.as_str(),
            imported,
            imported_of,
            damaged_pages,
            linked: self.linked,
            synced: self.synced,
            oldest_ms: self.oldest_ms,
        }
        .serialize(serializer)
    }
}

impl Serialize for ZoneReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            size_bytes: u64,
            capacity: u64,
            timeout_ms: u64,
            lifetime_ms: Option<u64>,
            file: Option<FileReport<'a>>,
            share: Option<ShareReport<'a>>,
            live: u64,
            created: u64,
            refreshed: u64,
            rebound: u64,
            expired: u64,
            evicted: u64,
            forgotten: u64,
            requests: Pairs<u64, 8>,
            rejected: Pairs<u64, 3>,
            records: Option<Records>,
            recovered_workers: u64,
            servers: Named<'a, ZoneServer<'a>>,
        }
        #[derive(Serialize)]
        struct Records {
            size_bytes: u64,
            kept: u64,
            evicted: u64,
            #[serde(flatten)]
            losses: Pairs<u64, 3>,
            not_revived: Pairs<u64, 3>,
        }
        Fields {
            size_bytes: self.size,
            capacity: self.stats.capacity,
            timeout_ms: self.timeout_ms,
            lifetime_ms: self.lifetime_ms,
            file: self.file,
            share: self.share,
            live: self.stats.live,
            created: self.stats.created,
            refreshed: self.refreshed(),
            rebound: self.stats.moved,
            expired: self.stats.expired,
            evicted: self.stats.evicted,
            forgotten: self.stats.forgotten,
            requests: Pairs(self.requests()),
            rejected: Pairs(self.rejected()),
            records: self.records.map(|records| Records {
                size_bytes: records.size,
                kept: records.kept,
                evicted: records.evicted,
                losses: Pairs(self.losses()),
                not_revived: Pairs(self.not_revived()),
            }),
            recovered_workers: self.stats.deaths,
            servers: Named(&self.servers),
        }
        .serialize(serializer)
    }
}

impl Serialize for ZoneServer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stats = &self.stats;
        Pairs([
            ("live", stats.live),
            ("hits", stats.hits),
            ("created", stats.created),
            ("moved_in", stats.moved_in),
            ("moved_out", stats.moved_out),
            ("expired", stats.expired),
            ("evicted", stats.evicted),
            ("forgotten", stats.forgotten),
        ])
        .serialize(serializer)
    }
}

impl Serialize for UpstreamReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            zone: Text<'a>,
            servers: Named<'a, ServerReport<'a>>,
        }
        Fields { zone: self.zone, servers: Named(&self.servers) }.serialize(serializer)
    }
}

impl Serialize for ServerReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            address: Text<'a>,
            route: Option<Text<'a>>,
            state: &'static str,
            reason: Option<&'static str>,
            since: Option<Utc>,
            seen_by: Option<&'static str>,
            last_failure: Option<Utc>,
            last_success: Option<Utc>,
            admin: &'static str,
            backup: bool,
            live: u64,
            hits: u64,
            drain: bool,
            drain_deadline: Option<Utc>,
        }
        Fields {
            address: self.address,
            route: self.route,
            state: self.state.as_str(),
            reason: self.reason.as_str(),
            since: self.since,
            seen_by: self.seen_by.as_str(),
            last_failure: self.last_failure,
            last_success: self.last_success,
            admin: self.admin.as_str(),
            backup: self.backup,
            live: self.live,
            hits: self.hits,
            drain: self.admin == Admin::Draining,
            drain_deadline: self.drain_deadline,
        }
        .serialize(serializer)
    }
}

/// An object with a field for each element.
struct Named<'a, T>(&'a [T]);

trait HasName {
    fn name(&self) -> Text<'_>;
}

impl HasName for ZoneReport<'_> {
    fn name(&self) -> Text<'_> {
        self.name
    }
}

impl HasName for UpstreamReport<'_> {
    fn name(&self) -> Text<'_> {
        self.name
    }
}

impl HasName for ZoneServer<'_> {
    fn name(&self) -> Text<'_> {
        self.address
    }
}

impl HasName for ServerReport<'_> {
    fn name(&self) -> Text<'_> {
        self.address
    }
}

impl<T: HasName + Serialize> Serialize for Named<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for element in self.0 {
            map.serialize_entry(&element.name(), element)?;
        }
        map.end()
    }
}

/// An object of so many fields.
struct Pairs<T, const N: usize>([(&'static str, T); N]);

impl<T: Serialize, const N: usize> Serialize for Pairs<T, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(N))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
