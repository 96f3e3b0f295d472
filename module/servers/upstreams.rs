//! The addresses of a zone's upstreams, as this worker has copied them.

use crate::conf::method::Sticky;
use crate::conf::{Affinity, UpstreamConf};
use crate::nginx::{self};
use crate::peers::addresses::{Address, Addresses, Route};
use crate::peers::list::Candidate;
use crate::zone::Zone;
use core::cell::Ref;
use core::ptr;
use nginx_sys::{ngx_cycle_t, ngx_http_upstream_srv_conf_t};

/// The upstreams of a cycle that have sessions, and a list of servers.
///
/// # Safety
/// The cycle is live.
pub(super) unsafe fn upstreams<'a>(
    cycle: *const ngx_cycle_t,
) -> impl Iterator<Item = (*const ngx_http_upstream_srv_conf_t, &'a UpstreamConf, &'a Affinity)> {
    // SAFETY: by this function's contract.
    unsafe {
        let all = nginx::conf::upstreams(nginx::conf::cycle_main_conf(
            cycle,
            nginx::conf::upstream_module(),
        ));
        all.iter().filter_map(|&us| {
            let us = us.cast_const();
            let conf: &UpstreamConf = UpstreamConf::of(us)?;
            let is_listed = conf.balancer.keeps_round_robins_list;
            Some((us, conf, conf.affinity.as_ref().filter(|_| is_listed)?))
        })
    }
}

/// Copies the addresses of all upstreams whose list has changed.
///
/// # Safety
/// The cycle is the running one.
pub unsafe fn refresh(cycle: *const ngx_cycle_t) {
    // SAFETY: by this function's contract.
    for (us, conf, _) in unsafe { upstreams(cycle) } {
        if let Ok(mut addresses) = conf.addresses.try_borrow_mut() {
            // SAFETY: as above.
            unsafe { addresses.refresh(us, |candidate| route(&conf.sticky, candidate)) };
        }
    }
}

/// The route of a server, which is copied while its group is locked.
pub(super) fn route(sticky: &Sticky, candidate: &Candidate<'_>) -> Option<Route> {
    #[cfg(not(nginx_own_sticky))]
    let route = sticky.ids.route(candidate);
    #[cfg(nginx_own_sticky)]
    let route = {
        let () = sticky;
        crate::peers::version::route(candidate)
    };
    route.and_then(Route::new)
}

/// The addresses of the upstreams of a zone.
pub(super) struct Upstreams<'a>(pub(super) Vec<Ref<'a, Addresses>>);

impl<'a> Upstreams<'a> {
    /// # Safety
    /// As for [`look_after`].
    pub(super) unsafe fn of(cycle: *const ngx_cycle_t, zone: &Zone) -> Upstreams<'a> {
        let mut all = Vec::new();
        // SAFETY: by this function's contract.
        for (_, conf, affinity) in unsafe { upstreams(cycle) } {
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

    /// Whether any server may change its state without a request or an attempt.
    pub(super) fn need_a_look(&self) -> bool {
        let mut all = self.0.iter().flat_map(|addresses| addresses.iter());
        all.any(|address| address.down || address.is_resolved())
    }

    /// Notes that a server can be reached.
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

/// Whether no upstream of a zone that has a server has another one that has answered lately: then a
/// failed attempt proves nothing, for the fault may be nearer.
///
/// # Safety
/// As for [`look_after`].
pub(super) unsafe fn lacks_company(cycle: *const ngx_cycle_t, zone: &Zone, name: &[u8]) -> bool {
    let (now, pause) = (nginx::now(), zone.rules().pause);
    // SAFETY: by this function's contract.
    let upstreams = unsafe { Upstreams::of(cycle, zone) };
    let has_company = |addresses: &Ref<'_, Addresses>| {
        addresses.answered.get().is_some_and(|answered| now.since(answered) <= pause)
            && addresses.find(name).is_some()
    };
    !upstreams.0.iter().any(has_company)
}

/// Drops the copies of addresses that have left DNS and have no session any more.
///
/// # Safety
/// The cycle is the running one.
pub(super) unsafe fn drop_addresses(cycle: *const ngx_cycle_t) {
    // SAFETY: by this function's contract, and so are its zones.
    for (_, conf, affinity) in unsafe { upstreams(cycle) } {
        let (Some(sessions), Ok(mut addresses)) =
            (unsafe { (*affinity.zone).sessions() }, conf.addresses.try_borrow_mut())
        else {
            continue;
        };
        let (now, gone_after) = (nginx::now(), affinity.policy.gone_after);
        addresses.drop_unlisted(|address, left| {
            // A request that is still on its way there may begin a session.
            let stats = || {
                let server = sessions.table.find_server(address.name())?;
                sessions.table.server_stats(server)
            };
            now.since(left) <= gone_after || stats().is_some_and(|stats| stats.live > 0)
        });
    }
}
