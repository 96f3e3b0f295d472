//! `keepalive`, which must stay outermost of all that wraps a balancer.
//!
//! nginx's module captures the balancer when its directive is read, and its request data hide what
//! lies beneath. So we read the directive first, put our hook over the balancer, and let nginx's
//! module capture that: it is in the right place then, wherever our directive stands. In an
//! upstream that has none the hook does nothing but to initialise the balancer.

use core::ffi::{c_char, c_void};

use nginx_sys::{ngx_command_t, ngx_conf_t};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};

use crate::conf::UpstreamConf;
use crate::nginx::native::{self, Native};
use crate::request::init_upstream;

/// nginx's own `keepalive`, with our hook beneath it.
pub unsafe extern "C" fn keepalive(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx is reading an `upstream {}`, whose context holds a configuration of each
    // module; `conf` is ours.
    unsafe {
        let cf = &mut *cf;
        let conf = &mut *conf.cast::<UpstreamConf>();
        let Ok(native) = Native::find(cf, c"ngx_http_upstream_keepalive_module") else {
            return NGX_CONF_ERROR;
        };
        let us = native::upstream(cf);
        if conf.wrapped.is_none() {
            conf.balancer.init_upstream = us.peer.init_upstream;
            us.peer.init_upstream = Some(init_upstream);
        }
        let result = native.read(cf);
        if result == NGX_CONF_OK {
            conf.wrapped = us.peer.init_upstream;
        }
        result
    }
}
