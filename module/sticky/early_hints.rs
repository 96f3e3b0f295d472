//! `sticky cookie` behind a 103, for nginx 1.29.0 to 1.29.5.
//!
//! `ngx_http_upstream_process_early_hints` empties the list of the response's headers, and with it
//! the cookie that `peer.get` has put there.

use nginx_sys::{
    ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_header_filter, ngx_int_t,
};

use super::choice::Choice;
use crate::conf::UpstreamConf;
use crate::nginx::conf::Conf;
use crate::nginx::request::Request;
use crate::nginx::{ERROR, OK};

static mut NEXT: ngx_http_output_header_filter_pt = None;
/// What any configuration of this process has needed, as in `filters`.
static mut NEEDED: bool = false;

/// Puts a header filter into nginx's chain if any upstream sets a cookie.
pub fn install(cf: &mut Conf<'_>) {
    let sets_cookie = |block| UpstreamConf::of(block).is_some_and(|conf| conf.cookie().is_some());
    let is_needed = cf.upstreams().any(sets_cookie);
    // SAFETY: nginx reads its configuration in one thread, and chains filters again each time.
    unsafe {
        NEEDED |= is_needed;
        if NEEDED {
            NEXT = ngx_http_top_header_filter;
            ngx_http_top_header_filter = Some(filter);
        }
    }
}

unsafe extern "C" fn filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request.
    let request = unsafe { Request::new(r) };
    if Choice::last(request).is_some_and(|choice| choice.told().restore(request).is_err()) {
        return ERROR;
    }
    // SAFETY: the next filter was noted by `install`, and gets what ours has got.
    unsafe {
        match NEXT {
            Some(next) => next(r),
            None => OK,
        }
    }
}
