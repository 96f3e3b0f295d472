//! `keepalive`, which must be the outermost of the hooks around a balancer.
//!
//! nginx's module captures the balancer when its directive is read, and its request data hide those of the
//! balancer. This handler runs before nginx's: it puts our hook over the balancer, and nginx's module
//! captures the hook. The order of `keepalive` and our directives then does not matter. In an upstream
//! without our directives the hook only initialises the balancer.

use core::ffi::{c_char, c_void};

use nginx_sys::{ngx_command_t, ngx_conf_t};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};

use super::wire::init_upstream;
use crate::conf::UpstreamConf;
use crate::nginx::conf::Conf;
use crate::nginx::native::Native;

/// nginx's own `keepalive`, with our hook beneath it.
pub unsafe extern "C" fn keepalive(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads and what `create_upstream` made; nothing changes
    // the latter but through cells during this call.
    let (mut cf, conf) = unsafe { (Conf::new(cf), &*conf.cast::<UpstreamConf>()) };
    let Ok(native) = Native::find(&mut cf, c"ngx_http_upstream_keepalive_module") else {
        return NGX_CONF_ERROR;
    };
    let Some(block) = cf.block() else { return NGX_CONF_ERROR };
    if conf.wrapped.get().is_none() {
        let init = block.replace_init_upstream(Some(init_upstream));
        conf.balancer.init_upstream.set(init);
    }
    let result = native.read(&mut cf);
    if result == NGX_CONF_OK {
        conf.wrapped.set(block.init_upstream());
    }
    result
}
