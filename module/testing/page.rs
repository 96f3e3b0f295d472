//! Locations that answer with a text: counts, and what a test triggers.

use core::ffi::c_char;

use nginx_sys::{
    ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_request_t, ngx_int_t,
};

use crate::nginx::conf::{conf_result, Conf};
use crate::nginx::request::Request;
use crate::nginx::send::{self, Head};

type Handler = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

/// Reads a directive: `release` chooses the second handler of the location, anything else the first.
///
/// # Safety
/// `cf` is what nginx passes to the handler of a directive in a location.
pub(super) unsafe fn install(
    cf: *mut ngx_conf_t,
    counts: Handler,
    release: Handler,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    let mut cf = unsafe { Conf::new(cf) };
    let releases = cf.args().get(1).is_some_and(|word| word.as_bytes() == b"release");
    // SAFETY: `ngx_http_core_module` makes this type for a location, and no other reference to it is in use.
    let core = unsafe { cf.loc_conf::<ngx_http_core_loc_conf_t>(&raw const ngx_http_core_module) };
    if let Some(core) = core {
        core.handler = Some(if releases { release } else { counts });
    }
    conf_result(Ok(()))
}

/// # Safety
/// `r` is a live request.
pub(super) unsafe fn send_text(r: *mut ngx_http_request_t, text: String) -> ngx_int_t {
    let head = Head { status: 200, content_type: "text/plain", headers: &[] };
    // SAFETY: a live request, and the response keeps nothing of it that it outlives.
    send::response(unsafe { Request::<'static>::new(r) }, &head, text.into_bytes().into())
}
