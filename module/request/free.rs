//! `peer.free`: gives a server back, and decides what a failure means.

use affinity::policy::{Rules, Status, Unavailable};
use affinity::servers::Event;
use affinity::table::Tick;
use nginx_sys::{ngx_uint_t, NGX_PEER_FAILED};

use super::{Away, Held, Next, PeerData};
use crate::nginx;
use crate::nginx::upstream::Peer;
use crate::servers::evidence::{self, Failure};

impl PeerData {
    /// The slow path of `peer.free`: the peer has failed, or nginx goes on to the next server, or the server
    /// is not among the peers.
    #[cold]
    pub(super) fn free_slow(&self, pc: Peer<'_>, state: ngx_uint_t) {
        let (mut state, has_failed) = (state, state != 0);
        {
            if !has_failed {
                let held = self.held.replace(Held::Nothing);
                self.ended(held);
            } else {
                let failure = Failure::of(pc, self.upstream(), state);
                self.note_failure(pc, failure);
                let is_judged_here = matches!(failure, Failure::Silent | Failure::Handshake);
                if is_judged_here && self.affinity.policy.rules == Rules::Affinity {
                    // These failures are judged here. Counted by `max_fails` as well, they would keep new
                    // sessions away from the server.
                    state &= !(NGX_PEER_FAILED as ngx_uint_t);
                }
                if self.held.replace(Held::Nothing) == Held::SessionServer {
                    self.session_server_failed(failure, &mut state);
                }
            }
            if self.departed.replace(false) {
                pc.set_tries(pc.tries().saturating_sub(1));
            } else {
                self.inner.free(pc, state);
            }
            self.decide_tries(pc, has_failed);
        }
    }

    /// Whether the server that is held is one of nginx's list, and the request has round robin's data.
    fn holds_peer(&self) -> bool {
        !self.departed.get() && !self.is_by_lua()
    }

    /// Records what a failure says about the server.
    pub(super) fn note_failure(&self, pc: Peer<'_>, failure: Failure) {
        if self.is_by_lua() && !pc.name().is_some_and(|name| self.is_configured(name)) {
            // nginx makes no attempts to connect to it, so the server would stay unreachable.
            return;
        }
        let event = match failure {
            Failure::Unreachable(reason) => Event::Failed(reason),
            Failure::Silent => Event::Silent,
            Failure::Stale | Failure::Handshake | Failure::Own => return,
        };
        let table = &self.sessions().table;
        // `start_time` is when nginx began to connect.
        let begun = match failure {
            Failure::Unreachable(_) => Tick::from_millis(self.upstream().start_time()),
            _ => nginx::now(),
        };
        let server = pc.name().and_then(|name| table.intern(name, nginx::now()));
        if let Some(server) = server {
            evidence::note_begun(self.affinity.zone, server, event, begun);
        }
    }

    /// Decides how a request goes on after its session's server has failed.
    pub(super) fn session_server_failed(&self, failure: Failure, state: &mut ngx_uint_t) {
        match failure {
            Failure::Stale if !self.forgiven.get() => {
                // The server has closed an idle connection, or it closes the connection whenever it gets this
                // request. The first time does not count as a failure: the server is tried again.
                self.forgiven.set(true);
                *state &= !(NGX_PEER_FAILED as ngx_uint_t);
                self.next.set(Next::SessionServer);
                if self.holds_peer() {
                    self.peers().forget_try();
                }
            }
            Failure::Unreachable(_) => self.next.set(Next::Failed),
            // NGINX Plus's rules do not distinguish other failures.
            _ if self.affinity.policy.rules == Rules::Plus => {
                self.next.set(match *state & NGX_PEER_FAILED as ngx_uint_t {
                    0 => Next::Any,
                    _ => Next::Failed,
                });
                self.status.set(Status::Unavailable);
            }
            // The server has received the request: the response of another server does not move the session.
            _ => {
                self.away.set(Away::Busy);
                if self.affinity.policy.unavailable != Unavailable::Reject {
                    self.status.set(Status::Unavailable);
                    if self.holds_peer() {
                        self.peers().start_over();
                    }
                }
            }
        }
    }

    /// Sets `tries` so that nginx calls `peer.get` again only if that gives a server or a response of our
    /// own.
    pub(super) fn decide_tries(&self, pc: Peer<'_>, has_failed: bool) {
        if self.affinity.policy.unavailable != Unavailable::Reject || self.session.get().is_none() {
            return;
        }
        match self.next.get() {
            // `peer.free` of the balancer does not use up this try.
            Next::SessionServer => (),
            // One more call of `peer.get` decides about the session, unless nginx may send a stale response
            // from its cache.
            Next::Failed if !self.request.allow_stale() => pc.set_tries(1),
            // No other server takes a session over: the client gets the failure.
            _ if has_failed && matches!(self.status.get(), Status::Hit | Status::Revived) => {
                pc.set_tries(0);
                pc.set_cached(false);
            }
            _ => (),
        }
    }
}
