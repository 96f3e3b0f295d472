//! A response of our own instead of the upstream's.
//!
//! `peer.init` and `peer.get` can only fail, and nginx then answers 500 or 502. But nginx ignores the failure
//! if the request's upstream is finalised (it tests `u->cleanup` first). So this file finalises the upstream,
//! then the request with the right status, and the hook fails. `error_page`, `add_header … always` and the
//! access log work as for every response.

use core::mem;

use affinity::mcp::rejection;
use affinity::policy::Rejection;
use nginx_sys::{
    ngx_del_timer, ngx_http_complex_value_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_err_page_t, ngx_http_finalize_request, ngx_http_send_response, ngx_int_t,
    NGX_HTTP_BAD_REQUEST, NGX_HTTP_NOT_FOUND, NGX_HTTP_SERVICE_UNAVAILABLE,
};

use crate::hold;
use crate::nginx::pool::string;
use crate::nginx::request::Request;
use crate::nginx::upstream::Upstream;
use crate::nginx::{send, ERROR};

/// Seconds. The module tries an unreachable server at least once a second.
const RETRY_AFTER: u64 = 1;

/// Rejects the request. The calling hook must return the result at once, and must not use the request or the
/// upstream after the call. `body` is JSON; without one, or where `error_page` has a page, nginx makes the
/// body. To be called from `peer.init` or `peer.get` of the request's upstream, with no peer taken.
pub fn send(
    r: Request<'_>,
    u: Upstream<'_>,
    rejection: Rejection,
    body: Option<&'static str>,
) -> ngx_int_t {
    end(r, u, || answer(r, rejection, body))
}

/// Ends the upstream of a request, and the request by an answer.
fn end(r: Request<'_>, u: Upstream<'_>, answer: impl FnOnce() -> ngx_int_t) -> ngx_int_t {
    // SAFETY: the request is alive, and stays so until the hook's caller gives its reference back: each of
    // the two finalisations below gives back a reference that is added here.
    unsafe {
        let Some(end_upstream) = (*u.raw()).cleanup.as_ref().copied().flatten() else {
            return ERROR;
        };
        let main = &mut *r.main().raw();
        main.set_count(main.count() + 2);

        end_upstream(r.raw().cast());
        ngx_http_finalize_request(r.raw(), answer());
    }
    ERROR
}

/// Answers the request with a status and no body, as [`send`] rejects it.
pub fn send_status(r: Request<'_>, u: Upstream<'_>, status: u16) -> ngx_int_t {
    end(r, u, || hold::send_status(r, status))
}

/// Answers the request. Returns what finalises it.
pub fn answer(r: Request<'_>, rejection: Rejection, body: Option<&'static str>) -> ngx_int_t {
    let status = match rejection {
        Rejection::NotFound | Rejection::Gone => NGX_HTTP_NOT_FOUND,
        Rejection::Unavailable => NGX_HTTP_SERVICE_UNAVAILABLE,
        Rejection::Ambiguous => NGX_HTTP_BAD_REQUEST,
    } as ngx_int_t;
    if rejection == Rejection::Unavailable {
        // If memory is short, the response has no `Retry-After`.
        let _ = add_retry_after(r, RETRY_AFTER);
    }
    match body {
        Some(body) if !has_error_page(r, status) => send_json(r, status, body),
        _ => status,
    }
}

/// Whether the configuration has an `error_page` for this status, by the rules of
/// `ngx_http_special_response_handler`.
pub fn has_error_page(r: Request<'_>, status: ngx_int_t) -> bool {
    // SAFETY: `ngx_http_core_module` makes this type for a location, with an array of this type or null.
    let pages = unsafe {
        let core = r.loc_conf::<ngx_http_core_loc_conf_t>(&raw const ngx_http_core_module);
        let pages = core.and_then(|core| core.error_pages.as_ref());
        pages.map_or(&[][..], |pages| pages.as_slice::<ngx_http_err_page_t>())
    };
    pages.iter().any(|page| page.status == status) && r.may_have_error_page()
}

/// Whether the configuration has a `post_action`, which gets the request's body.
pub fn has_post_action(r: Request<'_>) -> bool {
    // SAFETY: `ngx_http_core_module` makes this type for a location.
    let core = unsafe { r.loc_conf::<ngx_http_core_loc_conf_t>(&raw const ngx_http_core_module) };
    core.is_some_and(|core| !core.post_action.data.is_null())
}

/// Sends a response in JSON; its header must not have been sent.
fn send_json(r: Request<'_>, status: ngx_int_t, body: &'static str) -> ngx_int_t {
    // SAFETY: the request is alive. A complex value without code is its text, and nginx only reads it.
    unsafe {
        // nginx does the same before each special response.
        if r.is_main() {
            let connection = &*r.connection();
            for event in [connection.read, connection.write] {
                if (*event).timer_set() != 0 {
                    ngx_del_timer(event);
                }
            }
        }
        // Otherwise the status of an `error_page` that has redirected the request here would be sent.
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
