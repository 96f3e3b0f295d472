//! One request on its way through `sticky cookie` or `sticky route`.

use core::mem;

use affinity::policy::Status;
use nginx_sys::{
    ngx_http_get_flushed_variable, ngx_http_request_t, ngx_http_upstream_srv_conf_t,
    ngx_http_upstream_t, ngx_int_t, ngx_peer_connection_t, ngx_uint_t,
};

use super::cookie::Told;
use super::Sticky;
use crate::conf::UpstreamConf;
use crate::evidence::Failure;
use crate::foreign;
use crate::hooks::{self, Hooked, Inner};
use crate::nginx::{self, ERROR, OK};
use crate::peers::{self, Missing};
use crate::recycled::{self, Recycled, Spare};
use crate::values::OutOfMemory;

/// Lives as long as the request's pool.
pub struct Choice {
    request: *mut ngx_http_request_t,
    upstream: *mut ngx_http_upstream_t,
    us: *const ngx_http_upstream_srv_conf_t,
    inner: Inner,
    /// The id of the server that the request asks for; empty if it asks for none.
    wanted: &'static [u8],
    status: Status,
    /// A kept connection that its server had closed was forgiven.
    forgiven: bool,
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
        if !peers::is_round_robin(peer.data, us) {
            foreign::note((*(*r).connection).log, us, conf);
            return OK;
        }
        let choice = recycled::make((*r).pool, || Choice {
            request: r,
            upstream,
            us,
            inner: Inner::of(peer),
            wanted: wanted(&conf.sticky, r),
            status: Status::None,
            forgiven: false,
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
            if self.take(pc, sticky) {
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
        // SAFETY: called from `peer.free`; nginx passes its connection as it is.
        unsafe {
            let stale = self.status == Status::Hit
                && pc.cached() != 0
                && Failure::of(pc, self.upstream, state) == Failure::Stale;
            if stale && !mem::replace(&mut self.forgiven, true) {
                // The server has closed an idle connection, or does so whenever it gets this request:
                // once that is no failure, and it is tried anew.
                state &= !(nginx_sys::NGX_PEER_FAILED as ngx_uint_t);
                peers::forget_try(self.inner.data);
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
        if self.wanted.is_empty() {
            if sticky.sets_cookie() {
                self.status = Status::New;
            }
            return false;
        }
        // SAFETY: by this function's contract; the data are round robin's.
        let taken = unsafe {
            peers::take_in_turn(pc, self.upstream, self.us, self.inner.data, |candidate| {
                sticky.ids.is(candidate, self.wanted)
            })
        };
        self.status = match &taken {
            Ok(()) => Status::Hit,
            Err(missing) if *missing == Missing::Removed => Status::Unknown,
            Err(_) => Status::Unavailable,
        };
        taken.is_ok()
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
        let (r, told) = (self.request, &mut self.told);
        if has_server && self.status == Status::Hit {
            // SAFETY: the request is live.
            return unsafe { cookie.set(r, told, self.wanted) };
        }
        if has_server {
            // SAFETY: the data are round robin's, and a peer is taken.
            let id = unsafe {
                peers::with_current(self.us, self.inner.data, |candidate| sticky.ids.of(candidate))
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
}
