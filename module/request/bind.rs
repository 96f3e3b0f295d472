//! Binds ids to servers, those that a body gives as well.

use affinity::mcp::{Fault, Learned};
use affinity::policy::{Announced, Clash, Holder, Rules, Status};
use affinity::servers::Record;
use affinity::table::{Bound, Existing, Key, ServerId, Span};

use super::notices::{self, Notice};
use super::PeerData;
use crate::nginx;
use crate::peers::addresses::Address;

impl PeerData {
    /// The body of the response gives an id.
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
            return name.map_or((), |name| self.complain_of_full_list(name));
        };
        // Whether a target is shared by all streams does not depend on the client: no `bind`.
        let target = (learned.announced == Announced::Target)
            .then(|| table.key(learned.kind, learned.id, &[]).fingerprint());
        self.bind_announced(key, server, learned.announced, target, learned.ttl);
    }

    /// Binds the id that a body gives to the server that sent it, unless another one has it. `target` is
    /// the fingerprint under which a target may be known to be shared.
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
                    sessions.forget(key);
                }
                return self.tell(server, Notice::Shared(key));
            }
        };
        // A server that is no longer on the list has nothing bound to it.
        let _ = self.bind_to(key, server, ttl, existing);
    }

    /// The body of the response should give an id, and gives none.
    pub fn body_refused(&self, why: Fault) {
        let name = self.name_if_held();
        match (name, self.served.get()) {
            (Some(name), _) => notices::tell(self.zone_name(), name, Notice::Refused(why)),
            (None, Some(server)) => self.tell(server, Notice::Refused(why)),
            (None, None) => (),
        }
    }

    /// Binds a key to the server of that name.
    pub(super) fn bind(&self, key: Key, name: &[u8], ttl: Option<Span>, existing: Existing) {
        let server = self.sessions().table.intern(name, nginx::now());
        if let Some(server) = server {
            self.note_resolved(server, name);
        }
        let bound = server.and_then(|server| self.bind_to(key, server, ttl, existing));
        if bound.is_none() {
            self.complain_of_full_list(name);
        }
    }

    /// Notes that a server may leave DNS, which may be before the next look at all servers.
    pub(super) fn note_resolved(&self, server: ServerId, name: &[u8]) {
        let Some(addresses) = self.conf().and_then(|conf| conf.addresses.try_borrow().ok()) else {
            return;
        };
        if addresses.are_resolved() && addresses.find(name).is_none_or(Address::is_resolved) {
            let resolved = |record| Record { resolved: true, ..record };
            let _ = self.sessions().table.update_record(server, resolved);
        }
    }

    /// Binds a key to a server; `None` if that is no longer on the list.
    pub(super) fn bind_to(
        &self,
        key: Key,
        server: ServerId,
        ttl: Option<Span>,
        existing: Existing,
    ) -> Option<()> {
        let now = nginx::now();
        let claimed = self.affinity.policy.mcp && self.session.get().is_none();
        match self.sessions().bind(key, server, ttl, now, &self.affinity.limits, existing) {
            Bound::Created => self.status.set(Status::New),
            Bound::Moved => {
                self.status.set(Status::Rebound);
                if claimed {
                    self.tell(server, Notice::Moved(key));
                }
            }
            Bound::Refreshed => (),
            Bound::Kept => {
                if claimed {
                    self.tell(server, Notice::Kept(key));
                }
                return Some(());
            }
            Bound::Refused => return None,
        }
        self.session.set(Some(server));
        if self.affinity.policy.rules == Rules::Affinity {
            // SAFETY: the data stay where they are until their pool drops them.
            unsafe { self.in_flight.hold(key, now) };
        }
        Some(())
    }
}
