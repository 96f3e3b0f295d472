//! This worker's copies of the addresses of a zone's upstreams.

use core::cell::Ref;
use core::ptr;

use crate::conf::{Affinity, UpstreamConf};
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::peers::addresses::{Address, Addresses, RouteText};
use crate::peers::list::{Candidate, List};
use crate::zone::Zone;

/// The upstreams of a cycle that have sessions and a list of peers.
pub(super) fn upstreams<'c>(
    cycle: Cycle<'c>,
) -> impl Iterator<Item = (List<'c>, &'c UpstreamConf, &'c Affinity)> {
    cycle.upstreams().filter_map(|block| {
        let conf = UpstreamConf::of(block)?;
        let list = conf.balancer.list(block)?;
        Some((list, conf, conf.affinity()?))
    })
}

/// Copies the addresses of all upstreams whose list has changed.
pub fn refresh(cycle: Cycle<'_>) {
    for (list, conf, _) in upstreams(cycle) {
        if let Ok(mut addresses) = conf.addresses.try_borrow_mut() {
            addresses.refresh(list, |candidate| route(conf, candidate));
        }
    }
}

/// A copy of a server's route.
pub(super) fn route(conf: &UpstreamConf, candidate: &Candidate<'_>) -> Option<RouteText> {
    #[cfg(not(nginx_own_sticky))]
    let route = conf.ids.route(candidate);
    #[cfg(nginx_own_sticky)]
    let route = {
        let _ = conf;
        let peer = candidate.peer();
        // SAFETY: the string lives as long as the peer, which stays while its group is locked.
        (peer.route() != 0).then(|| unsafe { crate::nginx::bytes(&peer.sid) })
    };
    route.and_then(RouteText::new)
}

/// The addresses of the upstreams of a zone.
pub(super) struct Upstreams<'a>(pub(super) Vec<Ref<'a, Addresses>>);

impl<'a> Upstreams<'a> {
    pub(super) fn of(cycle: Cycle<'a>, zone: &Zone) -> Upstreams<'a> {
        let mut all = Vec::new();
        for (_, conf, affinity) in upstreams(cycle) {
            if let (true, Ok(addresses)) =
                (ptr::eq(affinity.zone, zone), conf.addresses.try_borrow())
            {
                if all.try_reserve(1).is_ok() {
                    all.push(addresses);
                }
            }
        }
        Upstreams(all)
    }

    /// Whether a server's state may change without a request or an attempt, by DNS or by `down`.
    pub(super) fn need_a_look(&self) -> bool {
        let mut all = self.0.iter().flat_map(|addresses| addresses.iter());
        all.any(|address| address.down || address.is_resolved())
    }

    /// Records in the upstreams of a server that it can be reached.
    pub(super) fn note_answer(&self, name: &[u8]) {
        let has_it = |address: &Address| address.name() == name && address.listed && !address.down;
        for addresses in self.0.iter().filter(|addresses| addresses.iter().any(has_it)) {
            addresses.answered.set(Some(nginx::now()));
        }
    }

    /// Whether an address that no upstream lists counts as missing in DNS.
    pub(super) fn is_missing(&self, name: &[u8]) -> bool {
        let mut resolved = self.0.iter().filter(|addresses| addresses.are_resolved()).peekable();
        resolved.peek().is_some() && resolved.all(|addresses| addresses.is_missing(name))
    }
}

/// Whether no upstream with this server has another server that has answered lately. A failed attempt is then
/// no evidence: the fault may be in the network of this machine.
pub(super) fn lacks_company(cycle: Cycle<'_>, zone: &Zone, name: &[u8]) -> bool {
    let (now, pause) = (nginx::now(), zone.rules().pause);
    let upstreams = Upstreams::of(cycle, zone);
    let has_company = |addresses: &Ref<'_, Addresses>| {
        addresses.answered.get().is_some_and(|answered| now.since(answered) <= pause)
            && addresses.find(name).is_some()
    };
    !upstreams.0.iter().any(has_company)
}

/// Drops the copies of addresses that left DNS longer than `gone_after` ago and have no session.
pub(super) fn drop_addresses(cycle: Cycle<'_>) {
    for (_, conf, affinity) in upstreams(cycle) {
        let (Some(sessions), Ok(mut addresses)) =
            (affinity.zone.sessions(), conf.addresses.try_borrow_mut())
        else {
            continue;
        };
        let (now, gone_after) = (nginx::now(), affinity.policy.gone_after);
        addresses.drop_unlisted(|address, left| {
            // Within `gone_after`, a request that has reached the address before may still learn a session.
            let stats = || {
                let server = sessions.table.find_server(address.name())?;
                sessions.table.server_stats(server)
            };
            now.since(left) <= gone_after || stats().is_some_and(|stats| stats.live > 0)
        });
    }
}
