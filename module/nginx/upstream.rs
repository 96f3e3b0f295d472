//! A request's upstream, its peer connection, and the `upstream {}` of its servers.

use core::ffi::{c_uint, c_void, CStr};
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

// These bit fields begin with a word, so bindgen places them right.
const _: () = {
    assert!(offset_of!(ngx_http_upstream_t, _bitfield_1) % align_of::<c_uint>() == 0);
    assert!(offset_of!(ngx_peer_connection_t, _bitfield_1) % align_of::<c_uint>() == 0);
};

extern "C" {
    fn sticky_learn_was_connected(u: *const ngx_http_upstream_t) -> c_uint;
    fn sticky_learn_may_be_cached(u: *const ngx_http_upstream_t) -> c_uint;
    fn sticky_learn_is_http_1_0(u: *const ngx_http_upstream_t) -> c_uint;
    fn sticky_learn_is_shaking_hands(u: *const ngx_http_upstream_t) -> c_uint;
    fn sticky_learn_uses_tls(u: *const ngx_http_upstream_t) -> c_uint;
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

    /// For calls of nginx's functions.
    #[inline(always)]
    pub fn raw(self) -> *mut ngx_http_upstream_t {
        self.raw.as_ptr()
    }

    /// The peer connection that nginx passes to `peer.get` and `peer.free`.
    #[inline(always)]
    pub fn peer(self) -> Peer<'r> {
        // SAFETY: the peer connection is a field of the upstream.
        unsafe { Peer::new(&raw mut (*self.raw()).peer) }
    }

    /// The `upstream {}` of the request's servers; `None` until nginx has chosen it.
    #[inline(always)]
    pub fn block(self) -> Option<Block<'r>> {
        // SAFETY: the configuration outlives its requests.
        unsafe { Some(Block { raw: NonNull::new((*self.raw()).upstream)?, live: PhantomData }) }
    }

    /// The `upstream {}` of the request's location, if its name has no variables. Known before nginx has
    /// chosen it.
    pub fn fixed_block(self) -> Option<Block<'r>> {
        // SAFETY: plain words; `conf` is set for each upstream, and lives as long as the configuration.
        unsafe {
            let raw = NonNull::new((*(*self.raw()).conf).upstream)?;
            (*self.raw()).resolved.is_null().then_some(Block { raw, live: PhantomData })
        }
    }

    /// Sets the `upstream {}` of the request's servers, as nginx does before it calls `peer.init`.
    pub fn set_block(self, block: Block<'r>) {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).upstream = block.raw() }
    }

    /// How many servers the configuration lets nginx try (`proxy_next_upstream_tries`); `None` for any number.
    pub fn max_tries(self) -> Option<ngx_uint_t> {
        // SAFETY: plain words; `conf` is set for each upstream, and lives as long as the configuration.
        let tries = unsafe { (*(*self.raw()).conf).next_upstream_tries };
        (tries != 0).then_some(tries)
    }

    /// Whether the request is sent to the server by HTTP/1.0.
    pub fn is_http_1_0(self) -> bool {
        // SAFETY: C reads the buffer with the head of the request, which lives as long as the request.
        unsafe { sticky_learn_is_http_1_0(self.raw()) != 0 }
    }

    /// Whether the response may come from nginx's cache.
    pub fn may_be_cached(self) -> bool {
        // SAFETY: C reads a bit of the upstream's configuration.
        unsafe { sticky_learn_may_be_cached(self.raw()) != 0 }
    }

    /// The status of the response; zero if there is none yet.
    pub fn status(self) -> u16 {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).headers_in.status_n as u16 }
    }

    /// Whether the location speaks TLS to its servers.
    pub fn uses_tls(self) -> bool {
        // SAFETY: C reads a bit of the live upstream.
        unsafe { sticky_learn_uses_tls(self.raw()) != 0 }
    }

    /// Whether nginx has ended the upstream: the whole answer has come, or nothing more will.
    pub fn has_ended(self) -> bool {
        // SAFETY: a plain word; nginx sets it to null at the end.
        unsafe { (*self.raw()).cleanup.is_null() }
    }

    /// The headers of the response.
    #[inline(always)]
    pub fn headers_in(self) -> Headers<'r> {
        // SAFETY: the list is in the upstream, its strings are in memory of the request.
        unsafe { Headers::new(&raw const (*self.raw()).headers_in.headers.part) }
    }

    /// The name of the server that was tried last, from the state behind `$upstream_addr`.
    #[cfg(not(nginx_own_sticky))]
    pub fn last_peer(self) -> Option<&'r [u8]> {
        // SAFETY: the state is in the request's pool, and the name lives as long.
        unsafe {
            let state = (*self.raw()).state.as_ref()?;
            state.peer.as_ref().map(|name| bytes(name))
        }
    }

    /// When nginx began to connect, in milliseconds of its monotonic clock.
    pub fn start_time(self) -> u64 {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).start_time as u64 }
    }

    /// Whether the response's `Content-Length` is zero.
    pub fn has_no_content(self) -> bool {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).headers_in.content_length_n == 0 }
    }

    /// Whether the server has sent the whole response.
    pub fn has_all(self) -> bool {
        // SAFETY: plain words; the pipe lives as long as the upstream.
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
        // SAFETY: plain words; `conf` is set for each upstream, and lives as long as the configuration.
        unsafe {
            let ignored = (*(*self.raw()).conf).ignore_headers
                & NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT as ngx_uint_t;
            !(*self.raw()).headers_in.x_accel_redirect.is_null() && ignored == 0
        }
    }

    /// Whether the server has confirmed the response in nginx's cache (304).
    #[cfg(ngx_feature = "http_cache")]
    pub fn is_revalidated(self) -> bool {
        // SAFETY: bits of a live upstream, where bindgen places them (asserted above).
        unsafe { (*self.raw()).cache_status() == nginx_sys::NGX_HTTP_CACHE_REVALIDATED }
    }

    /// Whether any part of a response has arrived from the current server.
    pub fn has_answered(self) -> bool {
        // SAFETY: the state is in the request's pool.
        let received = unsafe { (*self.raw()).state.as_ref().map_or(0, |it| it.bytes_received) };
        self.status() != 0 || received > 0
    }

    /// Whether the TCP connection to the server was established. False without a connection.
    pub fn was_connected(self) -> bool {
        // SAFETY: C reads the peer's connection, which is not null here.
        self.peer().has_connection() && unsafe { sticky_learn_was_connected(self.raw()) != 0 }
    }

    /// Whether the TLS handshake with the server has begun and not ended. False without a connection.
    pub fn is_shaking_hands(self) -> bool {
        // SAFETY: C reads the peer's connection, which is not null here.
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

    /// For calls of nginx's functions and for fields without a method.
    #[inline(always)]
    pub fn raw(self) -> *mut ngx_peer_connection_t {
        self.raw.as_ptr()
    }

    /// The address of the current server, as nginx prints it.
    #[inline(always)]
    pub fn name(self) -> Option<&'r [u8]> {
        // SAFETY: the name belongs to a peer that the request has taken, or is in the request's pool.
        unsafe { (*self.raw()).name.as_ref().map(|name| bytes(name)) }
    }

    /// Sets the name for nginx's logs and variables; it must live as long as the configuration.
    pub fn set_name(self, name: *mut ngx_str_t) {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).name = name }
    }

    /// The `data` that `peer.get` and `peer.free` get.
    pub fn data(self) -> *mut c_void {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).data }
    }

    pub fn has_connection(self) -> bool {
        // SAFETY: a plain word.
        unsafe { !(*self.raw()).connection.is_null() }
    }

    /// Whether reading, and whether writing, ended by a timeout; `None` without a connection.
    pub fn timed_out(self) -> Option<(bool, bool)> {
        // SAFETY: bits of the events of a live connection.
        unsafe {
            let c = (*self.raw()).connection.as_ref()?;
            Some(((*c.read).timedout() != 0, (*c.write).timedout() != 0))
        }
    }

    /// The socket address of the server that nginx tried last.
    pub fn address(self) -> Option<&'r [u8]> {
        // SAFETY: `sockaddr` is null or points to `socklen` bytes of a peer that the request has taken.
        unsafe {
            let (address, len) = ((*self.raw()).sockaddr, (*self.raw()).socklen);
            (!address.is_null())
                .then(|| core::slice::from_raw_parts(address.cast_const().cast(), len as usize))
        }
    }

    /// Whether the connection was kept open by an earlier request (`keepalive`).
    pub fn is_cached(self) -> bool {
        // SAFETY: a bit of a live peer connection, where bindgen places it (asserted above).
        unsafe { (*self.raw()).cached() != 0 }
    }

    #[inline(always)]
    pub fn set_cached(self, cached: bool) {
        // SAFETY: a bit of a live peer connection, where bindgen places it (asserted above).
        unsafe { (*self.raw()).set_cached(c_uint::from(cached)) }
    }

    /// How many servers nginx may still try, this one included.
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

    /// Whether the configuration sets a local address for the connection (`proxy_bind`).
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

    /// For calls of nginx's functions and for fields without a method.
    #[inline(always)]
    pub fn raw(self) -> *mut ngx_http_upstream_srv_conf_t {
        self.raw.as_ptr()
    }

    /// The file and the line of the configuration where the upstream is.
    pub fn place(self) -> (ngx_str_t, ngx_uint_t) {
        // SAFETY: nginx has set the name of the file, which ends with a zero, for each upstream; both live as
        // long as the configuration.
        unsafe {
            let file = CStr::from_ptr((*self.raw()).file_name.cast());
            let file = ngx_str_t { len: file.count_bytes(), data: (*self.raw()).file_name };
            (file, (*self.raw()).line)
        }
    }

    /// The name of the upstream.
    pub fn name(self) -> &'c [u8] {
        // SAFETY: the text lives as long as the configuration.
        unsafe { bytes(&(*self.raw()).host) }
    }

    /// The hook that initialises the balancer.
    pub fn init_upstream(self) -> ngx_http_upstream_init_pt {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).peer.init_upstream }
    }

    /// Replaces the hook that initialises the balancer, and returns the former one. nginx calls the hook
    /// when it has read `http {}`.
    pub fn replace_init_upstream(
        self,
        init: ngx_http_upstream_init_pt,
    ) -> ngx_http_upstream_init_pt {
        // SAFETY: a plain word; nginx reads its configuration in one thread.
        unsafe { core::mem::replace(&mut (*self.raw()).peer.init_upstream, init) }
    }

    /// Replaces the hook that begins each request (`peer.init`), and returns the former one.
    pub fn replace_init_peer(
        self,
        init: ngx_http_upstream_init_peer_pt,
    ) -> ngx_http_upstream_init_peer_pt {
        // SAFETY: a plain word; nginx reads its configuration in one thread.
        unsafe { core::mem::replace(&mut (*self.raw()).peer.init, init) }
    }

    /// The `server` directives of the upstream.
    pub fn servers(self) -> &'c [ngx_http_upstream_server_t] {
        // SAFETY: nginx's array lives as long as the configuration. It grows only while a `server` is read.
        unsafe { (*self.raw()).servers.as_ref().map_or(&[][..], |servers| servers.as_slice()) }
    }

    /// Sets `down` of a `server` directive.
    #[cfg(not(nginx_own_sticky))]
    pub fn set_server_down(self, place: usize, down: ngx_uint_t) {
        // SAFETY: `place` is below the number of elements of nginx's array, which lives as long as the
        // configuration; nginx reads its configuration in one thread.
        unsafe {
            if let Some(servers) = (*self.raw()).servers.as_ref().filter(|it| place < it.nelts) {
                (*servers.elts.cast::<ngx_http_upstream_server_t>().add(place)).down = down;
            }
        }
    }

    /// Our configuration of the upstream; `None` for one that nginx makes for a `proxy_pass`.
    ///
    /// # Safety
    /// 1. `T` is what our module makes for an upstream.
    /// 2. While the reference lives, no mutable reference to that configuration exists.
    #[inline(always)]
    pub unsafe fn own_conf<T>(self) -> Option<&'c T> {
        // SAFETY: ours is a `T` (1, 2).
        unsafe { self.own_conf_ptr().cast::<T>().as_ref() }
    }

    /// The same as a pointer, which may be null: it may be written to, unlike what a shared reference gives.
    #[inline(always)]
    pub fn own_conf_ptr(self) -> *mut c_void {
        // SAFETY: `srv_conf` is null or has an element for each http module.
        unsafe {
            let all = (*self.raw()).srv_conf;
            if all.is_null() {
                return core::ptr::null_mut();
            }
            *all.add(MODULE.get())
        }
    }
}
