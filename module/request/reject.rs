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
    ngx_http_err_page_t, ngx_http_finalize_request, ngx_http_send_response, ngx_int_t,
    NGX_HTTP_BAD_REQUEST, NGX_HTTP_NOT_FOUND, NGX_HTTP_SERVICE_UNAVAILABLE,
};

use crate::nginx::pool::string;
use crate::nginx::request::Request;
use crate::nginx::upstream::Upstream;
use crate::nginx::{send, ERROR};

/// Answers the request; the hook that called must return the result at once, and touch neither
/// request nor upstream after. `body` is JSON; without one, or where `error_page` has another, nginx
/// finds the answer's body. It is to be called from `peer.init` or `peer.get` of the request's upstream, with no
/// peer taken.
pub fn send(
    r: Request<'_>,
    u: Upstream<'_>,
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
        let Some(end_upstream) = (*u.raw()).cleanup.as_ref().copied().flatten() else {
            return ERROR;
        };
        let main = &mut *r.main().raw();
        main.set_count(main.count() + 2);

        end_upstream(r.raw().cast());
        if rejection == Rejection::Unavailable {
            // Without memory for it, the answer goes without the header.
            let _ = add_retry_after(r, retry_after);
        }
        let result = match body {
            Some(body) if !has_error_page(r, status) => send_json(r, status, body),
            _ => status,
        };
        ngx_http_finalize_request(r.raw(), result);
    }
    ERROR
}

/// Whether the configuration has a page of its own for this status, as
/// `ngx_http_special_response_handler` looks for one.
fn has_error_page(r: Request<'_>, status: ngx_int_t) -> bool {
    // SAFETY: that is what the core module makes for a location, and its array holds such pages.
    let pages = unsafe {
        let core = r.loc_conf::<ngx_http_core_loc_conf_t>(&raw const ngx_http_core_module);
        let pages = core.and_then(|core| core.error_pages.as_ref());
        pages.map_or(&[][..], |pages| pages.as_slice::<ngx_http_err_page_t>())
    };
    pages.iter().any(|page| page.status == status) && r.may_have_error_page()
}

/// Sends the answer, whose header has not been sent.
fn send_json(r: Request<'_>, status: ngx_int_t, body: &'static str) -> ngx_int_t {
    // SAFETY: the request is live; a value without code is its text, and nginx only reads it.
    unsafe {
        // As nginx does before any answer of its own.
        if r.is_main() {
            let connection = &*r.connection();
            for event in [connection.read, connection.write] {
                if (*event).timer_set() != 0 {
                    ngx_del_timer(event);
                }
            }
        }
        // Else the status of an `error_page` that has led here would stand in its place.
        (*r.raw()).err_status = status as _;
        let mut value: ngx_http_complex_value_t = mem::zeroed();
        value.value = string(body.as_bytes());
        let mut content_type = string(rejection::CONTENT_TYPE.as_bytes());
        ngx_http_send_response(r.raw(), status as _, &mut content_type, &mut value)
    }
}

fn add_retry_after(r: Request<'_>, seconds: u64) -> Option<()> {
    let digits = r.pool().concat(&[itoa::Buffer::new().format(seconds).as_bytes()])?;
    send::add_header(r, "Retry-After", string(digits)).ok()
}
