//! Why the session's server is not available to a request.

use core::ptr;

use affinity::policy::Absence;
use affinity::servers::Known;
use affinity::table::{ServerId, Span};

use super::PeerData;
use crate::conf::{self, UpstreamConf};
use crate::nginx;
use crate::peers::list::Missing;
use crate::servers::evidence;

impl PeerData {
    /// Why the session's server cannot be taken.
    pub(super) fn absence(&self, server: ServerId, missing: Missing) -> Absence {
        match missing {
            Missing::Full => Absence::Full,
            Missing::Failed | Missing::Down => {
                let known = self.known_absence(server, missing == Missing::Down);
                known.unwrap_or(Absence::Unreachable)
            }
            Missing::Removed => {
                // An address that has left DNS may come back, whether this worker has a copy of it or not.
                let may_return = self.sessions().table.record(server).resolved
                    && self.conf().is_some_and(|conf| {
                        conf.addresses.try_borrow().is_ok_and(|addresses| addresses.are_resolved())
                    });
                if self.request.comes_from_upstream() && self.is_elsewhere(server) {
                    return Absence::Elsewhere;
                }
                if !may_return {
                    return Absence::Gone;
                }
                self.known_absence(server, false).unwrap_or(Absence::Unreachable)
            }
        }
    }

    /// Whether another upstream of the same zone has the server.
    pub(super) fn is_elsewhere(&self, server: ServerId) -> bool {
        let has = |name: &[u8]| {
            let is_listed = conf::upstreams(self.request).any(|(block, affinity)| {
                let conf = UpstreamConf::of(block);
                ptr::eq(affinity.zone, self.affinity.zone)
                    && block != self.block()
                    && conf.and_then(|conf| conf.addresses.try_borrow().ok()).is_some_and(
                        |addresses| addresses.find(name).is_some_and(|address| address.listed),
                    )
            });
            is_listed.then_some(())
        };
        self.sessions().with_address(server, has).flatten().is_some()
    }

    /// Why the session's server is not tried, by the evidence in the zone; `None` if it is tried.
    pub(super) fn known_absence(&self, server: ServerId, down: bool) -> Option<Absence> {
        let sessions = self.sessions();
        let record = sessions.table.record(server);
        let view =
            |address: &[u8]| evidence::view(self.block(), self.affinity, address, &record, down);
        match sessions.with_address(server, view)?.known {
            Known::Up | Known::Slow => None,
            Known::Unreachable => Some(Absence::Unreachable),
            Known::Gone => Some(Absence::Gone),
        }
    }

    /// Whether a request with a local address (`proxy_bind`) tries a server that the module's attempts do not
    /// reach: they come from another address, which the server may not accept. A worker lets one request try
    /// an unreachable server in each attempt interval, and every request one that counts as gone.
    pub(super) fn should_try(&self, server: ServerId, absence: Absence) -> bool {
        // A server that has left DNS is gone for every request.
        if self.sessions().table.record(server).missing.is_some() {
            return false;
        }
        if absence == Absence::Gone {
            return true;
        }
        let interval = self.affinity.zone.attempt_interval();
        let Some(addresses) = self.conf().and_then(|conf| conf.addresses.try_borrow().ok()) else {
            return false;
        };
        let is_due = |name: &[u8]| {
            let address = addresses.find(name)?;
            address.is_due(nginx::now(), Span::from_millis(interval)).then_some(())
        };
        self.sessions().with_address(server, is_due).flatten().is_some()
    }

    /// Whether a server counts as gone for this upstream.
    pub(super) fn is_gone(&self, server: ServerId) -> bool {
        let down = self.conf().and_then(|conf| {
            let addresses = conf.addresses.try_borrow().ok()?;
            let is_down = |name: &[u8]| addresses.find(name).map(|address| address.down);
            self.sessions().with_address(server, is_down).flatten()
        });
        let absence = match down {
            Some(down) => self.known_absence(server, down),
            None if self.is_by_lua() => None,
            None => Some(self.absence(server, Missing::Removed)),
        };
        absence == Some(Absence::Gone)
    }
}
