//! A request.
//!
//! Its bits are read and written in C (`bits.c`): since nginx 1.30 they begin in the middle of a word, and
//! bindgen then takes those behind the first word for two places before where they are.

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
use super::{bytes, Place};

// `count`, the first of a request's bits, is where bindgen says.
const _: () = assert!(offset_of!(ngx_http_request_t, _bitfield_1) % align_of::<u16>() == 0);

extern "C" {
    #[cfg(ngx_feature = "http_cache")]
    fn sticky_learn_is_cached(r: *const ngx_http_request_t) -> c_uint;
    #[cfg(not(nginx_own_sticky))]
    fn sticky_learn_is_internal(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_is_header_only(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_may_have_error_page(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_allow_stale(r: *mut ngx_http_request_t) -> c_uint;
    fn sticky_learn_ask_for_body(r: *mut ngx_http_request_t) -> c_uint;
    fn sticky_learn_release_body(r: *mut ngx_http_request_t) -> c_uint;
    fn sticky_learn_need_request_body_in_single_buf(r: *mut ngx_http_request_t);
}

/// A live request. Copies are the same request.
///
/// A callback of nginx makes it of the pointer that it gets, and the methods are safe from then on:
/// nothing of a request is freed before the request is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Request<'r> {
    raw: NonNull<ngx_http_request_t>,
    live: PhantomData<&'r ngx_http_request_t>,
}

impl<'r> Request<'r> {
    /// # Safety
    /// 1. `raw` is a request that nginx has initialised.
    /// 2. nginx does not free it during `'r`. A value in the request's own pool may say `'static`: it goes
    ///    with the request.
    #[inline(always)]
    pub unsafe fn new(raw: *mut ngx_http_request_t) -> Request<'r> {
        debug_assert!(!raw.is_null());
        // SAFETY: a request is not at address zero (1).
        Request { raw: unsafe { NonNull::new_unchecked(raw) }, live: PhantomData }
    }

    /// For calls of nginx.
    #[inline(always)]
    pub fn raw(self) -> *mut ngx_http_request_t {
        self.raw.as_ptr()
    }

    pub fn pool(self) -> Pool<'r> {
        // SAFETY: the pool is destroyed with the request.
        unsafe { Pool::new((*self.raw()).pool) }
    }

    /// The request of the client that this one is a subrequest of, or this one.
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

    /// The log of the connection. It adds the request line to each message, which may hold an id.
    pub fn log(self) -> *mut ngx_log_t {
        // SAFETY: as in `connection`.
        unsafe { (*self.connection()).log }
    }

    /// The address of the client as nginx prints it.
    #[cfg(not(nginx_own_sticky))]
    pub fn client(self) -> &'r [u8] {
        // SAFETY: as in `connection`; the text lies in the connection's pool.
        unsafe { bytes(&(*self.connection()).addr_text) }
    }

    /// The upstream that the request is at.
    #[inline(always)]
    pub fn upstream(self) -> Option<Upstream<'r>> {
        // SAFETY: nginx makes an upstream in the request's pool.
        unsafe { Some(Upstream::new(NonNull::new((*self.raw()).upstream)?)) }
    }

    /// Whether the request has been at an upstream before this one, by a redirect within nginx.
    /// It is to be asked while the request is at an upstream.
    #[cold]
    pub fn comes_from_upstream(self) -> bool {
        // SAFETY: nginx's array holds such states; it puts one without a peer between two upstreams. The
        // last is that of the server which is held, or to be chosen.
        unsafe {
            let states = (*self.raw()).upstream_states.as_ref();
            let states =
                states.map_or(&[][..], |states| states.as_slice::<ngx_http_upstream_state_t>());
            states.split_last().is_some_and(|(_, before)| before.iter().any(|it| it.peer.is_null()))
        }
    }

    /// One of `NGX_HTTP_GET` and its like.
    pub fn method(self) -> u32 {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).method as u32 }
    }

    /// The query of the URI, as nginx has it now.
    pub fn args(self) -> &'r [u8] {
        // SAFETY: nginx changes which text this is, never a text.
        unsafe { bytes(&(*self.raw()).args) }
    }

    /// The path, decoded, as nginx has it now.
    pub fn uri(self) -> &'r [u8] {
        // SAFETY: as in `args`.
        unsafe { bytes(&(*self.raw()).uri) }
    }

    /// Path and query of the request line.
    pub fn unparsed_uri(self) -> &'r [u8] {
        // SAFETY: as in `args`.
        unsafe { bytes(&(*self.raw()).unparsed_uri) }
    }

    /// The headers of the request.
    #[inline(always)]
    pub fn headers_in(self) -> Headers<'r> {
        // SAFETY: the list lies in the request, its strings in the request's memory.
        unsafe { Headers::new(&raw const (*self.raw()).headers_in.headers.part) }
    }

    /// The headers of its response.
    #[inline(always)]
    pub fn headers_out(self) -> Headers<'r> {
        // SAFETY: as in `headers_in`.
        unsafe { Headers::new(&raw const (*self.raw()).headers_out.headers.part) }
    }

    /// The last header of a name.
    pub fn last_header(self, name: &[u8]) -> Option<&'r [u8]> {
        let named = self.headers_in().filter(|header| header.name().eq_ignore_ascii_case(name));
        named.last().map(|header| header.value())
    }

    /// The length of the request's body, in bytes, zero without one; `None` if it comes in chunks.
    pub fn body_length(self) -> Option<u64> {
        // SAFETY: plain words, and a bit that begins with a word.
        unsafe {
            let headers = &(*self.raw()).headers_in;
            (headers.chunked() == 0).then(|| u64::try_from(headers.content_length_n).unwrap_or(0))
        }
    }

    /// The first buffer of the request's body, which nginx has read; empty without.
    pub fn body_in_memory(self) -> &'r [u8] {
        // SAFETY: the buffers live as long as the request, and hold what stands between these two.
        unsafe {
            let bufs = (*self.raw()).request_body.as_ref().and_then(|body| body.bufs.as_ref());
            bufs.and_then(|chain| chain.buf.as_ref()).map_or(&[][..], |buf| {
                core::slice::from_raw_parts(buf.pos, buf.last.offset_from(buf.pos) as usize)
            })
        }
    }

    /// Keeps the request until it is finalised once more.
    pub fn hold(self) {
        // SAFETY: `count` is where bindgen says.
        unsafe {
            let main = &mut *self.main().raw();
            main.set_count(main.count() + 1);
        }
    }

    /// The status of its response.
    pub fn response_status(self) -> u16 {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).headers_out.status as u16 }
    }

    /// The content type of its response.
    pub fn response_content_type(self) -> &'r [u8] {
        // SAFETY: as in `args`.
        unsafe { bytes(&(*self.raw()).headers_out.content_type) }
    }

    /// The `Content-Encoding` of its response; empty without.
    pub fn response_encoding(self) -> &'r [u8] {
        // SAFETY: the header lies in the list of the response's headers.
        unsafe {
            let encoding = (*self.raw()).headers_out.content_encoding.as_ref();
            encoding.map_or(&[], |header| bytes(&header.value))
        }
    }

    /// The place of the handler that runs, in nginx's phase engine.
    #[inline(always)]
    pub fn phase_handler(self) -> ngx_int_t {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).phase_handler }
    }

    /// One of our modules' places among the request's contexts.
    #[inline(always)]
    pub fn context(self, module: &Place) -> *mut c_void {
        // SAFETY: nginx gives each request a place for each http module.
        unsafe { *(*self.raw()).ctx.add(module.get()) }
    }

    #[inline(always)]
    pub fn set_context(self, module: &Place, context: *mut c_void) {
        // SAFETY: as in `context`.
        unsafe { *(*self.raw()).ctx.add(module.get()) = context };
    }

    /// Another module's configuration of the location.
    ///
    /// # Safety
    /// `T` is what `module`, an http module of nginx's, makes for a location.
    pub unsafe fn loc_conf<T>(self, module: *const ngx_module_t) -> Option<&'r T> {
        // SAFETY: nginx gives each http module a place, and by this function's own condition.
        unsafe { (*(*self.raw()).loc_conf.add((*module).ctx_index)).cast::<T>().as_ref() }
    }

    /// Our configuration of the location.
    ///
    /// # Safety
    /// `T` is what our module makes for a location.
    #[inline(always)]
    pub unsafe fn own_loc_conf<T>(self) -> Option<&'r T> {
        // SAFETY: as in `loc_conf`.
        unsafe { (*(*self.raw()).loc_conf.add(super::MODULE.get())).cast::<T>().as_ref() }
    }

    /// Another module's main configuration.
    ///
    /// # Safety
    /// `T` is what `module`, an http module of nginx's, makes for `http {}`.
    pub unsafe fn main_conf<T>(self, module: *const ngx_module_t) -> Option<&'r T> {
        // SAFETY: as in `loc_conf`.
        unsafe { (*(*self.raw()).main_conf.add((*module).ctx_index)).cast::<T>().as_ref() }
    }

    /// Our main configuration.
    ///
    /// # Safety
    /// `T` is what our module makes for `http {}`.
    pub unsafe fn own_main_conf<T>(self) -> Option<&'r T> {
        // SAFETY: as in `loc_conf`.
        unsafe { (*(*self.raw()).main_conf.add(super::MODULE.get())).cast::<T>().as_ref() }
    }

    /// All upstreams of the request's configuration, also those that nginx makes of a `proxy_pass`.
    pub fn upstreams(self) -> impl Iterator<Item = Block<'r>> {
        // SAFETY: that is what the module makes, and its array holds pointers to live upstreams.
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

    /// Whether nginx has redirected the request, or made it.
    #[cfg(not(nginx_own_sticky))]
    pub fn is_internal(self) -> bool {
        // SAFETY: C reads a bit of the request.
        unsafe { sticky_learn_is_internal(self.raw()) != 0 }
    }

    /// Whether the response has no body.
    pub fn is_header_only(self) -> bool {
        // SAFETY: C reads a bit of the request.
        unsafe { sticky_learn_is_header_only(self.raw()) != 0 }
    }

    /// Whether nginx would look for an `error_page`, as it does once for a request.
    pub fn may_have_error_page(self) -> bool {
        // SAFETY: C reads bits of the request.
        unsafe { sticky_learn_may_have_error_page(self.raw()) != 0 }
    }

    /// How many hold the main request: itself, its subrequests, those that read its body.
    #[inline(always)]
    pub fn holders(self) -> u16 {
        // SAFETY: `count`, of 16 bits, is the first of these bits, and they are aligned for it. bindgen's
        // accessor reads it byte by byte.
        unsafe {
            let main = self.main().raw();
            let holders = (&raw const (*main)._bitfield_1).cast::<u16>().read();
            debug_assert_eq!(u32::from(holders), (*main).count());
            holders
        }
    }

    /// Has nginx's copy filter read into memory what lies in files. False if another filter has asked for
    /// that already. It is to be called when the other filters have seen the response's headers, and
    /// nothing of its body.
    pub fn ask_for_body(self) -> bool {
        // SAFETY: C writes a bit of the request.
        unsafe { sticky_learn_ask_for_body(self.raw()) != 0 }
    }

    /// Lets the copy filter pass files on as they are from now on, after [`Request::ask_for_body`] was
    /// true. False while a file is being read. It is to be called by a body filter.
    pub fn release_body(self) -> bool {
        // SAFETY: C writes a bit of the request, and one of the copy filter's context if there is one.
        unsafe { sticky_learn_release_body(self.raw()) != 0 }
    }

    /// Has nginx read the request's body into one buffer.
    pub fn need_body_in_single_buf(self) {
        // SAFETY: C writes a bit of the request.
        unsafe { sticky_learn_need_request_body_in_single_buf(self.raw()) }
    }

    /// Lets nginx send a stale response from its cache instead of a 503, if there is one and the
    /// configuration allows that.
    pub fn allow_stale(self) -> bool {
        // SAFETY: C asks the request's upstream, if there is one.
        self.upstream().is_some() && unsafe { sticky_learn_allow_stale(self.raw()) != 0 }
    }
}
