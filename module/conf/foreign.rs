//! Foreign balancers: they choose the servers themselves, so sessions have no effect in their upstreams. Only
//! `balancer_by_lua` can ask for the session's server.
//!
//! `balancer_by_lua` is recognised by its directives, others by the data that they keep for an upstream or a
//! request.

use core::ffi::{c_char, c_void};

use nginx_sys::{ngx_command_t, ngx_conf_t, ngx_log_t, NGX_LOG_WARN};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};

use crate::conf::{ForeignDirective, UpstreamConf};
use crate::nginx::conf::Conf;
use crate::nginx::native::Native;
use crate::nginx::pool::string;
use crate::nginx::upstream::Block;

/// `balancer_by_lua_block` and `balancer_by_lua_file`, as ngx_lua reads them.
pub unsafe extern "C" fn balancer_by_lua(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads and what `create_upstream` made; no other
    // reference to either lives during this call.
    let (mut cf, conf) = unsafe { (Conf::new(cf), &mut *conf.cast::<UpstreamConf>()) };
    let Ok(native) = Native::find(&mut cf, c"ngx_http_lua_module") else {
        return NGX_CONF_ERROR;
    };
    let name = cf.args().first().copied().unwrap_or_default();
    let (file, line) = cf.place();
    let result = native.read(&mut cf);
    if result == NGX_CONF_OK {
        conf.foreign.set(true);
        conf.foreign_directive = Some(ForeignDirective { name, file, line });
    }
    result
}

/// Warns of an upstream that has both `balancer_by_lua` and a directive of ours that Lua cannot ask; `conf` is
/// our configuration of it.
pub fn warn_at_start(cf: &Conf<'_>, block: Block<'_>, conf: &UpstreamConf) {
    let (Some(sticky), Some(foreign)) = (conf.directive(), &conf.foreign_directive) else {
        return;
    };
    if conf.is_by_lua() {
        return;
    }
    let ForeignDirective { name, file, line } = foreign;
    ngx::ngx_log_error!(
        NGX_LOG_WARN,
        cf.log(),
        "\"{sticky}\" has no effect in upstream \"{}\": \"{name}\" chooses its servers, remove one \
         of the two in {file}:{line}",
        string(block.name())
    );
}

/// Marks an upstream's balancer as foreign, and warns at the first call: once at the start, or once in each
/// worker. `conf` is our configuration of the upstream. `log` is not a connection's log: that adds the
/// request line, which may contain an id.
#[cold]
pub fn note(log: *mut ngx_log_t, block: Block<'_>, conf: &UpstreamConf) {
    if conf.foreign.replace(true) {
        return;
    }
    let sticky = conf.directive().unwrap_or_default();
    ngx::ngx_log_error!(
        NGX_LOG_WARN,
        log,
        "\"{sticky}\" has no effect in upstream \"{}\": its balancer is not one of nginx's own, \
         remove one of the two",
        string(block.name())
    );
}
