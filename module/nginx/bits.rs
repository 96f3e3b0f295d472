//! The bits of a request.
//!
//! They are read and written in C. Since nginx 1.30 they begin in the middle of a word, and bindgen
//! then takes those behind the first word for two places before where they are.

use core::ffi::c_uint;
use core::mem::offset_of;

use nginx_sys::{ngx_buf_t, ngx_http_request_t, ngx_http_upstream_t, ngx_peer_connection_t};

// Those that begin with a word are where bindgen says, as is `count`, the first of a request.
const _: () = {
    assert!(offset_of!(ngx_buf_t, _bitfield_1) % align_of::<c_uint>() == 0);
    assert!(offset_of!(ngx_http_upstream_t, _bitfield_1) % align_of::<c_uint>() == 0);
    assert!(offset_of!(ngx_http_request_t, _bitfield_1) % align_of::<u16>() == 0);
    assert!(offset_of!(ngx_peer_connection_t, _bitfield_1) % align_of::<c_uint>() == 0);
};

extern "C" {
    #[cfg(ngx_feature = "http_cache")]
    fn sticky_learn_is_cached(r: *const ngx_http_request_t) -> c_uint;
    #[cfg(not(nginx_own_sticky))]
    fn sticky_learn_is_internal(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_is_header_only(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_may_have_error_page(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_was_connected(u: *const ngx_http_upstream_t) -> c_uint;
    fn sticky_learn_is_shaking_hands(u: *const ngx_http_upstream_t) -> c_uint;
    fn sticky_learn_allow_stale(r: *mut ngx_http_request_t) -> c_uint;
    fn sticky_learn_ask_for_body(r: *mut ngx_http_request_t) -> c_uint;
    fn sticky_learn_release_body(r: *mut ngx_http_request_t) -> c_uint;
    fn sticky_learn_need_request_body_in_single_buf(r: *mut ngx_http_request_t);
}

/// Whether the response comes from nginx's cache.
///
/// # Safety
/// `r` is a live request; so it is in all that follows.
#[cfg(ngx_feature = "http_cache")]
pub unsafe fn is_cached(r: *const ngx_http_request_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_is_cached(r) != 0 }
}

/// Whether nginx has redirected the request, or made it.
///
/// # Safety
/// As above.
#[cfg(not(nginx_own_sticky))]
pub unsafe fn is_internal(r: *const ngx_http_request_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_is_internal(r) != 0 }
}

/// Whether the response has no body.
///
/// # Safety
/// As above.
pub unsafe fn is_header_only(r: *const ngx_http_request_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_is_header_only(r) != 0 }
}

/// Whether nginx would look for an `error_page`, as it does once for a request.
///
/// # Safety
/// As above.
pub unsafe fn may_have_error_page(r: *const ngx_http_request_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_may_have_error_page(r) != 0 }
}

/// How many hold the main request: itself, its subrequests, those that read its body.
///
/// # Safety
/// As above.
#[inline(always)]
pub unsafe fn holders(r: *const ngx_http_request_t) -> u16 {
    // SAFETY: by this function's contract; `count`, of 16 bits, is the first of these bits, and they
    // are aligned for it. bindgen's accessor reads it byte by byte.
    unsafe {
        let main = (*r).main;
        let holders = (&raw const (*main)._bitfield_1).cast::<u16>().read();
        debug_assert_eq!(u32::from(holders), (*main).count());
        holders
    }
}

/// Has nginx's copy filter read into memory what lies in files. False if another filter has asked for
/// that already.
///
/// # Safety
/// As above; the other filters have seen the response's headers, and nothing of its body.
pub unsafe fn ask_for_body(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_ask_for_body(r) != 0 }
}

/// Lets the copy filter pass files on as they are from now on, after [`ask_for_body`] was true. False
/// while a file is being read.
///
/// # Safety
/// As above; called by the body filter.
pub unsafe fn release_body(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_release_body(r) != 0 }
}

/// Has nginx read the request's body into one buffer.
///
/// # Safety
/// As above.
pub unsafe fn need_request_body_in_single_buf(r: *mut ngx_http_request_t) {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_need_request_body_in_single_buf(r) }
}

/// Whether the TCP connection of an upstream has stood.
///
/// # Safety
/// `u` is live, and its peer has a connection.
pub unsafe fn was_connected(u: *const ngx_http_upstream_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_was_connected(u) != 0 }
}

/// Whether the TLS handshake of an upstream has begun, and has not come to its end.
///
/// # Safety
/// As above.
pub unsafe fn is_shaking_hands(u: *const ngx_http_upstream_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_is_shaking_hands(u) != 0 }
}

/// Lets nginx send a stale response from its cache instead of a 503, if there is one and the
/// configuration allows that.
///
/// # Safety
/// As above; the request has an upstream.
pub unsafe fn allow_stale(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe { sticky_learn_allow_stale(r) != 0 }
}

/// Whether a request comes from another upstream, by a redirect within nginx.
///
/// # Safety
/// The request is in an upstream: its last state is that of the server which is held, or to be chosen.
#[cold]
pub unsafe fn comes_from_upstream(r: *const ngx_http_request_t) -> bool {
    // SAFETY: the request is live; nginx puts a state without a peer between two upstreams.
    unsafe {
        let states = (*r).upstream_states.as_ref();
        let states = states
            .map_or(&[][..], |states| states.as_slice::<nginx_sys::ngx_http_upstream_state_t>());
        states.split_last().is_some_and(|(_, before)| before.iter().any(|it| it.peer.is_null()))
    }
}
