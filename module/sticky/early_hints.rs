//! `sticky cookie` behind a 103, for nginx 1.29.0 to 1.29.5.
//!
//! `ngx_http_upstream_process_early_hints` empties the list of the response's headers, and with it the cookie
//! that `peer.get` has set. A header filter adds the cookie again.

use nginx_sys::{
    ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_header_filter, ngx_int_t,
};

use super::choice::Choice;
use crate::conf::UpstreamConf;
use crate::nginx::conf::Conf;
use crate::nginx::request::Request;
use crate::nginx::{ERROR, OK};

static mut NEXT: ngx_http_output_header_filter_pt = None;
/// Whether any configuration of this process has needed the filter. A configuration that fails late leaves
/// its filter chains in the process, and later workers of the former configuration run them.
static mut NEEDED: bool = false;

/// Puts a header filter into nginx's chain if any upstream sets a cookie.
pub fn install(cf: &mut Conf<'_>) {
    let sets_cookie = |block| UpstreamConf::of(block).is_some_and(|conf| conf.cookie().is_some());
    let is_needed = cf.upstreams().any(sets_cookie);
    // SAFETY: nginx reads its configuration in one thread, while no request runs, and builds the chains again
    // for each configuration.
    unsafe {
        NEEDED |= is_needed;
        if NEEDED {
            NEXT = ngx_http_top_header_filter;
            ngx_http_top_header_filter = Some(filter);
        }
    }
}

unsafe extern "C" fn filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request, which stays alive during this call.
    let request = unsafe { Request::new(r) };
    if Choice::last(request).is_some_and(|choice| choice.cookie().restore(request).is_err()) {
        return ERROR;
    }
    // SAFETY: `install` has set the next filter, which is called with the arguments of ours; the static
    // changes only while a configuration is read.
    unsafe {
        match NEXT {
            Some(next) => next(r),
            None => OK,
        }
    }
}
