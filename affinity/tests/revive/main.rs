//! Sessions that outlive their server: what is kept of them, who may revive them.

mod claims;
#[path = "../common/mod.rs"]
mod common;
mod ids;
#[path = "../common/mcp.rs"]
mod mcp_model;
#[path = "../common/revive.rs"]
mod model;
mod negotiated;
mod sealed;
mod store;
mod tags;

use affinity::revive::{Capabilities, Owner, Record, RecordKey, Store};
use affinity::table::{Key, Kind, Table, Tick};
use common::{Mapping, Random, SECRET};

/// A session table, only for its keys.
pub struct Keys(Table, #[allow(dead_code, reason = "keeps the memory mapped")] Mapping);

impl Keys {
    pub fn fresh() -> Keys {
        let mapping = Mapping::new(Table::MIN_SIZE);
        Keys(mapping.table(), mapping)
    }

    pub fn key(&self, id: &str) -> Key {
        self.0.key(Kind::Session, id.as_bytes(), b"")
    }

    /// The key that encrypts the record of a session.
    pub fn record_key(&self, id: &str) -> RecordKey {
        RecordKey::new(&SECRET, id.as_bytes(), self.key(id))
    }
}

pub fn owner(name: &str) -> Owner {
    Owner::of(&SECRET, &[], std::iter::once((&b"Authorization"[..], name.as_bytes())), b"")
}

pub const INITIALIZE: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a client with a name","version":"1"}}}"#;

pub fn record() -> Record<'static> {
    Record {
        initialize: INITIALIZE,
        opener: b"the location",
        uri: b"/a/uri/of/a/server",
        version: "2025-06-18",
        capabilities: Capabilities::default(),
        owner: owner("Bearer alice"),
        server_id: None,
    }
}

/// What the session table would say: these sessions, and when they were used last.
pub fn used_of(sessions: &[(Key, Tick)]) -> impl FnMut(Key) -> Option<Tick> + '_ {
    |key| sessions.iter().find(|(known, _)| *known == key).map(|(_, used)| *used)
}

/// A session table that has all sessions, used at this moment.
pub fn all_used(tick: Tick) -> impl FnMut(Key) -> Option<Tick> {
    move |_| Some(tick)
}
