//! The header filter: a response teaches before its first byte leaves.

use nginx_sys::{
    ngx_conf_t, ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_header_filter,
    ngx_int_t,
};

use crate::conf::MainConf;
use crate::nginx::{self, OK};
use crate::upstream::PeerData;

static mut NEXT: ngx_http_output_header_filter_pt = None;

/// Puts the filter into nginx's chain, if any upstream has sessions.
pub unsafe extern "C" fn install(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx reads its configuration in one thread, and chains filters anew each time.
    unsafe {
        let main =
            nginx::main_conf::<MainConf>(&*cf, &raw const crate::ngx_http_sticky_learn_module);
        if main.is_some_and(|main| !main.zones.is_empty()) {
            NEXT = ngx_http_top_header_filter;
            ngx_http_top_header_filter = Some(header_filter);
        }
    }
    OK
}

unsafe extern "C" fn header_filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request; NEXT was set when the filter was put in the chain.
    unsafe {
        if let Some(data) = PeerData::current(r) {
            data.answered();
        }
        match NEXT {
            Some(next) => next(r),
            None => OK,
        }
    }
}
