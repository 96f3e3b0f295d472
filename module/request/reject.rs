//! An answer of our own instead of the upstream's.
//!
//! `peer.init` and `peer.get` can only fail, and nginx would then answer 500 or 502. But a request
//! whose upstream part was finalised already is left alone by that failure (nginx checks
//! `u->cleanup` first), so we end that part ourselves, finalise the request with the status
//! wanted, by nginx's own means (`error_page`, `add_header … always`, the access log), and fail.

use core::mem;

use affinity::mcp::rejection;
use affinity::policy::Rejection;
use nginx_sys::{
    ngx_del_timer, ngx_http_complex_value_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_err_page_t, ngx_http_finalize_request, ngx_http_request_t, ngx_http_send_response,
    ngx_http_upstream_t, ngx_int_t, ngx_pnalloc, ngx_str_t, NGX_HTTP_BAD_REQUEST,
    NGX_HTTP_NOT_FOUND, NGX_HTTP_SERVICE_UNAVAILABLE,
};

use crate::nginx::bits;
use crate::nginx::send;
use crate::nginx::{self, ERROR};

/// Answers the request; the hook that called must return the result at once, and touch neither
/// request nor upstream after. `body` is JSON; without one, or where `error_page` has another, nginx
/// finds the answer's body.
///
/// # Safety
/// Called from `peer.init` or `peer.get` of the request's upstream, with no peer taken.
pub unsafe fn send(
    r: *mut ngx_http_request_t,
    u: *mut ngx_http_upstream_t,
    rejection: Rejection,
    retry_after: u64,
    body: Option<&'static str>,
) -> ngx_int_t {
    let status = match rejection {
        Rejection::NotFound | Rejection::Gone => NGX_HTTP_NOT_FOUND,
        Rejection::Unavailable => NGX_HTTP_SERVICE_UNAVAILABLE,
        Rejection::Ambiguous => NGX_HTTP_BAD_REQUEST,
    } as ngx_int_t;
    // SAFETY: the request is live, and stays so until the hook's caller gives up its reference:
    // both finalisations below consume one that is taken for them here.
    unsafe {
        let cleanup = (*u).cleanup;
        let Some(end_upstream) = cleanup.as_ref().copied().flatten() else {
            return ERROR;
        };
        let main = &mut *(*r).main;
        main.set_count(main.count() + 2);

        end_upstream(r.cast());
        if rejection == Rejection::Unavailable {
            // Without memory for it, the answer goes without the header.
            let _ = add_retry_after(r, retry_after);
        }
        let result = match body {
            Some(body) if !has_error_page(r, status) => send_json(r, status, body),
            _ => status,
        };
        ngx_http_finalize_request(r, result);
    }
    ERROR
}

/// Whether the configuration has a page of its own for this status, as
/// `ngx_http_special_response_handler` looks for one.
///
/// # Safety
/// `r` is a live request.
unsafe fn has_error_page(r: *mut ngx_http_request_t, status: ngx_int_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe {
        let core = nginx::conf::request_loc_conf::<ngx_http_core_loc_conf_t>(
            r,
            &raw const ngx_http_core_module,
        );
        let Some(pages) = core.and_then(|core| core.error_pages.as_ref()) else {
            return false;
        };
        bits::may_have_error_page(r)
            && pages.as_slice::<ngx_http_err_page_t>().iter().any(|page| page.status == status)
    }
}

/// # Safety
/// `r` is a live request whose header was not sent.
unsafe fn send_json(
    r: *mut ngx_http_request_t,
    status: ngx_int_t,
    body: &'static str,
) -> ngx_int_t {
    let text = |text: &'static str| ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() };
    // SAFETY: by this function's contract; a value without code is its text, and nginx only reads it.
    unsafe {
        // As nginx does before any answer of its own.
        if r == (*r).main {
            let connection = &*(*r).connection;
            for event in [connection.read, connection.write] {
                if (*event).timer_set() != 0 {
                    ngx_del_timer(event);
                }
            }
        }
        // Else the status of an `error_page` that has led here would stand in its place.
        (*r).err_status = status as _;
        let mut value: ngx_http_complex_value_t = mem::zeroed();
        value.value = text(body);
        ngx_http_send_response(r, status as _, &mut text(rejection::CONTENT_TYPE), &mut value)
    }
}

/// # Safety
/// `r` is a live request.
unsafe fn add_retry_after(r: *mut ngx_http_request_t, seconds: u64) -> Option<()> {
    const NAME: &str = "Retry-After";
    // Digits of a 64-bit number.
    const MAX_DIGITS: usize = 20;

    // SAFETY: the digits fit in what the pool has given.
    unsafe {
        let text = ngx_pnalloc((*r).pool, MAX_DIGITS).cast::<u8>();
        if text.is_null() {
            return None;
        }
        let mut len = 0;
        let mut power = 10u64.pow(seconds.checked_ilog10().unwrap_or(0));
        while power > 0 {
            text.add(len).write(b'0' + (seconds / power % 10) as u8);
            len += 1;
            power /= 10;
        }
        send::add_header(r, NAME, ngx_str_t { len, data: text }).ok()
    }
}
