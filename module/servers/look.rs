//! The check of all servers of a zone: records their state in DNS and in the configuration, and selects the
//! servers to try.

use affinity::servers::{Event, Known, Record};
use affinity::table::{ServerId, Span, Table, Tick};

use crate::nginx;
use crate::peers::addresses::{Address, Addresses};
use crate::servers::evidence;
use crate::servers::upstreams::Upstreams;
use crate::zone::sessions::Sessions;
use crate::zone::Zone;

/// One server in the upstreams of a zone.
#[derive(Default)]
pub(super) struct Membership<'a> {
    listed: bool,
    down: bool,
    resolved: bool,
    fail_timeout: Span,
    address: Option<&'a Address>,
}

impl Membership<'_> {
    fn of<'a>(addresses: impl Iterator<Item = &'a Address>) -> Membership<'a> {
        let mut found = Membership::default();
        for address in addresses {
            found.listed |= address.listed;
            found.down |= address.listed && address.down;
            found.resolved |= address.is_resolved();
            found.fail_timeout = found.fail_timeout.max(address.fail_timeout);
            if found.address.is_none_or(|other| other.down) {
                found.address = Some(address);
            }
        }
        found
    }

    /// Whether an attempt to reach the server is due.
    fn is_due(&self, record: &Record) -> bool {
        match record.known {
            Known::Unreachable => true,
            Known::Gone => {
                let since = record.last_failure.map(|last| nginx::now().since(last));
                since.is_none_or(|since| since >= self.fail_timeout)
            }
            Known::Up | Known::Slow => false,
        }
    }
}

impl<'a> Upstreams<'a> {
    /// Checks each server of the zone's list, and returns the servers to try; `None` if memory is short.
    pub(super) fn look(
        &self,
        zone: &Zone,
        sessions: &Sessions,
    ) -> Option<Vec<(ServerId, &Address)>> {
        let mut by_name: Vec<(&[u8], usize, &Address)> = Vec::new();
        by_name.try_reserve(self.0.iter().map(|addresses| addresses.iter().count()).sum()).ok()?;
        for (number, addresses) in self.0.iter().enumerate() {
            by_name.extend(addresses.iter().map(|address| (address.name(), number, address)));
        }
        by_name.sort_unstable_by_key(|(name, ..)| *name);
        let named = |name: &[u8]| {
            let start = by_name.partition_point(|(other, ..)| *other < name);
            let rest = by_name.get(start..).unwrap_or_default();
            let len = rest.partition_point(|(other, ..)| *other == name);
            rest.get(..len).unwrap_or_default()
        };
        let mut company: Vec<Company<'_>> = Vec::new();
        company.try_reserve(self.0.len()).ok()?;
        company.extend(self.0.iter().map(|_| Company::default()));
        let mut due: Vec<(ServerId, &Address)> = Vec::new();
        for server in sessions.table.servers() {
            let mut buffer = [0; Table::MAX_ADDRESS];
            let Some(name) = sessions.table.address(server, &mut buffer) else { continue };
            let entries = named(name);
            let found = Membership::of(entries.iter().map(|(.., address)| *address));
            self.note(zone, sessions, server, name, &found);
            let record = sessions.table.record(server);
            for (_, number, address) in entries {
                if let Some(company) = company.get_mut(*number) {
                    company.add(server, &record, address);
                }
            }
            // `Membership` prefers an address that is not down in its upstream.
            let address = found.address.filter(|address| !address.down);
            if let (true, Some(address)) = (found.is_due(&record), address) {
                due.try_reserve(1).ok()?;
                due.push((server, address));
            }
        }
        for (addresses, company) in self.0.iter().zip(&company) {
            addresses.answered.set(company.answered);
            due.try_reserve(1).ok()?;
            due.extend(company.to_try(addresses, sessions));
        }
        Some(due)
    }

    /// Records the state of a server in the configuration and in DNS.
    pub(super) fn note(
        &self,
        zone: &Zone,
        sessions: &Sessions,
        server: ServerId,
        name: &[u8],
        found: &Membership<'_>,
    ) {
        let now = nginx::now();
        let record = sessions.table.record(server);
        let has_sessions =
            || sessions.table.server_stats(server).is_some_and(|stats| stats.live > 0);
        if found.address.is_none() && record != Record::default() && !has_sessions() {
            // No upstream has the server, and it has no session: its record is cleared for a new server with
            // this address.
            sessions.table.update_record(server, |_| Record::default());
            sessions.note_trouble();
            return;
        }
        let down_since = found.down.then(|| record.down_since.unwrap_or(now));
        let resolved = record.resolved || found.resolved;
        if (down_since, resolved) != (record.down_since, record.resolved) {
            let change = |record| Record { down_since, resolved, ..record };
            sessions.table.update_record(server, change);
        }
        if resolved && !found.listed && self.is_missing(name) {
            evidence::note(zone, server, Event::Missing);
        } else if record.missing.is_some() {
            evidence::note(zone, server, Event::Listed);
        }
    }
}

/// Whether other servers of an upstream are reachable while one is not.
#[derive(Default)]
pub(super) struct Company<'a> {
    /// Whether a server of the upstream is unreachable.
    fails: bool,
    /// When a reachable server last answered or accepted a connection.
    answered: Option<Tick>,
    /// That server, or any one without evidence against it.
    server: Option<(ServerId, &'a Address)>,
}

impl<'a> Company<'a> {
    fn add(&mut self, server: ServerId, record: &Record, address: &'a Address) {
        if matches!(record.known, Known::Unreachable | Known::Gone) {
            self.fails |= !address.down;
            return;
        }
        if !address.listed || address.down {
            return;
        }
        let is_later = match (record.last_success, self.answered) {
            (Some(success), Some(other)) => success.since(other) > Span(0),
            (success, None) => success.is_some() || self.server.is_none(),
            (None, Some(_)) => false,
        };
        if is_later {
            self.answered = record.last_success;
            self.server = Some((server, address));
        }
    }

    /// The server to try besides the unreachable ones: only a fresh success shows that the network works.
    fn to_try(
        &self,
        addresses: &'a Addresses,
        sessions: &Sessions,
    ) -> Option<(ServerId, &'a Address)> {
        if !self.fails {
            return None;
        }
        self.server.or_else(|| {
            // A server that is not in the zone's list yet.
            let is_unknown = |address: &&Address| {
                address.listed
                    && !address.down
                    && sessions.table.find_server(address.name()).is_none()
            };
            let address = addresses.iter().find(is_unknown)?;
            Some((sessions.table.intern(address.name(), nginx::now())?, address))
        })
    }
}
