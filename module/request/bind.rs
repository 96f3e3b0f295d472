//! Binds ids to servers, also the ids in a response's body.

use affinity::mcp::{Fault, Learned};
use affinity::policy::{Announced, Clash, Holder, Rules, Status};
use affinity::servers::Record;
use affinity::table::{Bound, End, Existing, Key, ServerId, Span};

use super::notices::{self, Notice};
use super::PeerData;
use crate::nginx;
use crate::peers::addresses::Address;
use crate::share;

impl PeerData {
    /// Learns an id from the response's body.
    pub fn learn_from_body(&self, learned: &Learned<'_>) {
        let Ok(key) = self.key(learned.kind, learned.id) else {
            return;
        };
        let name = self.name_if_held();
        let table = &self.sessions().table;
        let server = match (name, self.served.get()) {
            (Some(name), _) => table.intern(name, nginx::now()),
            (None, Some(server)) => Some(server),
            (None, None) => return,
        };
        let Some(server) = server else {
            return name.map_or((), |name| self.report_full_list(name));
        };
        // A target is shared or not independently of the client: its key is without `bind`.
        let target = (learned.announced == Announced::Target)
            .then(|| table.key(learned.kind, learned.id, &[]).fingerprint());
        self.bind_announced(key, server, learned.announced, target, learned.ttl);
    }

    /// Binds an id of a body to the server that sent it, unless another server holds it. `target` is the
    /// fingerprint in the set of shared targets, if the id is a target.
    pub(super) fn bind_announced(
        &self,
        key: Key,
        server: ServerId,
        announced: Announced,
        target: Option<u64>,
        ttl: Option<Span>,
    ) {
        let sessions = self.sessions();
        let session = sessions.lookup(key, nginx::now(), &self.affinity.limits);
        let holder = match session.map(|session| session.server).filter(|other| *other != server) {
            None => Holder::None,
            Some(other) if self.is_gone(other) => Holder::Gone,
            Some(_) => Holder::Other,
        };
        let shared = target.is_some_and(|target| sessions.shared_targets().has(target));
        let existing = match self.affinity.policy.on_announced(announced, holder, shared) {
            Clash::Keep => Existing::Keep,
            Clash::Move => Existing::Move,
            Clash::End => {
                target.into_iter().for_each(|target| sessions.shared_targets().note(target));
                if session.is_some() {
                    sessions.forget(key, End::Shared);
                    share::write::ended(self.affinity.zone, key);
                }
                return self.log_notice(server, Notice::Shared(key));
            }
        };
        // No session is bound to a server that is no longer in the list.
        let _ = self.bind_to(key, server, ttl, existing);
    }

    /// Logs why no id was learned from a body that should contain one.
    pub fn body_refused(&self, why: Fault) {
        let name = self.name_if_held();
        match (name, self.served.get()) {
            (Some(name), _) => notices::log(self.zone_name(), name, Notice::Refused(why)),
            (None, Some(server)) => self.log_notice(server, Notice::Refused(why)),
            (None, None) => (),
        }
    }

    /// Binds a key to the server with that name.
    pub(super) fn bind(
        &self,
        key: Key,
        name: &[u8],
        ttl: Option<Span>,
        existing: Existing,
    ) -> Option<Bound> {
        let server = self.sessions().table.intern(name, nginx::now());
        if let Some(server) = server {
            self.note_resolved(server, name);
        }
        let bound = server.and_then(|server| self.bind_to(key, server, ttl, existing));
        if bound.is_none() {
            self.report_full_list(name);
        }
        bound
    }

    /// Marks a server as resolved by DNS if it is: it may leave DNS before the next look at all servers.
    pub(super) fn note_resolved(&self, server: ServerId, name: &[u8]) {
        let Some(addresses) = self.conf().and_then(|conf| conf.addresses.try_borrow().ok()) else {
            return;
        };
        if addresses.are_resolved() && addresses.find(name).is_none_or(Address::is_resolved) {
            let resolved = |record| Record { resolved: true, ..record };
            let _ = self.sessions().table.update_record(server, resolved);
        }
    }

    /// Binds a key to a server; `None` if the server is no longer in the zone's list.
    pub(super) fn bind_to(
        &self,
        key: Key,
        server: ServerId,
        ttl: Option<Span>,
        existing: Existing,
    ) -> Option<Bound> {
        let now = nginx::now();
        let claimed = self.affinity.policy.mcp && self.session.get().is_none();
        let bound = self.sessions().bind(key, server, ttl, now, &self.affinity.limits, existing);
        share::write::bound(self.affinity.zone, key, bound, existing);
        match bound {
            Bound::Created => {
                self.status.set(Status::New);
                if self.affinity.warns.get() && self.upstream().is_http_1_0() {
                    self.affinity.warns.set(false);
                    notices::warn_of_http_1_0(self.block());
                }
            }
            Bound::Moved => {
                self.status.set(Status::Rebound);
                if claimed {
                    self.log_notice(server, Notice::Moved(key));
                }
            }
            Bound::Refreshed => (),
            Bound::Kept => {
                if claimed {
                    self.log_notice(server, Notice::Kept(key));
                }
                return Some(bound);
            }
            Bound::Refused => return None,
        }
        self.session.set(Some(server));
        if self.affinity.policy.rules == Rules::Affinity {
            // SAFETY: a recycled place does not move, and the pool drops the value before the place is used
            // again.
            unsafe { self.in_flight.hold(key, now) };
        }
        Some(bound)
    }
}
