//! `peer.get` of an upstream with `balancer_by_lua`.

use affinity::policy::{Absence, Rejection, Route, Status};
use affinity::table::ServerId;
use nginx_sys::ngx_int_t;

use crate::conf::UpstreamConf;
use crate::nginx::upstream::Peer;
use crate::nginx::{DONE, ERROR, OK};
use crate::peers::addresses;
use crate::peers::list::Missing;
use crate::request::{Away, Held, Next, PeerData};

impl PeerData {
    /// Whether `balancer_by_lua` chooses the servers.
    pub(in crate::request) fn is_by_lua(&self) -> bool {
        self.conf().is_some_and(UpstreamConf::is_by_lua)
    }

    /// Whether the upstream has a server with that address, which is not `down`.
    pub(in crate::request) fn is_configured(&self, name: &[u8]) -> bool {
        let addresses = self.conf().and_then(|conf| conf.addresses.try_borrow().ok());
        let found = addresses.as_ref().and_then(|addresses| addresses.find(name));
        found.is_some_and(|address| address.listed && !address.down)
    }

    pub(super) fn get_by_lua(&self, pc: Peer<'_>) -> ngx_int_t {
        self.held.set(Held::Nothing);
        self.departed.set(false);
        if self.next.get() == Next::ToLookUp {
            self.look_up();
        }
        let absence = match (self.next.replace(Next::Any), self.session.get()) {
            (Next::Ambiguous, _) => return self.reject_at_once(Rejection::Ambiguous),
            (Next::SessionServer, Some(server)) => self.absence_by_lua(server),
            (Next::Failed, Some(server)) => {
                Some(self.absence_by_lua(server).unwrap_or(Absence::Unreachable))
            }
            _ => None,
        };
        if let Some(absence) = absence {
            if let Route::Reject(why) = self.give_up(absence) {
                return self.reject_at_once(why);
            }
        }
        let rc = self.inner.get(pc);
        if rc != OK && rc != DONE {
            return rc;
        }
        match self.session.get() {
            Some(server) => self.keep_or_replace(pc, server, rc),
            None => {
                self.held.set(Held::ByLua);
                rc
            }
        }
    }

    /// Why Lua does not get the session's server.
    fn absence_by_lua(&self, server: ServerId) -> Option<Absence> {
        let addresses = self.conf().and_then(|conf| conf.addresses.try_borrow().ok());
        let is_down = |name: &[u8]| {
            let address = addresses.as_ref().and_then(|addresses| addresses.find(name));
            address.is_some_and(|address| address.down)
        };
        let down = self.sessions().with_address(server, is_down).unwrap_or(false);
        self.known_absence(server, down)
    }

    /// Lua has chosen, or has left the choice to round robin; `server` is the session's.
    fn keep_or_replace(&self, pc: Peer<'_>, server: ServerId, rc: ngx_int_t) -> ngx_int_t {
        let is_its = |address: &[u8]| pc.name() == Some(address);
        if self.sessions().with_address(server, is_its).unwrap_or(false) {
            self.away.set(Away::No);
            self.status.set(Status::Hit);
            self.hold_session_server(pc);
            return rc;
        }
        self.held.set(Held::ByLua);
        if self.away.get() != Away::No {
            return rc;
        }
        if rc == OK && self.is_round_robins(pc) {
            return self.replace(pc, server);
        }
        // Lua wants another server for this request. The session stays.
        self.away.set(Away::Busy);
        self.status.set(Status::Unavailable);
        rc
    }

    /// Whether the server that is taken is one of nginx's list: then Lua has set no peer.
    fn is_round_robins(&self, pc: Peer<'_>) -> bool {
        let block = self.block();
        let list = self.conf().and_then(|conf| conf.balancer.list(block));
        list.is_some_and(|list| list.has_socket(pc))
    }

    /// Takes the session's server instead of the one that round robin has chosen.
    fn replace(&self, pc: Peer<'_>, server: ServerId) -> ngx_int_t {
        let is_listed = |name: &[u8]| self.is_configured(name).then_some(());
        if self.sessions().with_address(server, is_listed).flatten().is_none() {
            let Route::Reject(why) = self.give_up(self.absence(server, Missing::Removed)) else {
                return OK;
            };
            self.held.set(Held::Nothing);
            self.inner.free(pc, 0);
            return self.reject_at_once(why);
        }
        // The balancer counts a peer that is given back as a try.
        let tries = pc.tries();
        self.inner.free(pc, 0);
        pc.set_tries(tries);
        let addresses = self.conf().and_then(|conf| conf.addresses.try_borrow().ok());
        let take = |name: &[u8]| addresses::take(pc, self.request, addresses.as_ref()?.find(name)?);
        if self.sessions().with_address(server, take).flatten().is_none() {
            self.held.set(Held::Nothing);
            return ERROR;
        }
        self.departed.set(true);
        self.hold_session_server(pc);
        OK
    }
}
