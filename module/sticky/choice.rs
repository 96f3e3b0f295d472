//! One request on its way through `sticky cookie` or `sticky route`.

use core::cell::Cell;

use affinity::policy::{self, Status};
use nginx_sys::{
    ngx_http_get_flushed_variable, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_uint_t,
};

use super::cookie::Told;
use crate::conf::method::Cookie;
use crate::conf::value::OutOfMemory;
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

/// Lives as long as the request's pool.
pub struct Choice {
    /// The request that these data go with, and its upstream.
    request: Request<'static>,
    upstream: Upstream<'static>,
    block: Block<'static>,
    inner: Inner,
    /// The id of the server that the request asks for; empty if it asks for none.
    wanted: Cell<&'static [u8]>,
    status: Cell<Status>,
    /// The request asks for a server of the upstream, whether that is available or not.
    known: Cell<bool>,
    /// Another server serves it for the moment only, so that its cookie stays.
    stays: Cell<bool>,
    /// A kept connection that its server had closed was forgiven.
    forgiven: Cell<bool>,
    /// The server that it had last has failed.
    failed: Cell<bool>,
    told: Told,
}

impl Recycled for Choice {
    fn spare() -> &'static Spare<Choice> {
        static SPARE: Spare<Choice> = Spare::new();
        &SPARE
    }
}

pub unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request on its way to an upstream that has our hook. What keeps the request
    // goes with its pool, and the configuration outlives its requests.
    let (r, block) = unsafe { (Request::<'static>::new(r), Block::<'static>::new(us)) };
    let Some(conf) = UpstreamConf::of(block) else {
        return ERROR;
    };
    let Some(init) = conf.balancer.init_peer.get() else {
        return ERROR;
    };
    // SAFETY: the hook gets what nginx has passed to ours.
    if unsafe { init(r.raw(), us) } != OK {
        return ERROR;
    }
    let Some(upstream) = r.upstream() else {
        return ERROR;
    };
    // SAFETY: the balancer has just made the data for this request, and keeps a list of peers: the others have
    // been noted as foreign.
    if unsafe { RoundRobin::find(block, upstream.peer().data()) }.is_none() {
        foreign::note(Cycle::running().log(), block, conf);
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
        told: Told::nothing(),
    });
    match choice {
        Some(choice) => {
            hooks::wrap(upstream.peer(), choice);
            OK
        }
        None => ERROR,
    }
}

/// The first of the values that is not empty.
fn wanted<'r>(conf: &UpstreamConf, r: Request<'r>) -> &'r [u8] {
    let lookup = conf.method().map_or(&[][..], |method| &method.lookup);
    for &index in lookup {
        // SAFETY: nginx knows the index, and its values live as long as the request.
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
        match self.tell_client(conf, rc == OK) {
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
            // The server has closed an idle connection, or does so whenever it gets this request:
            // once that is no failure, and it is tried again.
            state &= !(nginx_sys::NGX_PEER_FAILED as ngx_uint_t);
            self.peers().forget_try();
        }
        self.inner.free(pc, state);
    }
}

impl Choice {
    /// The data of the last such upstream that a request has been to.
    pub fn last<'r>(r: Request<'r>) -> Option<&'r Choice> {
        recycled::find::<Choice>(r.pool(), |choice| choice.request == r)
    }

    /// What the balancer keeps of the request.
    fn peers(&self) -> RoundRobin<'static> {
        // SAFETY: `init_peer` has found such data there before it put our hooks over the balancer's.
        unsafe { RoundRobin::again(self.block, self.inner.data).unwrap_unchecked() }
    }

    /// Whether the request is still there.
    pub fn is_current(&self) -> bool {
        self.request.upstream() == Some(self.upstream)
    }

    pub fn status(&self) -> Status {
        self.status.get()
    }

    /// What the client has been told of its server.
    #[cfg(nginx_early_hints)]
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The address that the client is bound to: that of the server which its cookie names now, or
    /// its route has found.
    pub fn bound_address(&self) -> Option<&[u8]> {
        let told = self.told.is_there(self.request);
        if !self.is_current() || !(told || self.status.get() == Status::Hit) {
            return None;
        }
        self.upstream.last_peer()
    }

    /// Takes the server that the request asks for.
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
        self.take_otherwise(pc, conf, taken)
    }

    /// Takes the server of another cookie, or none, where that of the first has been `taken` or not.
    #[cold]
    fn take_otherwise(
        &self,
        pc: Peer<'_>,
        conf: &UpstreamConf,
        mut taken: Result<(), Missing>,
    ) -> bool {
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

    /// Takes the server that another cookie of the same name asks for: a browser sends several if they
    /// have been set with different paths or domains.
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

    /// Takes a backup server if there is no other one for a client without its own: the same each time.
    fn stand_in(&self, pc: Peer<'_>, conf: &UpstreamConf) -> bool {
        if self.status.get() != Status::Unavailable || conf.cookie().is_none() {
            return false;
        }
        // Clients of one server have the same cookie, and should not all get the same backup server.
        let session = policy::digest(&[self.wanted.get(), self.request.client()]);
        let rank = |candidate: &Candidate<'_>| policy::stand_in(session, candidate.address());
        let taken = self.peers().take_backup(pc, self.upstream, rank);
        self.stays.set(self.stays.get() | taken);
        taken
    }

    /// Puts the server's id into the client's cookie; none if there is no server.
    fn tell_client(&self, conf: &UpstreamConf, has_server: bool) -> Result<(), OutOfMemory> {
        let Some(cookie) = conf.cookie() else {
            return Ok(());
        };
        if self.stays.get() || self.request.is_internal() && self.is_told(cookie) {
            self.told.take_back(self.request);
            return Ok(());
        }
        let (r, told) = (self.request, &self.told);
        if has_server && self.status.get() == Status::Hit {
            return cookie.set(r, told, self.wanted.get());
        }
        if has_server {
            let id = self.peers().with_current(|candidate| conf.ids.of(candidate));
            if let Some(id) = id {
                return cookie.set(r, told, id.as_bytes());
            }
        }
        told.take_back(r);
        Ok(())
    }

    /// Whether an earlier upstream of the request has set the cookie, so that it stands: there is one of
    /// a name. If the client's own was valid here only, that one stands; nor does one stand whose server
    /// has failed (`error_page 502 = @other`).
    #[cold]
    fn is_told(&self, cookie: &Cookie) -> bool {
        let sets_the_same = |block| {
            let other = UpstreamConf::of(block).and_then(UpstreamConf::cookie);
            other.is_some_and(|other| other.name == cookie.name)
        };
        let earlier = recycled::find::<Choice>(self.request.pool(), |choice| {
            choice.request == self.request
                && choice.upstream != self.upstream
                && choice.told.is_there(self.request)
                && sets_the_same(choice.block)
        });
        let Some(earlier) = earlier else { return false };
        let is_known_here = self.status.get() == Status::Hit && earlier.status() != Status::Hit;
        if earlier.failed.get() || is_known_here {
            earlier.told.hide(self.request);
            return false;
        }
        true
    }
}
