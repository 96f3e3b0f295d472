//! A request's upstream, its peer connection, and the `upstream {}` it came from.

use core::ffi::{c_uint, c_void};
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_http_upstream_init_peer_pt, ngx_http_upstream_init_pt, ngx_http_upstream_server_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_peer_connection_t, ngx_str_t,
    ngx_uint_t, NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT,
};

use super::headers::Headers;
use super::{bytes, MODULE};

// Those that begin with a word are where bindgen says.
const _: () = {
    assert!(offset_of!(ngx_http_upstream_t, _bitfield_1) % align_of::<c_uint>() == 0);
    assert!(offset_of!(ngx_peer_connection_t, _bitfield_1) % align_of::<c_uint>() == 0);
};

extern "C" {
    fn sticky_learn_was_connected(u: *const ngx_http_upstream_t) -> c_uint;
    fn sticky_learn_is_shaking_hands(u: *const ngx_http_upstream_t) -> c_uint;
}

/// The upstream of a live request (`r->upstream`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Upstream<'r> {
    raw: NonNull<ngx_http_upstream_t>,
    live: PhantomData<&'r ngx_http_upstream_t>,
}

impl<'r> Upstream<'r> {
    /// # Safety
    /// nginx has made `raw` in the pool of a request that it does not free during `'r`.
    #[inline(always)]
    pub(super) unsafe fn new(raw: NonNull<ngx_http_upstream_t>) -> Upstream<'r> {
        Upstream { raw, live: PhantomData }
    }

    /// For calls of nginx.
    #[inline(always)]
    pub fn raw(self) -> *mut ngx_http_upstream_t {
        self.raw.as_ptr()
    }

    /// The peer connection that nginx passes to `peer.get` and `peer.free`.
    #[inline(always)]
    pub fn peer(self) -> Peer<'r> {
        // SAFETY: it is a part of the upstream.
        unsafe { Peer::new(&raw mut (*self.raw()).peer) }
    }

    /// The `upstream {}` that nginx has taken the servers from; `None` until it has.
    #[inline(always)]
    pub fn block(self) -> Option<Block<'r>> {
        // SAFETY: the configuration outlives its requests.
        unsafe { Some(Block { raw: NonNull::new((*self.raw()).upstream)?, live: PhantomData }) }
    }

    /// The status of the response; zero if there is none yet.
    pub fn status(self) -> u16 {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).headers_in.status_n as u16 }
    }

    /// The headers of the response.
    #[inline(always)]
    pub fn headers_in(self) -> Headers<'r> {
        // SAFETY: the list lies in the upstream, its strings in the request's memory.
        unsafe { Headers::new(&raw const (*self.raw()).headers_in.headers.part) }
    }

    /// The name of the server that was tried last, as nginx keeps it for its own variables.
    #[cfg(not(nginx_own_sticky))]
    pub fn last_peer(self) -> Option<&'r [u8]> {
        // SAFETY: the state lies in the request's pool, and the name lives as long.
        unsafe {
            let state = (*self.raw()).state.as_ref()?;
            state.peer.as_ref().map(|name| bytes(name))
        }
    }

    /// When nginx began to connect (milliseconds of its clock).
    pub fn start_time(self) -> u64 {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).start_time as u64 }
    }

    /// Whether the response has no content, by its own `Content-Length`.
    pub fn has_no_content(self) -> bool {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).headers_in.content_length_n == 0 }
    }

    /// Whether the server has sent all of the response.
    pub fn has_all(self) -> bool {
        // SAFETY: plain words, and a pipe that lives as long as the upstream.
        unsafe {
            let u = self.raw();
            let left = match (*u).pipe.as_ref() {
                Some(pipe) if (*u).buffering() != 0 => pipe.length,
                _ => (*u).length,
            };
            left == 0
        }
    }

    /// Whether nginx follows an `X-Accel-Redirect` of the response.
    pub fn is_redirected(self) -> bool {
        // SAFETY: plain words; an upstream has a configuration.
        unsafe {
            let ignored = (*(*self.raw()).conf).ignore_headers
                & NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT as ngx_uint_t;
            !(*self.raw()).headers_in.x_accel_redirect.is_null() && ignored == 0
        }
    }

    /// Whether the server has confirmed what nginx has in its cache.
    #[cfg(ngx_feature = "http_cache")]
    pub fn is_revalidated(self) -> bool {
        // SAFETY: bits that are where bindgen says.
        unsafe { (*self.raw()).cache_status() == nginx_sys::NGX_HTTP_CACHE_REVALIDATED }
    }

    /// Whether any part of a response has come from the server that is held.
    pub fn has_answered(self) -> bool {
        // SAFETY: the state lies in the request's pool.
        let received = unsafe { (*self.raw()).state.as_ref().map_or(0, |it| it.bytes_received) };
        self.status() != 0 || received > 0
    }

    /// Whether the TCP connection to the server has stood. False without a connection.
    pub fn was_connected(self) -> bool {
        // SAFETY: C asks the peer's connection, which is there.
        self.peer().has_connection() && unsafe { sticky_learn_was_connected(self.raw()) != 0 }
    }

    /// Whether the TLS handshake with the server has begun, and has not ended. False without a connection.
    pub fn is_shaking_hands(self) -> bool {
        // SAFETY: C asks the peer's connection, which is there.
        self.peer().has_connection() && unsafe { sticky_learn_is_shaking_hands(self.raw()) != 0 }
    }
}

/// A peer connection (`ngx_peer_connection_t`), the `pc` of `peer.get` and `peer.free`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Peer<'r> {
    raw: NonNull<ngx_peer_connection_t>,
    live: PhantomData<&'r ngx_peer_connection_t>,
}

impl<'r> Peer<'r> {
    /// # Safety
    /// `raw` is the peer connection of an upstream whose request nginx does not free during `'r`.
    #[inline(always)]
    pub unsafe fn new(raw: *mut ngx_peer_connection_t) -> Peer<'r> {
        debug_assert!(!raw.is_null());
        // SAFETY: a peer connection is not at address zero.
        Peer { raw: unsafe { NonNull::new_unchecked(raw) }, live: PhantomData }
    }

    /// For calls of nginx, and for what has no method here.
    #[inline(always)]
    pub fn raw(self) -> *mut ngx_peer_connection_t {
        self.raw.as_ptr()
    }

    /// The address of the server that is held, as nginx prints it.
    #[inline(always)]
    pub fn name(self) -> Option<&'r [u8]> {
        // SAFETY: the name is that of a peer that is held, or lies in the request's pool.
        unsafe { (*self.raw()).name.as_ref().map(|name| bytes(name)) }
    }

    /// Sets the name for nginx's logs and variables, which lives as long as the configuration.
    pub fn set_name(self, name: *mut ngx_str_t) {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).name = name }
    }

    /// What its hooks get.
    pub fn data(self) -> *mut c_void {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).data }
    }

    pub fn has_connection(self) -> bool {
        // SAFETY: a plain word.
        unsafe { !(*self.raw()).connection.is_null() }
    }

    /// Whether reading and writing have ended by a timeout; `None` without a connection.
    pub fn timed_out(self) -> Option<(bool, bool)> {
        // SAFETY: bits of the events of a live connection.
        unsafe {
            let c = (*self.raw()).connection.as_ref()?;
            Some(((*c.read).timedout() != 0, (*c.write).timedout() != 0))
        }
    }

    /// The socket address of the server that nginx has tried last.
    pub fn address(self) -> Option<&'r [u8]> {
        // SAFETY: nginx has set the address, whose length stands beside it.
        unsafe {
            let (address, len) = ((*self.raw()).sockaddr, (*self.raw()).socklen);
            (!address.is_null())
                .then(|| core::slice::from_raw_parts(address.cast_const().cast(), len as usize))
        }
    }

    /// Whether the connection was kept from an earlier request.
    pub fn is_cached(self) -> bool {
        // SAFETY: a bit that is where bindgen says.
        unsafe { (*self.raw()).cached() != 0 }
    }

    #[inline(always)]
    pub fn set_cached(self, cached: bool) {
        // SAFETY: as in `is_cached`.
        unsafe { (*self.raw()).set_cached(c_uint::from(cached)) }
    }

    /// How many servers nginx may ask for, this one included.
    #[inline(always)]
    pub fn tries(self) -> ngx_uint_t {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).tries }
    }

    #[inline(always)]
    pub fn set_tries(self, tries: ngx_uint_t) {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).tries = tries }
    }

    /// Whether the configuration gives its connections an address of their own (`proxy_bind`).
    pub fn has_own_address(self) -> bool {
        // SAFETY: a plain word.
        unsafe { !(*self.raw()).local.is_null() }
    }
}

/// An `upstream {}` of a live configuration (`ngx_http_upstream_srv_conf_t`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Block<'c> {
    raw: NonNull<ngx_http_upstream_srv_conf_t>,
    live: PhantomData<&'c ngx_http_upstream_srv_conf_t>,
}

impl<'c> Block<'c> {
    /// # Safety
    /// `raw` is an upstream of a configuration that nginx does not free during `'c`.
    #[inline(always)]
    pub unsafe fn new(raw: *mut ngx_http_upstream_srv_conf_t) -> Block<'c> {
        debug_assert!(!raw.is_null());
        // SAFETY: an upstream is not at address zero.
        Block { raw: unsafe { NonNull::new_unchecked(raw) }, live: PhantomData }
    }

    /// For calls of nginx, and for what has no method here.
    #[inline(always)]
    pub fn raw(self) -> *mut ngx_http_upstream_srv_conf_t {
        self.raw.as_ptr()
    }

    /// The name behind `upstream`.
    pub fn name(self) -> &'c [u8] {
        // SAFETY: the text lives as long as the configuration.
        unsafe { bytes(&(*self.raw()).host) }
    }

    /// What initialises its balancer.
    pub fn init_upstream(self) -> ngx_http_upstream_init_pt {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).peer.init_upstream }
    }

    /// Puts another one in its place, and gives the former. nginx calls it when it has read `http {}`.
    pub fn replace_init_upstream(
        self,
        init: ngx_http_upstream_init_pt,
    ) -> ngx_http_upstream_init_pt {
        // SAFETY: as in `init_upstream`; nginx reads its configuration in one thread.
        unsafe { core::mem::replace(&mut (*self.raw()).peer.init_upstream, init) }
    }

    /// Puts another hook in the place of that which begins each request, and gives the former.
    pub fn replace_init_peer(
        self,
        init: ngx_http_upstream_init_peer_pt,
    ) -> ngx_http_upstream_init_peer_pt {
        // SAFETY: as in `replace_init_upstream`.
        unsafe { core::mem::replace(&mut (*self.raw()).peer.init, init) }
    }

    /// The `server`s of its configuration.
    pub fn servers(self) -> &'c [ngx_http_upstream_server_t] {
        // SAFETY: nginx's array, which lives as long as the configuration. It grows only while a `server`
        // is read.
        unsafe { (*self.raw()).servers.as_ref().map_or(&[][..], |servers| servers.as_slice()) }
    }

    /// Says of a `server` whether and how it is down.
    #[cfg(not(nginx_own_sticky))]
    pub fn set_server_down(self, place: usize, down: ngx_uint_t) {
        // SAFETY: as in `servers`; nginx reads its configuration in one thread, and has the number of
        // elements.
        unsafe {
            if let Some(servers) = (*self.raw()).servers.as_ref().filter(|it| place < it.nelts) {
                (*servers.elts.cast::<ngx_http_upstream_server_t>().add(place)).down = down;
            }
        }
    }

    /// Our configuration of it; `None` for one without an `upstream {}` of its own.
    ///
    /// # Safety
    /// `T` is what our module makes for an upstream. While the configuration is read, nobody changes it
    /// as long as the reference lives.
    #[inline(always)]
    pub unsafe fn own_conf<T>(self) -> Option<&'c T> {
        // SAFETY: by this function's own condition.
        unsafe { self.own_conf_ptr().cast::<T>().as_ref() }
    }

    /// The same as a pointer, which may be null: what is written to cannot come from a shared reference.
    #[inline(always)]
    pub fn own_conf_ptr(self) -> *mut c_void {
        // SAFETY: nginx gives each http module a place.
        unsafe {
            let all = (*self.raw()).srv_conf;
            if all.is_null() {
                return core::ptr::null_mut();
            }
            *all.add(MODULE.get())
        }
    }
}
