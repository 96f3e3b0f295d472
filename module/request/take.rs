//! `peer.get`: takes the session's server, lets the balancer choose, or rejects the request.

use affinity::mcp::Effects;
use affinity::policy::{self, Absence, Rejection, Route, Rules, Status, Unavailable};
use affinity::servers::Avoided;
use affinity::table::{End, ServerId};
use nginx_sys::{ngx_int_t, ngx_uint_t, NGX_PEER_FAILED, NGX_PEER_NEXT};

use super::{reject, Away, Held, Next, PeerData};
use crate::hold::{self, Stays};
use crate::nginx::request::Request;
use crate::nginx::upstream::Peer;
use crate::nginx::{BUSY, DONE, OK};
use crate::peers::addresses;
use crate::peers::hooks::{Hooked, Inner};
use crate::peers::list::{Candidate, Missing};
use crate::revive;
use crate::share;

impl Hooked for PeerData {
    fn inner(&self) -> Option<&Inner> {
        (!self.departed.get()).then_some(&self.inner)
    }

    #[inline(always)]
    fn get(&self, pc: Peer<'_>) -> ngx_int_t {
        self.held.set(Held::Nothing);
        if self.next.get() == Next::ToLookUp {
            // The result is in the target, also for a request that is rejected.
            self.look_up();
        }
        match (self.next.get(), self.session.get()) {
            (Next::SessionServer, Some(server)) if self.take_at_once(pc, server) => OK,
            _ => self.get_slow(pc),
        }
    }

    #[inline(always)]
    fn free(&self, pc: Peer<'_>, state: ngx_uint_t) {
        if self.departed.get() || state & (NGX_PEER_FAILED | NGX_PEER_NEXT) as ngx_uint_t != 0 {
            return self.free_slow(pc, state);
        }
        let held = self.held.replace(Held::Nothing);
        self.ended(held);
        self.inner.free(pc, state);
    }
}

impl PeerData {
    /// The slow path of `peer.get`: there is no session, or its server cannot be taken at once.
    #[cold]
    pub(super) fn get_slow(&self, pc: Peer<'_>) -> ngx_int_t {
        self.departed.set(false);
        let absence = match self.next.replace(Next::Any) {
            Next::ToLookUp | Next::Any => None,
            Next::Ambiguous => return self.reject_at_once(Rejection::Ambiguous),
            Next::SessionServer => match self.take(pc) {
                Ok(()) => return OK,
                Err(absence) => Some(absence),
            },
            Next::Failed => {
                if self.affinity.policy.rules == Rules::Affinity {
                    self.peers().start_over();
                }
                self.session.get().map(|server| self.absence(server, Missing::Failed))
            }
        };
        if let Some(absence) = absence {
            if self.affinity.revive.is_some() {
                if let Some(left) = self.wait_for_server(pc, absence) {
                    return left;
                }
            }
            if let Route::Reject(why) = self.give_up(absence) {
                return self.reject(pc, why);
            }
        }
        if self.has_to_avoid() && !self.avoid() {
            return self.reject(pc, Rejection::Unavailable);
        }
        if self.away.get() != Away::No && self.take_stand_in(pc) {
            self.held.set(Held::Chosen);
            return OK;
        }
        let rc = self.inner.get(pc);
        if rc == OK || rc == DONE {
            self.held.set(Held::Chosen);
        }
        rc
    }

    /// Takes a backup server for a session whose own server is away, if no other server is left. The choice
    /// is the same for each request of the session.
    pub(super) fn take_stand_in(&self, pc: Peer<'_>) -> bool {
        let (Some(key), Rules::Affinity) = (self.id.get().key, self.affinity.policy.rules) else {
            return false;
        };
        let rank =
            |candidate: &Candidate<'_>| policy::stand_in(key.fingerprint(), candidate.address());
        self.peers().take_backup(pc, self.upstream(), rank)
    }

    /// The fast path: takes the session's server if this worker has its address and the zone has no evidence
    /// against any server. Otherwise changes nothing.
    #[inline(always)]
    pub(super) fn take_at_once(&self, pc: Peer<'_>, server: ServerId) -> bool {
        if self.affinity.policy.rules != Rules::Affinity || self.sessions().is_troubled() {
            return false;
        }
        // SAFETY: the address is used only by `take_at_once` of the peers, which reads no address of the
        // zone.
        let Some(address) = (unsafe { self.sessions().known_address(server) }) else {
            return false;
        };
        if !self.peers().take_at_once(pc, self.upstream(), address) {
            return false;
        }
        self.next.set(Next::Any);
        self.hold_session_server(pc);
        true
    }

    #[inline(always)]
    pub(super) fn hold_session_server(&self, pc: Peer<'_>) {
        self.held.set(Held::SessionServer);
        if self.affinity.policy.unavailable == Unavailable::Reject {
            // No other server has the session: nginx passes on every response of this one.
            pc.set_tries(1);
        }
    }

    /// Takes the session's server.
    pub(super) fn take(&self, pc: Peer<'_>) -> Result<(), Absence> {
        let sessions = self.sessions();
        let server = self.session.get().ok_or(Absence::Gone)?;
        let (u, peers) = (self.upstream(), self.peers());
        if self.affinity.policy.rules == Rules::Plus {
            let take =
                |address: &[u8]| peers.take_in_turn(pc, u, |candidate| candidate.is_named(address));
            let taken = sessions.with_address(server, take).unwrap_or(Err(Missing::Removed));
            taken.map_err(|missing| self.absence(server, missing))?;
            self.held.set(Held::SessionServer);
            return Ok(());
        }
        if let Some(absence) = self.known_absence(server, false) {
            if !pc.has_own_address() || !self.should_try(server, absence) {
                return Err(absence);
            }
        }
        let take = |address: &[u8]| peers.take(pc, u, address);
        match sessions.with_address(server, take).unwrap_or(Err(Missing::Removed)) {
            Ok(()) => (),
            Err(Missing::Removed) => self.take_departed(pc, server)?,
            Err(missing) => return Err(self.absence(server, missing)),
        }
        self.hold_session_server(pc);
        Ok(())
    }

    /// Takes the session's server by the copy of its address, which has left DNS.
    pub(super) fn take_departed(&self, pc: Peer<'_>, server: ServerId) -> Result<(), Absence> {
        let taken = {
            let addresses = self.conf().and_then(|conf| conf.addresses.try_borrow().ok());
            let take = |name: &[u8]| {
                let address = addresses.as_ref()?.find(name).filter(|found| found.is_resolved())?;
                addresses::take(pc, self.request, address)
            };
            self.sessions().with_address(server, take).flatten()
        };
        if taken.is_none() {
            return Err(self.absence(server, Missing::Removed));
        }
        self.departed.set(true);
        Ok(())
    }

    /// Whether there may be servers that new sessions avoid.
    pub(super) fn has_to_avoid(&self) -> bool {
        self.sessions().drains() || self.sessions().is_troubled()
    }

    /// Excludes draining servers from the balancer's choice, and also slow and unreachable ones while better
    /// ones are left. False if all servers drain.
    #[cold]
    pub(super) fn avoid(&self) -> bool {
        let heeds_evidence = self.affinity.policy.rules == Rules::Affinity;
        // Collected before nginx's lock is taken.
        let Some(avoided) = self.sessions().avoided(heeds_evidence) else { return true };
        let mut best = Avoided::Unreachable;
        let peers = self.peers();
        peers.each_left(|candidate| best = best.min(avoided.rank(candidate)));
        peers.exclude(|candidate| avoided.rank(candidate) > best)
    }

    /// Lets the request wait until its session's server is reachable, or the session is revived.
    #[cold]
    fn wait_for_server(&self, pc: Peer<'_>, absence: Absence) -> Option<ngx_int_t> {
        /// Finds the data again: the request may be at no upstream any more.
        fn refuse(r: Request<'static>, why: Rejection) -> ngx_int_t {
            let data = PeerData::last(r);
            if let Some(data) = data {
                let gone = matches!(why, Rejection::Gone | Rejection::NotFound);
                data.status.set(if gone { Status::Gone } else { Status::Unavailable });
            }
            data.map_or(crate::nginx::ERROR, |data| data.answer(why))
        }

        let is_waiting = revive::refuses_absence(self.request, self.id.get().kind, absence);
        match is_waiting.then(|| hold::leave(self.request, refuse))? {
            Ok(left) => {
                self.in_flight.drop_hold();
                Some(left)
            }
            // The session may be revived later.
            Err(Stays::Now) => {
                self.status.set(Status::Unavailable);
                Some(self.reject(pc, Rejection::Unavailable))
            }
            Err(Stays::Always) => None,
        }
    }

    /// Decides what to do without the session's server.
    pub(super) fn give_up(&self, absence: Absence) -> Route {
        self.away.set(match absence {
            Absence::Full | Absence::Elsewhere => Away::Busy,
            Absence::Unreachable | Absence::Gone => Away::Unreachable,
        });
        let opens_stream = self.id.get().mcp.as_ref().is_some_and(Effects::opens_stream);
        let (status, route) =
            self.affinity.policy.on_unavailable(self.id.get().kind, absence, opens_stream);
        self.status.set(status);
        if matches!(route, Route::Reject(why) if self.is_spared(why)) {
            self.leave_session();
            return Route::Balance;
        }
        let is_over = matches!(route, Route::Afresh | Route::Reject(Rejection::Gone));
        // A session that its owner can revive stays, whoever asks.
        let stays = || self.affinity.revive.is_some() && revive::is_kept(self.request);
        if is_over && absence != Absence::Elsewhere && !stays() {
            self.forget(End::ServerGone);
        }
        route
    }

    /// Removes the session of the request. Listeners of the table hear `end`.
    pub(super) fn forget(&self, end: End) {
        self.in_flight.drop_hold();
        if let Some(key) = self.in_flight.key() {
            self.sessions().forget(key, end);
            // That its server is gone is what this machine thinks.
            if end == End::Deleted {
                share::write::ended(self.affinity.zone, key);
            }
        }
    }

    /// Rejects the request, or lets nginx send a stale response from its cache. Returns what `peer.get`
    /// returns.
    pub(super) fn reject(&self, pc: Peer<'_>, why: Rejection) -> ngx_int_t {
        if why == Rejection::Unavailable && self.request.allow_stale() {
            pc.set_name(self.peers().list_name());
            return BUSY;
        }
        self.reject_at_once(why)
    }

    /// Rejects the request. Returns what `peer.init` or `peer.get` returns.
    pub(super) fn reject_at_once(&self, why: Rejection) -> ngx_int_t {
        self.sessions().count_rejection(why);
        reject::send(self.request, self.upstream(), why, self.rejection_body(why))
    }

    /// Rejects a request that is not at its upstream yet. Returns what finalises the request.
    pub(super) fn answer(&self, why: Rejection) -> ngx_int_t {
        self.sessions().count_rejection(why);
        reject::answer(self.request, why, self.rejection_body(why))
    }

    fn rejection_body(&self, why: Rejection) -> Option<&'static str> {
        self.affinity.policy.mcp.then(|| affinity::mcp::rejection::body(why))
    }
}
