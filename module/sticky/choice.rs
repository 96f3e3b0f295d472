//! One request on its way through `sticky cookie` or `sticky route`.

use crate::peers::take;
use crate::peers::tried;
use core::mem;

use affinity::policy::{self, Status};
use nginx_sys::{
    ngx_cycle, ngx_http_get_flushed_variable, ngx_http_request_t, ngx_http_upstream_srv_conf_t,
    ngx_http_upstream_t, ngx_int_t, ngx_peer_connection_t, ngx_uint_t,
};

use super::cookie::Told;
use crate::conf::cookie;
use crate::conf::foreign;
use crate::conf::method::{Cookie, Sticky};
use crate::conf::value::OutOfMemory;
use crate::conf::UpstreamConf;
use crate::nginx::bits;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::{self, ERROR, OK};
use crate::peers::hooks::{self, Hooked, Inner};
use crate::peers::list::{self, Missing};
use crate::servers::evidence::Failure;

/// Lives as long as the request's pool.
pub struct Choice {
    request: *mut ngx_http_request_t,
    upstream: *mut ngx_http_upstream_t,
    us: *const ngx_http_upstream_srv_conf_t,
    inner: Inner,
    /// The id of the server that the request asks for; empty if it asks for none.
    wanted: &'static [u8],
    status: Status,
    /// The request asks for a server of the upstream, whether that can be had or not.
    known: bool,
    /// Another server serves it for the moment only, so that its cookie stays.
    stays: bool,
    /// A kept connection that its server had closed was forgiven.
    forgiven: bool,
    /// The server that it had last has failed.
    failed: bool,
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
    // SAFETY: nginx passes a live request on its way to an upstream that has our hook.
    unsafe {
        let Some(conf) = UpstreamConf::of(us) else {
            return ERROR;
        };
        let Some(init) = conf.balancer.init_peer else {
            return ERROR;
        };
        if init(r, us) != OK {
            return ERROR;
        }
        let upstream = (*r).upstream;
        let peer = &mut (*upstream).peer;
        if !list::is_round_robin(peer.data, us) {
            foreign::note((*ngx_cycle).log, us, conf);
            return OK;
        }
        let choice = recycled::make((*r).pool, || Choice {
            request: r,
            upstream,
            us,
            inner: Inner::of(peer),
            wanted: wanted(&conf.sticky, r),
            status: Status::None,
            known: false,
            stays: false,
            forgiven: false,
            failed: false,
            told: Told::NOTHING,
        });
        match choice {
            Some(choice) => {
                hooks::wrap(peer, choice);
                OK
            }
            None => ERROR,
        }
    }
}

/// The first of the values that is not empty.
///
/// # Safety
/// `r` is a live request of the configuration.
unsafe fn wanted<'a>(sticky: &Sticky, r: *mut ngx_http_request_t) -> &'a [u8] {
    let lookup = sticky.method.as_ref().map_or(&[][..], |method| &method.lookup);
    for &index in lookup {
        // SAFETY: nginx knows the index, and its values live as long as the request.
        let value = unsafe { ngx_http_get_flushed_variable(r, index as ngx_uint_t).as_ref() };
        let found = value.filter(|value| value.not_found() == 0 && value.len() > 0);
        if let Some(value) = found {
            // SAFETY: as above.
            return unsafe { core::slice::from_raw_parts(value.data, value.len() as usize) };
        }
    }
    &[]
}

impl Hooked for Choice {
    fn inner(&self) -> Option<&Inner> {
        Some(&self.inner)
    }

    unsafe fn get(&mut self, pc: &mut ngx_peer_connection_t) -> ngx_int_t {
        // SAFETY: the configuration outlives its requests; nobody else uses it meanwhile.
        let Some(sticky) = (unsafe { UpstreamConf::of(self.us) }).map(|conf| &mut conf.sticky)
        else {
            return ERROR;
        };
        // SAFETY: called from `peer.get`, with no peer taken.
        let rc = unsafe {
            if self.take(pc, sticky) || self.stand_in(pc, sticky) {
                OK
            } else {
                self.inner.get(pc)
            }
        };
        // SAFETY: a peer is taken if `rc` says so.
        match unsafe { self.tell_client(sticky, rc == OK) } {
            Ok(()) => rc,
            Err(OutOfMemory) => ERROR,
        }
    }

    unsafe fn free(&mut self, pc: &mut ngx_peer_connection_t, state: ngx_uint_t) {
        let mut state = state;
        self.failed = state & nginx_sys::NGX_PEER_FAILED as ngx_uint_t != 0;
        // SAFETY: called from `peer.free`; nginx passes its connection as it is.
        unsafe {
            let stale = self.status == Status::Hit
                && pc.cached() != 0
                && Failure::of(pc, self.upstream, state) == Failure::Stale;
            if stale && !mem::replace(&mut self.forgiven, true) {
                // The server has closed an idle connection, or does so whenever it gets this request:
                // once that is no failure, and it is tried anew.
                state &= !(nginx_sys::NGX_PEER_FAILED as ngx_uint_t);
                tried::forget_try(self.inner.data);
            }
            self.inner.free(pc, state);
        }
    }
}

impl Choice {
    /// The data of the last such upstream that a request has been to.
    ///
    /// # Safety
    /// `r` is a live request.
    pub unsafe fn last<'a>(r: *mut ngx_http_request_t) -> Option<&'a Choice> {
        // SAFETY: by this function's contract.
        unsafe { recycled::find::<Choice>((*r).pool, |choice| choice.request == r) }
    }

    /// Whether the request is still there.
    ///
    /// # Safety
    /// The request is live.
    pub unsafe fn is_current(&self) -> bool {
        // SAFETY: by this function's contract.
        unsafe { (*self.request).upstream == self.upstream }
    }

    pub fn status(&self) -> Status {
        self.status
    }

    /// What the client has been told of its server.
    #[cfg(nginx_early_hints)]
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The address that the client is bound to: that of the server which its cookie names now, or
    /// its route has found.
    ///
    /// # Safety
    /// The request is live.
    pub unsafe fn bound_address(&self) -> Option<&[u8]> {
        // SAFETY: nginx keeps the name of the last peer for its own variables.
        unsafe {
            let told = self.told.is_there(self.request);
            if !self.is_current() || !(told || self.status == Status::Hit) {
                return None;
            }
            let state = (*self.upstream).state.as_ref()?;
            Some(nginx::bytes(state.peer.as_ref()?))
        }
    }

    /// Takes the server that the request asks for.
    ///
    /// # Safety
    /// Called from `peer.get`, with no peer taken.
    unsafe fn take(&mut self, pc: &mut ngx_peer_connection_t, sticky: &mut Sticky) -> bool {
        self.stays = false;
        let mut taken = Err(Missing::Removed);
        if !self.wanted.is_empty() {
            // SAFETY: by this function's contract.
            taken = unsafe { self.take_wanted(pc, sticky, self.wanted) };
            if taken.is_ok() {
                (self.known, self.status) = (true, Status::Hit);
                return true;
            }
        }
        // SAFETY: as above.
        unsafe { self.take_otherwise(pc, sticky, taken) }
    }

    /// Takes the server of another cookie, or none, where that of the first has been `taken` or not.
    ///
    /// # Safety
    /// As above.
    #[cold]
    unsafe fn take_otherwise(
        &mut self,
        pc: &mut ngx_peer_connection_t,
        sticky: &mut Sticky,
        mut taken: Result<(), Missing>,
    ) -> bool {
        if taken == Err(Missing::Removed) && !self.known {
            // SAFETY: by this function's contract.
            taken = unsafe { self.take_other(pc, sticky) };
        }
        self.known |= taken != Err(Missing::Removed);
        self.status = match taken {
            Ok(()) => Status::Hit,
            Err(Missing::Removed) if self.wanted.is_empty() && !sticky.sets_cookie() => {
                Status::None
            }
            Err(Missing::Removed) if self.wanted.is_empty() => Status::New,
            Err(Missing::Removed) if !self.known => Status::Unknown,
            Err(missing) => {
                self.stays = missing == Missing::Full;
                Status::Unavailable
            }
        };
        taken.is_ok()
    }

    /// Takes the server of an id.
    ///
    /// # Safety
    /// As above; the data are round robin's.
    unsafe fn take_wanted(
        &self,
        pc: &mut ngx_peer_connection_t,
        sticky: &mut Sticky,
        wanted: &[u8],
    ) -> Result<(), Missing> {
        // SAFETY: by this function's contract.
        unsafe {
            take::take_in_turn(pc, self.upstream, self.us, self.inner.data, |candidate| {
                sticky.ids.is(candidate, wanted)
            })
        }
    }

    /// Takes the server that another cookie of the same name asks for: a browser sends several if they
    /// have been set with different paths or domains.
    ///
    /// # Safety
    /// As above.
    #[cold]
    unsafe fn take_other(
        &mut self,
        pc: &mut ngx_peer_connection_t,
        sticky: &mut Sticky,
    ) -> Result<(), Missing> {
        let Some(cookie) = sticky.cookie() else { return Err(Missing::Removed) };
        // SAFETY: the request is live, and outlives its cookies.
        let cookies = unsafe { cookie::carried(self.request, cookie.own_name()) };
        for other in cookies.without(self.wanted).iter() {
            // SAFETY: by this function's contract.
            let taken = unsafe { self.take_wanted(pc, sticky, other) };
            if taken != Err(Missing::Removed) {
                self.wanted = other;
                return taken;
            }
        }
        Err(Missing::Removed)
    }

    /// Takes a backup server if there is no other one for a client without its own: the same each time.
    ///
    /// # Safety
    /// As above.
    unsafe fn stand_in(&mut self, pc: &mut ngx_peer_connection_t, sticky: &Sticky) -> bool {
        if self.status != Status::Unavailable || !sticky.sets_cookie() {
            return false;
        }
        // SAFETY: the request and its connection are live; the data are round robin's.
        unsafe {
            // Clients of one server have the same cookie, and shall not all have the same backup.
            let client = nginx::bytes(&(*(*self.request).connection).addr_text);
            let session = policy::digest(&[self.wanted, client]);
            let rank =
                |candidate: &list::Candidate<'_>| policy::stand_in(session, candidate.address());
            let taken = take::take_backup(pc, self.upstream, self.us, self.inner.data, rank);
            self.stays |= taken;
            taken
        }
    }

    /// Puts the server's id into the client's cookie; none if there is no server.
    ///
    /// # Safety
    /// Called from `peer.get`, at its end.
    unsafe fn tell_client(
        &mut self,
        sticky: &mut Sticky,
        has_server: bool,
    ) -> Result<(), OutOfMemory> {
        let Some(cookie) = sticky.method.as_ref().and_then(|method| method.cookie.as_ref()) else {
            return Ok(());
        };
        // SAFETY: the request is live.
        if self.stays || unsafe { bits::is_internal(self.request) && self.is_told(cookie) } {
            // SAFETY: as above.
            unsafe { self.told.take_back(self.request) };
            return Ok(());
        }
        let (r, told) = (self.request, &mut self.told);
        if has_server && self.status == Status::Hit {
            // SAFETY: the request is live.
            return unsafe { cookie.set(r, told, self.wanted) };
        }
        if has_server {
            // SAFETY: the data are round robin's, and a peer is taken.
            let id = unsafe {
                take::with_current(self.us, self.inner.data, |candidate| sticky.ids.of(candidate))
            };
            if let Some(id) = id {
                // SAFETY: the request is live.
                return unsafe { cookie.set(r, told, id.as_bytes()) };
            }
        }
        // SAFETY: the request is live.
        unsafe { told.take_back(r) };
        Ok(())
    }

    /// Whether an earlier upstream of the request has set the cookie, so that it stands: there is one of
    /// a name. If the client's own was valid here only, that one stands; nor does one stand whose server
    /// has failed (`error_page 502 = @other`).
    ///
    /// # Safety
    /// As above.
    #[cold]
    unsafe fn is_told(&self, cookie: &Cookie) -> bool {
        // SAFETY: the request is live, and the configuration of its upstreams as well.
        unsafe {
            let sets_the_same = |us| {
                let conf = UpstreamConf::of(us);
                let other = conf.as_deref().and_then(|conf| conf.sticky.cookie());
                other.is_some_and(|other| other.name == cookie.name)
            };
            let earlier = recycled::find::<Choice>((*self.request).pool, |choice| {
                choice.request == self.request
                    && choice.upstream != self.upstream
                    && choice.told.is_there(self.request)
                    && sets_the_same(choice.us)
            });
            let Some(earlier) = earlier else { return false };
            if earlier.failed || self.status == Status::Hit && earlier.status != Status::Hit {
                earlier.told.hide(self.request);
                return false;
            }
            true
        }
    }
}
