//! A request to an upstream with `balancer_by_lua`: Lua gets the session's server and chooses, and the session is
//! learned from the answer of whom it chose.
//!
//! Our hooks are above those of Lua, which are above those of round robin. Round robin's data of the request are
//! Lua's, so nothing here may call [`PeerData::peers`]. If Lua sets no peer, it calls round robin; then the
//! session's server takes the place of round robin's choice, by our copy of its address.

mod choose;

use affinity::policy::{Status, Unknown};
use nginx_sys::{
    ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_uint_t, NGX_PEER_FAILED,
    NGX_PEER_NEXT,
};

use super::{precontent, route, Away, Held, PeerData};
use crate::nginx::request::Request;
use crate::nginx::upstream::{Peer, Upstream};
use crate::nginx::{ERROR, OK};
use crate::peers::hooks::{self, Hooked, Inner};

/// The data of a request, with the hooks for an upstream with `balancer_by_lua`.
#[repr(transparent)]
struct ByLua(PeerData);

/// Why Lua gets no server.
#[derive(Clone, Copy)]
pub enum NoServer {
    /// The request is not at an upstream with sessions.
    NoUpstream,
    /// The request has no id.
    NoId,
    /// The id has no session.
    Unknown,
    /// The session's server cannot be reached.
    Unreachable,
    /// The session's server counts as gone.
    Gone,
    /// The session's server has failed with this request after it had received it.
    Failed,
}

/// `peer.init`.
pub unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request and its upstream.
    let Some((r, _, affinity, sessions)) = (unsafe { route::begin(r, us) }) else {
        return ERROR;
    };
    let Some(peer) = r.upstream().map(Upstream::peer) else {
        return ERROR;
    };
    // SAFETY: this is `peer.init`. `begin` has read the id, and since then only the `peer.init` of Lua and of
    // what is beneath it has run, which run no code of Lua.
    let id = || unsafe { precontent::last() };
    let Some(data) = PeerData::create(r, affinity, sessions, id) else {
        return ERROR;
    };
    // SAFETY: a transparent wrapper.
    hooks::wrap(peer, unsafe { &*core::ptr::from_ref(data).cast::<ByLua>() });
    match affinity.policy.unknown {
        Unknown::Balance => OK,
        Unknown::Reject => data.begin_with_lookup(),
    }
}

impl Hooked for ByLua {
    fn inner(&self) -> Option<&Inner> {
        self.0.inner()
    }

    fn get(&self, pc: Peer<'_>) -> ngx_int_t {
        self.0.get_by_lua(pc)
    }

    fn free(&self, pc: Peer<'_>, state: ngx_uint_t) {
        if self.0.departed.get() || state & (NGX_PEER_FAILED | NGX_PEER_NEXT) as ngx_uint_t != 0 {
            return self.0.free_slow(pc, state);
        }
        let held = self.0.held.replace(Held::Nothing);
        self.0.ended(held);
        self.0.inner.free(pc, state);
    }
}

impl PeerData {
    /// The address of the server that Lua may choose for the request's session. Calls `f` with it.
    pub fn with_session_server<T>(
        r: Request<'_>,
        f: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, NoServer> {
        let data = PeerData::last(r).ok_or(NoServer::NoUpstream)?;
        let server = data.session.get().ok_or(match data.status.get() {
            Status::None => NoServer::NoId,
            _ => NoServer::Unknown,
        })?;
        match (data.away.get(), data.status.get()) {
            (Away::No, _) => (),
            (Away::Busy, _) => return Err(NoServer::Failed),
            (Away::Unreachable, Status::Gone) => return Err(NoServer::Gone),
            (Away::Unreachable, _) => return Err(NoServer::Unreachable),
        }
        data.sessions().with_address(server, f).ok_or(NoServer::Unknown)
    }
}
