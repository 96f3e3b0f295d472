//! An answer of our own instead of the upstream's.
//!
//! `peer.init` and `peer.get` can only fail, and nginx would then answer 500 or 502. But a request
//! whose upstream part was finalised already is left alone by that failure (nginx checks
//! `u->cleanup` first), so we end that part ourselves, finalise the request with the status
//! wanted, by nginx's own means (`error_page`, `add_header … always`, the access log), and fail.

use affinity::policy::Rejection;
use nginx_sys::{
    ngx_http_finalize_request, ngx_http_request_t, ngx_http_upstream_t, ngx_int_t, ngx_pnalloc,
    ngx_str_t, NGX_HTTP_NOT_FOUND, NGX_HTTP_SERVICE_UNAVAILABLE,
};

use crate::nginx::ERROR;
use crate::response;

/// Answers the request; the hook that called must return the result at once, and touch neither
/// request nor upstream after.
///
/// # Safety
/// Called from `peer.init` or `peer.get` of the request's upstream, with no peer taken.
pub unsafe fn send(
    r: *mut ngx_http_request_t,
    u: *mut ngx_http_upstream_t,
    rejection: Rejection,
    retry_after: u64,
) -> ngx_int_t {
    let status = match rejection {
        Rejection::NotFound | Rejection::Gone => NGX_HTTP_NOT_FOUND,
        Rejection::Unavailable => NGX_HTTP_SERVICE_UNAVAILABLE,
    };
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
        ngx_http_finalize_request(r, status as ngx_int_t);
    }
    ERROR
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
        response::add_header(r, NAME, ngx_str_t { len, data: text }).ok()
    }
}
