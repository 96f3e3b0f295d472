//! The servers that new sessions avoid.

use affinity::servers::{Avoided, Record};
use affinity::status::Draining;
use affinity::table::Table;

use crate::nginx;
use crate::peers::addresses;
use crate::peers::list::Candidate;
use crate::zone::sessions::Sessions;

impl Sessions {
    /// The servers that new sessions avoid, with the reasons; `None` if memory is short. With
    /// `heeds_evidence` false only draining servers are avoided.
    pub fn avoided(&self, heeds_evidence: bool) -> Option<AvoidedServers> {
        let mut list = Vec::new();
        for server in self.table.servers() {
            let record = self.table.record(server);
            let drains = Draining(self.table.server_flags(server)).is_on();
            if drains || (heeds_evidence && !record.is_plain()) {
                let mut text = [0; Table::MAX_ADDRESS];
                let len = self.table.address(server, &mut text).map_or(0, <[u8]>::len);
                list.try_reserve(1).ok()?;
                list.push(AvoidedServer { text, len, drains, record });
            }
        }
        list.sort_unstable_by(|one, other| one.address().cmp(other.address()));
        Some(AvoidedServers(list))
    }
}

/// The servers that new sessions avoid, sorted by address.
pub struct AvoidedServers(Vec<AvoidedServer>);

pub(super) struct AvoidedServer {
    text: [u8; Table::MAX_ADDRESS],
    len: usize,
    drains: bool,
    record: Record,
}

impl AvoidedServer {
    fn address(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

impl AvoidedServers {
    /// Whether and why new sessions avoid a server of an upstream.
    pub fn rank(&self, candidate: &Candidate<'_>) -> Avoided {
        let found = self.0.binary_search_by(|server| server.address().cmp(candidate.address()));
        match found.ok().and_then(|place| self.0.get(place)) {
            None => Avoided::No,
            Some(AvoidedServer { drains: true, .. }) => Avoided::Draining,
            Some(server) => {
                server.record.avoids_new(addresses::fail_timeout(candidate), nginx::now())
            }
        }
    }
}
