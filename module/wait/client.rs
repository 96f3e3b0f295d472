//! The client of a request that waits: whether it has left, and the request's way on.

use core::ffi::c_uint;
use core::mem::offset_of;

use nginx_sys::{
    ngx_connection_t, ngx_handle_read_event, ngx_http_block_reading, ngx_http_core_run_phases,
    ngx_http_finalize_request, ngx_http_log_ctx_t, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_http_test_reading, ngx_int_t, ngx_post_event,
    ngx_posted_events, NGX_HTTP_CLIENT_CLOSED_REQUEST,
};

use crate::nginx::request::Request;
use crate::nginx::OK;

/// nginx's event loop does not take the connection's events.
pub struct Unwatched;

// The bit fields of a connection begin with a word, so bindgen places them right.
const _: () = assert!(offset_of!(ngx_connection_t, _bitfield_1) % align_of::<c_uint>() == 0);

/// Watches the client of a request that is to wait: nginx ends the request when the client has left.
pub fn watch(r: Request<'static>) -> Result<(), Unwatched> {
    // SAFETY: a live request with its connection and events, which nginx's own waiting handlers (limit_req)
    // treat in the same way.
    unsafe {
        (*r.raw()).read_event_handler = Some(ngx_http_test_reading);
        (*r.raw()).write_event_handler = Some(on_write);
        let c = r.connection();
        // Events of the connection go to another request if this one is in the background (`mirror`).
        if (*c).data == r.raw().cast() {
            let read = (*c).read;
            if (*read).ready() != 0 {
                ngx_post_event(read, &raw mut ngx_posted_events);
            } else if ngx_handle_read_event(read, 0) != OK {
                return Err(Unwatched);
            }
        }
    }
    Ok(())
}

/// Whether the client has left, as far as nginx knows already. Over HTTP/3 no further event follows.
pub fn has_left(r: Request<'_>) -> bool {
    let c = r.connection();
    // SAFETY: bits of a live connection and its event.
    unsafe { (*c).error() != 0 || (*(*c).write).error() != 0 }
}

/// A write event of a request that waits: its stream of HTTP/2 or HTTP/3 may have been reset, which HTTP/3
/// reports to the writing side alone (STOP_SENDING). Any other write event has no effect.
unsafe extern "C" fn on_write(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes a live request.
    unsafe {
        if has_left(Request::new(r)) {
            ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST as ngx_int_t);
        }
    }
}

/// Runs the phases of a request that has waited, beginning with the handler that it has waited in. To be
/// called from an event of its own. The request may have ended when this returns.
pub fn run_on(r: Request<'static>) {
    let c = r.connection();
    // SAFETY: the request is alive. The data of an http connection's log are of this type. The connection is
    // valid in its own event, closed or not: nginx's handlers make the same calls.
    unsafe {
        if let Some(context) = (*(*c).log).data.cast::<ngx_http_log_ctx_t>().as_mut() {
            context.current_request = r.raw();
        }
        (*r.raw()).read_event_handler = Some(ngx_http_block_reading);
        (*r.raw()).write_event_handler = Some(ngx_http_core_run_phases);
        ngx_http_core_run_phases(r.raw());
        ngx_http_run_posted_requests(c);
    }
}
