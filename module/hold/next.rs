//! The filters behind ours, and the way of a held answer through them.

use nginx_sys::{
    ngx_chain_t, ngx_http_block_reading, ngx_http_finalize_request, ngx_http_log_ctx_t,
    ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt, ngx_http_run_posted_requests,
    ngx_http_send_header, ngx_http_send_special, ngx_int_t, ngx_uint_t, NGX_HTTP_LAST,
    NGX_HTTP_SERVICE_UNAVAILABLE,
};

use crate::nginx::pool::string;
use crate::nginx::request::Request;
use crate::nginx::{send, ERROR, OK};

static mut NEXT_HEADER: ngx_http_output_header_filter_pt = None;
static mut NEXT_BODY: ngx_http_output_body_filter_pt = None;

/// Sets the filters behind ours. Those of `filters.rs` are called only after that, and `pass_header` and `pass_body` by
/// nobody else.
///
/// # Safety
/// 1. nginx reads its configuration: no request runs.
/// 2. Neither is null: nginx has filters of its own.
pub unsafe fn set_next(
    header: ngx_http_output_header_filter_pt,
    body: ngx_http_output_body_filter_pt,
) {
    // SAFETY: nginx reads its configuration in one thread, and builds the chains again for each configuration.
    unsafe {
        NEXT_HEADER = header;
        NEXT_BODY = body;
    }
}

pub(super) fn pass_header(r: Request<'_>) -> ngx_int_t {
    // SAFETY: `set_next` has set the next filter, which is never null; the static changes only while a configuration is
    // read.
    unsafe { NEXT_HEADER.unwrap_unchecked()(r.raw()) }
}

pub(super) fn pass_body(r: Request<'_>, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: `set_next` has set the next filter, which is never null, and gets a chain of nginx's or of `Kept`; the
    // static changes only while a configuration is read.
    unsafe { NEXT_BODY.unwrap_unchecked()(r.raw(), chain) }
}

/// Passes on a held answer. Returns what finalises the request.
pub(super) fn pass_on(r: Request<'_>, chain: Option<ngx_chain_t>) -> ngx_int_t {
    match (pass_header(r), chain) {
        (rc, _) if rc == ERROR || rc > OK || r.is_header_only() => rc,
        (_, Some(mut link)) => pass_body(r, &mut link),
        (_, None) => ERROR,
    }
}

/// Answers by a status without a body. Returns what finalises the request.
pub fn send_status(r: Request<'_>, status: u16) -> ngx_int_t {
    if u32::from(status) == NGX_HTTP_SERVICE_UNAVAILABLE {
        // If memory is short, the response has no `Retry-After`.
        let _ = send::add_header(r, "Retry-After", string(b"1"));
    }
    // SAFETY: a live request, of whose answer nothing has been sent.
    unsafe {
        (*r.raw()).headers_out.status = status.into();
        (*r.raw()).headers_out.content_length_n = 0;
        let rc = ngx_http_send_header(r.raw());
        if rc == ERROR || rc > OK || r.is_header_only() {
            return rc;
        }
        ngx_http_send_special(r.raw(), NGX_HTTP_LAST as ngx_uint_t)
    }
}

/// Answers a request in an event of ours, and ends it as nginx does when an upstream has ended. The request may be
/// freed when this returns.
pub(super) fn end(r: Request<'static>, answer: impl FnOnce() -> ngx_int_t) {
    let c = r.connection();
    // SAFETY: the request is alive until it is finalised. The data of an http connection's log are of this type.
    // The connection is valid in an event of ours, closed or not: nginx's handlers make the same calls.
    unsafe {
        if let Some(context) = (*(*c).log).data.cast::<ngx_http_log_ctx_t>().as_mut() {
            context.current_request = r.raw();
        }
        (*r.raw()).read_event_handler = Some(ngx_http_block_reading);
        ngx_http_finalize_request(r.raw(), answer());
        ngx_http_run_posted_requests(c);
    }
}
