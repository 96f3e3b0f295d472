//! One request at an upstream with `sticky cookie` or `sticky route`.

use core::cell::Cell;

use affinity::policy::{self, Status};
use affinity::status::OutOfMemory;
use nginx_sys::{
    ngx_http_get_flushed_variable, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_uint_t,
};

use super::cookie::SetCookie;
use crate::conf::method::Cookie;
use crate::conf::{cookie, foreign, UpstreamConf};
use crate::nginx::cycle::Cycle;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::request::Request;
use crate::nginx::upstream::{Block, Peer, Upstream};
use crate::nginx::{ERROR, OK};
use crate::peers::hooks::{self, Hooked, Inner};
use crate::peers::list::{Candidate, Missing};
use crate::peers::tried::RoundRobin;
use crate::servers::evidence::Failure;

/// The state of the request; it lives as long as the request's pool.
pub struct Choice {
    /// The request of these data, and its upstream.
    request: Request<'static>,
    upstream: Upstream<'static>,
    block: Block<'static>,
    inner: Inner,
    /// The server's id in the request; empty without one.
    wanted: Cell<&'static [u8]>,
    status: Cell<Status>,
    /// Whether the id is that of a server of the upstream, available or not.
    known: Cell<bool>,
    /// Whether the client keeps its cookie, because another server serves only this request.
    stays: Cell<bool>,
    /// Whether a failure on a stale kept connection was forgiven; that happens once.
    forgiven: Cell<bool>,
    /// Whether the last server has failed.
    failed: Cell<bool>,
    cookie: SetCookie,
}

impl Recycled for Choice {
    fn spare() -> &'static Spare<Choice> {
        static SPARE: Spare<Choice> = Spare::new();
        &SPARE
    }
}

/// `peer.init` of an upstream with `sticky cookie` or `sticky route`.
pub unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request and its upstream. All that keeps the request is in its pool and is
    // dropped with that; the configuration outlives its requests.
    let (r, block) = unsafe { (Request::<'static>::new(r), Block::<'static>::new(us)) };
    let Some(conf) = UpstreamConf::of(block) else {
        return ERROR;
    };
    let Some(init) = conf.balancer.init_peer.get() else {
        return ERROR;
    };
    // SAFETY: a `peer.init` hook of this upstream, called with the arguments of ours.
    if unsafe { init(r.raw(), us) } != OK {
        return ERROR;
    }
    let Some(upstream) = r.upstream() else {
        return ERROR;
    };
    // SAFETY: the balancer's `peer.init` has just set the data, in the request's pool. The balancer keeps a
    // list of peers: an upstream with a foreign one does not get this hook.
    if unsafe { RoundRobin::find(block, upstream.peer().data()) }.is_none() {
        foreign::note(Cycle::running_log(), block, conf);
        return OK;
    }
    let choice = recycled::make(r.pool(), || Choice {
        request: r,
        upstream,
        block,
        inner: Inner::of(upstream.peer()),
        wanted: Cell::new(wanted(conf, r)),
        status: Cell::new(Status::None),
        known: Cell::new(false),
        stays: Cell::new(false),
        forgiven: Cell::new(false),
        failed: Cell::new(false),
        cookie: SetCookie::none(),
    });
    match choice {
        Some(choice) => {
            hooks::wrap(upstream.peer(), choice);
            OK
        }
        None => ERROR,
    }
}

/// The server's id in a request: the first value that is not empty.
fn wanted<'r>(conf: &UpstreamConf, r: Request<'r>) -> &'r [u8] {
    let lookup = conf.method().map_or(&[][..], |method| &method.lookup);
    for &index in lookup {
        // SAFETY: nginx has returned this index while the configuration was read; values live as long as the
        // request.
        unsafe {
            let value = ngx_http_get_flushed_variable(r.raw(), index as ngx_uint_t).as_ref();
            let found = value.filter(|value| value.not_found() == 0 && value.len() > 0);
            if let Some(value) = found {
                return core::slice::from_raw_parts(value.data, value.len() as usize);
            }
        }
    }
    &[]
}

impl Hooked for Choice {
    fn inner(&self) -> Option<&Inner> {
        Some(&self.inner)
    }

    fn get(&self, pc: Peer<'_>) -> ngx_int_t {
        let Some(conf) = UpstreamConf::of(self.block) else {
            return ERROR;
        };
        let rc =
            if self.take(pc, conf) || self.stand_in(pc, conf) { OK } else { self.inner.get(pc) };
        match self.set_cookie(conf, rc == OK) {
            Ok(()) => rc,
            Err(OutOfMemory) => ERROR,
        }
    }

    fn free(&self, pc: Peer<'_>, state: ngx_uint_t) {
        let mut state = state;
        self.failed.set(state & nginx_sys::NGX_PEER_FAILED as ngx_uint_t != 0);
        let stale = self.status.get() == Status::Hit
            && pc.is_cached()
            && Failure::of(pc, self.upstream, state) == Failure::Stale;
        if stale && !self.forgiven.replace(true) {
            // The server has closed an idle connection, or it closes the connection whenever it gets this
            // request. The first time does not count as a failure: the server is tried again.
            state &= !(nginx_sys::NGX_PEER_FAILED as ngx_uint_t);
            self.peers().forget_try();
        }
        self.inner.free(pc, state);
    }
}

impl Choice {
    /// The data of the request's last upstream with `sticky cookie` or `sticky route`.
    pub fn last<'r>(r: Request<'r>) -> Option<&'r Choice> {
        recycled::find::<Choice>(r.pool(), |choice| choice.request == r)
    }

    /// The balancer's data of the request.
    fn peers(&self) -> RoundRobin<'static> {
        // SAFETY: `init_peer` has called `RoundRobin::find` with these data before it installed our hooks.
        unsafe { RoundRobin::again(self.block, self.inner.data).unwrap_unchecked() }
    }

    /// Whether the request is still at this upstream.
    pub fn is_current(&self) -> bool {
        self.request.upstream() == Some(self.upstream)
    }

    pub fn status(&self) -> Status {
        self.status.get()
    }

    /// The cookie of the response.
    #[cfg(nginx_early_hints)]
    pub fn cookie(&self) -> &SetCookie {
        &self.cookie
    }

    /// The address of the server that the client is bound to, by the response's cookie or by its route.
    pub fn bound_address(&self) -> Option<&[u8]> {
        let is_set = self.cookie.is_there(self.request);
        if !self.is_current() || !(is_set || self.status.get() == Status::Hit) {
            return None;
        }
        self.upstream.last_peer()
    }

    /// Takes the server of the request's id.
    fn take(&self, pc: Peer<'_>, conf: &UpstreamConf) -> bool {
        self.stays.set(false);
        let mut taken = Err(Missing::Removed);
        if !self.wanted.get().is_empty() {
            taken = self.take_wanted(pc, conf, self.wanted.get());
            if taken.is_ok() {
                self.known.set(true);
                self.status.set(Status::Hit);
                return true;
            }
        }
        self.take_slow(pc, conf, taken)
    }

    /// The slow path: takes the server of another cookie, or none. `taken` is the result for the first id.
    #[cold]
    fn take_slow(&self, pc: Peer<'_>, conf: &UpstreamConf, mut taken: Result<(), Missing>) -> bool {
        if taken == Err(Missing::Removed) && !self.known.get() {
            taken = self.take_other(pc, conf);
        }
        self.known.set(self.known.get() | (taken != Err(Missing::Removed)));
        self.status.set(match taken {
            Ok(()) => Status::Hit,
            Err(Missing::Removed) if self.wanted.get().is_empty() && conf.cookie().is_none() => {
                Status::None
            }
            Err(Missing::Removed) if self.wanted.get().is_empty() => Status::New,
            Err(Missing::Removed) if !self.known.get() => Status::Unknown,
            Err(missing) => {
                self.stays.set(missing == Missing::Full);
                Status::Unavailable
            }
        });
        taken.is_ok()
    }

    /// Takes the server of an id.
    fn take_wanted(&self, pc: Peer<'_>, conf: &UpstreamConf, wanted: &[u8]) -> Result<(), Missing> {
        self.peers().take_in_turn(pc, self.upstream, |candidate| conf.ids.is(candidate, wanted))
    }

    /// Takes the server of another cookie of the same name. A browser sends several cookies of a name if they
    /// were set with different paths or domains.
    #[cold]
    fn take_other(&self, pc: Peer<'_>, conf: &UpstreamConf) -> Result<(), Missing> {
        let Some(cookie) = conf.cookie() else { return Err(Missing::Removed) };
        let cookies = cookie::sent(self.request, cookie.own_name());
        for other in cookies.without(self.wanted.get()).iter() {
            let taken = self.take_wanted(pc, conf, other);
            if taken != Err(Missing::Removed) {
                self.wanted.set(other);
                return taken;
            }
        }
        Err(Missing::Removed)
    }

    /// Takes a backup server for a client whose own server is unavailable, if no other server is left. The
    /// choice is the same for each request of the client.
    fn stand_in(&self, pc: Peer<'_>, conf: &UpstreamConf) -> bool {
        if self.status.get() != Status::Unavailable || conf.cookie().is_none() {
            return false;
        }
        // Clients of one server have the same cookie. Their addresses spread them over the backup servers.
        let session = policy::digest(&[self.wanted.get(), self.request.client()]);
        let rank = |candidate: &Candidate<'_>| policy::stand_in(session, candidate.address());
        let taken = self.peers().take_backup(pc, self.upstream, rank);
        self.stays.set(self.stays.get() | taken);
        taken
    }

    /// Sets the cookie with the server's id in the response; removes it if no server was chosen.
    fn set_cookie(&self, conf: &UpstreamConf, has_server: bool) -> Result<(), OutOfMemory> {
        let Some(cookie) = conf.cookie() else {
            return Ok(());
        };
        if self.stays.get() || self.request.is_internal() && self.is_set_before(cookie) {
            self.cookie.take_back(self.request);
            return Ok(());
        }
        let (r, header) = (self.request, &self.cookie);
        if has_server && self.status.get() == Status::Hit {
            return cookie.set(r, header, self.wanted.get());
        }
        if has_server {
            let id = self.peers().with_current(|candidate| conf.ids.of(candidate));
            if let Some(id) = id {
                return cookie.set(r, header, id.as_bytes());
            }
        }
        header.take_back(r);
        Ok(())
    }

    /// Whether an earlier upstream of the request has set a cookie of the same name, which stays. It is
    /// removed instead if its server has failed (`error_page 502 = @other`), or if the client's own cookie
    /// was valid in this upstream but not in the earlier one.
    #[cold]
    fn is_set_before(&self, cookie: &Cookie) -> bool {
        let sets_the_same = |block| {
            let other = UpstreamConf::of(block).and_then(UpstreamConf::cookie);
            other.is_some_and(|other| other.name == cookie.name)
        };
        let earlier = recycled::find::<Choice>(self.request.pool(), |choice| {
            choice.request == self.request
                && choice.upstream != self.upstream
                && choice.cookie.is_there(self.request)
                && sets_the_same(choice.block)
        });
        let Some(earlier) = earlier else { return false };
        let is_known_here = self.status.get() == Status::Hit && earlier.status() != Status::Hit;
        if earlier.failed.get() || is_known_here {
            earlier.cookie.hide(self.request);
            return false;
        }
        true
    }
}
