//! A request (`ngx_http_request_t`).
//!
//! Its bit fields are read and written in C (`bits.c`). Since nginx 1.30 they begin in the middle of a
//! word; bindgen then places those behind the first word too early.

pub mod body;
pub mod held;

use core::ffi::{c_uint, c_void};
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_connection_t, ngx_http_request_t, ngx_http_upstream_state_t, ngx_int_t, ngx_log_t,
    ngx_module_t,
};

use super::cycle::blocks;
use super::headers::Headers;
use super::pool::Pool;
use super::upstream::{Block, Upstream};
use super::{bytes, ModuleIndex};

// `count`, the first bit field of a request, is where bindgen places it.
const _: () = assert!(offset_of!(ngx_http_request_t, _bitfield_1) % align_of::<u16>() == 0);

extern "C" {
    #[cfg(ngx_feature = "http_cache")]
    fn sticky_learn_is_cached(r: *const ngx_http_request_t) -> c_uint;
    #[cfg(not(nginx_own_sticky))]
    fn sticky_learn_is_internal(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_is_header_only(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_may_have_error_page(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_allow_stale(r: *mut ngx_http_request_t) -> c_uint;
    fn sticky_learn_need_body_in_memory(r: *mut ngx_http_request_t) -> c_uint;
    fn sticky_learn_release_body(r: *mut ngx_http_request_t) -> c_uint;
    fn sticky_learn_need_request_body_in_single_buf(r: *mut ngx_http_request_t);
}

/// A live request. Copies are the same request.
///
/// A callback makes it from nginx's pointer by one `unsafe` call. The methods are safe: no part of a
/// request is freed before the request.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Request<'r> {
    raw: NonNull<ngx_http_request_t>,
    live: PhantomData<&'r ngx_http_request_t>,
}

impl<'r> Request<'r> {
    /// # Safety
    /// 1. `raw` is a request that nginx has initialised.
    /// 2. nginx does not free it during `'r`. A value in the request's own pool may use `'static`: it is
    ///    dropped with the request.
    #[inline(always)]
    pub unsafe fn new(raw: *mut ngx_http_request_t) -> Request<'r> {
        debug_assert!(!raw.is_null());
        // SAFETY: a request is not at address zero (1).
        Request { raw: unsafe { NonNull::new_unchecked(raw) }, live: PhantomData }
    }

    /// For calls of nginx's functions.
    #[inline(always)]
    pub fn raw(self) -> *mut ngx_http_request_t {
        self.raw.as_ptr()
    }

    pub fn pool(self) -> Pool<'r> {
        // SAFETY: the pool is destroyed with the request.
        unsafe { Pool::new((*self.raw()).pool) }
    }

    /// The main request of a subrequest; for a main request itself.
    pub fn main(self) -> Request<'r> {
        // SAFETY: a main request is freed after its subrequests.
        unsafe { Request::new((*self.raw()).main) }
    }

    pub fn is_main(self) -> bool {
        self == self.main()
    }

    pub fn connection(self) -> *mut ngx_connection_t {
        // SAFETY: a request has a connection for as long as it lives.
        unsafe { (*self.raw()).connection }
    }

    /// The log of the connection. It adds the request line to each message, which may contain an id.
    pub fn log(self) -> *mut ngx_log_t {
        // SAFETY: a request has a connection for as long as it lives, and a connection a log.
        unsafe { (*self.connection()).log }
    }

    /// The address of the client as nginx prints it.
    #[cfg(not(nginx_own_sticky))]
    pub fn client(self) -> &'r [u8] {
        // SAFETY: the text is in the pool of the connection, which outlives the request.
        unsafe { bytes(&(*self.connection()).addr_text) }
    }

    /// The request's current upstream (`r->upstream`).
    #[inline(always)]
    pub fn upstream(self) -> Option<Upstream<'r>> {
        // SAFETY: nginx allocates an upstream in the request's pool.
        unsafe { Some(Upstream::new(NonNull::new((*self.raw()).upstream)?)) }
    }

    /// Whether the request was at another upstream before, and reached this one by an internal redirect.
    /// Valid only while the request is at an upstream.
    #[cold]
    pub fn comes_from_upstream(self) -> bool {
        // SAFETY: `upstream_states` is an array of this type in the request's pool.
        unsafe {
            let states = (*self.raw()).upstream_states.as_ref();
            let states =
                states.map_or(&[][..], |states| states.as_slice::<ngx_http_upstream_state_t>());
            // nginx puts a state without a peer between two upstreams. The last state is the current
            // server's.
            states.split_last().is_some_and(|(_, before)| before.iter().any(|it| it.peer.is_null()))
        }
    }

    /// The method: `NGX_HTTP_GET` or another of nginx's constants.
    pub fn method(self) -> u32 {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).method as u32 }
    }

    /// The query of the current URI.
    pub fn args(self) -> &'r [u8] {
        // SAFETY: the text is in memory of the request. nginx may set another text; it changes none in place.
        unsafe { bytes(&(*self.raw()).args) }
    }

    /// The decoded path of the current URI.
    pub fn uri(self) -> &'r [u8] {
        // SAFETY: the text is in memory of the request. nginx may set another text; it changes none in place.
        unsafe { bytes(&(*self.raw()).uri) }
    }

    /// Path and query of the request line.
    pub fn unparsed_uri(self) -> &'r [u8] {
        // SAFETY: the text is in memory of the request. nginx may set another text; it changes none in place.
        unsafe { bytes(&(*self.raw()).unparsed_uri) }
    }

    /// The headers of the request.
    #[inline(always)]
    pub fn headers_in(self) -> Headers<'r> {
        // SAFETY: list and strings are in memory of the request.
        unsafe { Headers::new(&raw const (*self.raw()).headers_in.headers.part) }
    }

    /// The headers of the response.
    #[inline(always)]
    pub fn headers_out(self) -> Headers<'r> {
        // SAFETY: list and strings are in memory of the request.
        unsafe { Headers::new(&raw const (*self.raw()).headers_out.headers.part) }
    }

    /// The last header of a name.
    pub fn last_header(self, name: &[u8]) -> Option<&'r [u8]> {
        let named = self.headers_in().filter(|header| header.name().eq_ignore_ascii_case(name));
        named.last().map(|header| header.value())
    }

    /// The length of the request's body in bytes, zero without a body; `None` for a chunked body.
    pub fn body_length(self) -> Option<u64> {
        // SAFETY: plain words and a bit of a live request; these bits begin with a word.
        unsafe {
            let headers = &(*self.raw()).headers_in;
            (headers.chunked() == 0).then(|| u64::try_from(headers.content_length_n).unwrap_or(0))
        }
    }

    /// The first buffer of the request's body once nginx has read it; empty without a body.
    pub fn body_in_memory(self) -> &'r [u8] {
        // SAFETY: the buffers live as long as the request; the bytes of one are from `pos` to `last`.
        unsafe {
            let bufs = (*self.raw()).request_body.as_ref().and_then(|body| body.bufs.as_ref());
            bufs.and_then(|chain| chain.buf.as_ref()).map_or(&[][..], |buf| {
                core::slice::from_raw_parts(buf.pos, buf.last.offset_from(buf.pos) as usize)
            })
        }
    }

    /// Adds a reference to the main request (`count`); `ngx_http_finalize_request` takes it back.
    pub fn hold(self) {
        // SAFETY: a live request; `count` is where bindgen places it.
        unsafe {
            let main = &mut *self.main().raw();
            main.set_count(main.count() + 1);
        }
    }

    /// The status of the response.
    pub fn response_status(self) -> u16 {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).headers_out.status as u16 }
    }

    /// The content type of the response.
    pub fn response_content_type(self) -> &'r [u8] {
        // SAFETY: the text is in memory of the request. nginx may set another text; it changes none in place.
        unsafe { bytes(&(*self.raw()).headers_out.content_type) }
    }

    /// The `Content-Encoding` of the response; empty without one.
    pub fn response_encoding(self) -> &'r [u8] {
        // SAFETY: the header is in the list of the response's headers, which lives as long as the request.
        unsafe {
            let encoding = (*self.raw()).headers_out.content_encoding.as_ref();
            encoding.map_or(&[], |header| bytes(&header.value))
        }
    }

    /// The index of the running handler in nginx's phase engine.
    #[inline(always)]
    pub fn phase_handler(self) -> ngx_int_t {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).phase_handler }
    }

    /// The request's context of one of our modules.
    #[inline(always)]
    pub fn context(self, module: &ModuleIndex) -> *mut c_void {
        // SAFETY: `ctx` has an element for each http module.
        unsafe { *(*self.raw()).ctx.add(module.get()) }
    }

    #[inline(always)]
    pub fn set_context(self, module: &ModuleIndex, context: *mut c_void) {
        // SAFETY: `ctx` has an element for each http module.
        unsafe { *(*self.raw()).ctx.add(module.get()) = context };
    }

    /// Another module's configuration of the location.
    ///
    /// # Safety
    /// `T` is what `module`, an http module, makes for a location.
    pub unsafe fn loc_conf<T>(self, module: *const ngx_module_t) -> Option<&'r T> {
        // SAFETY: `loc_conf` has an element for each http module, and this one is a `T`.
        unsafe { (*(*self.raw()).loc_conf.add((*module).ctx_index)).cast::<T>().as_ref() }
    }

    /// Another module's configuration of the `server {}`.
    ///
    /// # Safety
    /// `T` is what `module`, an http module, makes for a server.
    pub unsafe fn srv_conf<T>(self, module: *const ngx_module_t) -> Option<&'r T> {
        // SAFETY: `srv_conf` has an element for each http module, and this one is a `T`.
        unsafe { (*(*self.raw()).srv_conf.add((*module).ctx_index)).cast::<T>().as_ref() }
    }

    /// Our configuration of the location.
    ///
    /// # Safety
    /// `T` is what our module makes for a location.
    #[inline(always)]
    pub unsafe fn own_loc_conf<T>(self) -> Option<&'r T> {
        // SAFETY: `loc_conf` has an element for each http module, and ours is a `T`.
        unsafe { (*(*self.raw()).loc_conf.add(super::MODULE.get())).cast::<T>().as_ref() }
    }

    /// Another module's main configuration.
    ///
    /// # Safety
    /// `T` is what `module`, an http module, makes for `http {}`.
    pub unsafe fn main_conf<T>(self, module: *const ngx_module_t) -> Option<&'r T> {
        // SAFETY: `main_conf` has an element for each http module, and this one is a `T`.
        unsafe { (*(*self.raw()).main_conf.add((*module).ctx_index)).cast::<T>().as_ref() }
    }

    /// Our main configuration.
    ///
    /// # Safety
    /// `T` is what our module makes for `http {}`.
    pub unsafe fn own_main_conf<T>(self) -> Option<&'r T> {
        // SAFETY: `main_conf` has an element for each http module, and ours is a `T`.
        unsafe { (*(*self.raw()).main_conf.add(super::MODULE.get())).cast::<T>().as_ref() }
    }

    /// All upstreams of the request's configuration, including those that nginx makes for a `proxy_pass`.
    pub fn upstreams(self) -> impl Iterator<Item = Block<'r>> {
        // SAFETY: `ngx_http_upstream_module` makes this type; the configuration outlives its requests.
        unsafe { blocks(self.main_conf(&raw const nginx_sys::ngx_http_upstream_module)) }
    }

    /// Whether the request has an entry of nginx's cache.
    #[cfg(ngx_feature = "http_cache")]
    pub fn has_cache(self) -> bool {
        // SAFETY: a plain word.
        unsafe { !(*self.raw()).cache.is_null() }
    }

    /// Whether the response comes from nginx's cache.
    #[cfg(ngx_feature = "http_cache")]
    pub fn is_cached(self) -> bool {
        // SAFETY: C reads a bit of the request.
        unsafe { sticky_learn_is_cached(self.raw()) != 0 }
    }

    /// Whether the request is internal: nginx has redirected it or made it.
    #[cfg(not(nginx_own_sticky))]
    pub fn is_internal(self) -> bool {
        // SAFETY: C reads a bit of the request.
        unsafe { sticky_learn_is_internal(self.raw()) != 0 }
    }

    /// Whether the response is sent without a body.
    pub fn is_header_only(self) -> bool {
        // SAFETY: C reads a bit of the request.
        unsafe { sticky_learn_is_header_only(self.raw()) != 0 }
    }

    /// Whether nginx may still use an `error_page` for this request; it does so once.
    pub fn may_have_error_page(self) -> bool {
        // SAFETY: C reads bits of the request.
        unsafe { sticky_learn_may_have_error_page(self.raw()) != 0 }
    }

    /// The reference count of the main request (`count`): itself, its subrequests, readers of its body.
    #[inline(always)]
    pub fn references(self) -> u16 {
        // SAFETY: `count` has 16 bits and is the first bit field, aligned as a `u16` (asserted above).
        // bindgen's accessor would read it byte by byte.
        unsafe {
            let main = self.main().raw();
            let count = (&raw const (*main)._bitfield_1).cast::<u16>().read();
            debug_assert_eq!(u32::from(count), (*main).count());
            count
        }
    }

    /// Requests the response's body in memory: nginx's copy filter then reads files into buffers. False if
    /// another filter has requested it already. To be called after the other header filters and before the
    /// first body filter.
    pub fn need_body_in_memory(self) -> bool {
        // SAFETY: C writes a bit of the request.
        unsafe { sticky_learn_need_body_in_memory(self.raw()) != 0 }
    }

    /// Takes back [`Request::need_body_in_memory`] if that was true: the copy filter passes files on
    /// unread. False while a file is being read. To be called by a body filter.
    pub fn release_body(self) -> bool {
        // SAFETY: C writes a bit of the live request, and one of the copy filter's context if there is one.
        unsafe { sticky_learn_release_body(self.raw()) != 0 }
    }

    /// Requests the request's body in one buffer.
    pub fn need_body_in_single_buf(self) {
        // SAFETY: C writes a bit of the request.
        unsafe { sticky_learn_need_request_body_in_single_buf(self.raw()) }
    }

    /// Allows nginx to send a stale response from its cache instead of a 503. False if the cache has none
    /// or the configuration forbids it.
    pub fn allow_stale(self) -> bool {
        // SAFETY: C reads the request's upstream, which is not null here.
        self.upstream().is_some() && unsafe { sticky_learn_allow_stale(self.raw()) != 0 }
    }
}
