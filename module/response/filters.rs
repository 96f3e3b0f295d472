//! The filters: a response teaches before its first byte leaves, or (NGINX Plus's `sticky learn`)
//! before its last.

use nginx_sys::{
    ngx_chain_t, ngx_conf_t, ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt,
    ngx_http_request_t, ngx_http_top_body_filter, ngx_http_top_header_filter, ngx_int_t,
};

use crate::conf::{Filters, MainConf};
use crate::nginx::OK;
use crate::request::PeerData;
use crate::response::body;

static mut NEXT_HEADER: ngx_http_output_header_filter_pt = None;
static mut NEXT_BODY: ngx_http_output_body_filter_pt = None;
/// What any configuration of this process has needed. A configuration that fails late leaves its
/// chains behind, and workers that start anew with the former one go through them.
static mut NEEDED: Filters = Filters { header: false, body: false };

/// Puts into nginx's chains the filters that any upstream needs.
pub unsafe extern "C" fn install(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx reads its configuration in one thread, and chains filters anew each time.
    unsafe {
        if let Some(main) = MainConf::of(&*cf) {
            NEEDED.header |= main.filters.header;
            NEEDED.body |= main.filters.body;
        }
        if NEEDED.header {
            NEXT_HEADER = ngx_http_top_header_filter;
            ngx_http_top_header_filter = Some(header_filter);
        }
        if NEEDED.body {
            NEXT_BODY = ngx_http_top_body_filter;
            ngx_http_top_body_filter = Some(body_filter);
        }
    }
    OK
}

unsafe extern "C" fn header_filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request; the next filter was noted by `install`.
    unsafe {
        if let Some(data) = PeerData::current(r) {
            if let Some(outlook) = data.answered() {
                if body::watch(r, outlook, data) {
                    return pass_watched(r);
                }
            }
        }
        pass_header(r)
    }
}

#[inline(always)]
unsafe fn pass_header(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: by the callers; the next filter was noted by `install`.
    unsafe {
        match NEXT_HEADER {
            Some(next) => next(r),
            None => OK,
        }
    }
}

/// What the other filters need of the body is known when they have seen the headers.
#[cold]
unsafe fn pass_watched(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: by the caller, in the header filter of a live request.
    unsafe {
        let rc = pass_header(r);
        body::need_body(r);
        rc
    }
}

unsafe extern "C" fn body_filter(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: as above; nginx passes a chain of live buffers, or none.
    unsafe {
        body::read(r, chain);
        if let Some(data) = PeerData::current(r) {
            data.leaves(chain);
        }
        match NEXT_BODY {
            Some(next) => next(r, chain),
            None => OK,
        }
    }
}
