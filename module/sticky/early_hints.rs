//! `sticky cookie` behind a 103, for nginx 1.29.0 to 1.29.5.
//!
//! `ngx_http_upstream_process_early_hints` empties the list of the response's headers, and with it
//! the cookie that `peer.get` has put there.

use nginx_sys::{
    ngx_conf_t, ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_header_filter,
    ngx_http_upstream_srv_conf_t, ngx_int_t,
};

use super::choice::Choice;
use crate::conf::UpstreamConf;
use crate::nginx::{self, ERROR, OK};

static mut NEXT: ngx_http_output_header_filter_pt = None;
/// What any configuration of this process has needed, as in `filters`.
static mut NEEDED: bool = false;

/// Puts a header filter into nginx's chain if any upstream sets a cookie.
///
/// # Safety
/// `cf` has read all of `http {}`.
pub unsafe fn install(cf: &ngx_conf_t) {
    // SAFETY: nginx reads its configuration in one thread, and chains filters anew each time.
    unsafe {
        let upstreams =
            nginx::conf::upstreams(nginx::conf::main_conf(cf, nginx::conf::upstream_module()));
        let sets_cookie = |&us: &*mut ngx_http_upstream_srv_conf_t| {
            UpstreamConf::of(us).is_some_and(|conf| conf.sticky.sets_cookie())
        };
        NEEDED |= upstreams.iter().any(sets_cookie);
        if NEEDED {
            NEXT = ngx_http_top_header_filter;
            ngx_http_top_header_filter = Some(filter);
        }
    }
}

unsafe extern "C" fn filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request; the next filter was noted by `install`.
    unsafe {
        if Choice::last(r).is_some_and(|choice| choice.told().restore(r).is_err()) {
            return ERROR;
        }
        match NEXT {
            Some(next) => next(r),
            None => OK,
        }
    }
}
