//! Balancers that choose the servers themselves and cannot be told which: sessions have no effect in
//! their upstreams.
//!
//! `balancer_by_lua` is known by its directives, others by the data that they keep for a request.

use core::ffi::{c_char, c_void};

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_upstream_srv_conf_t, ngx_log_t, ngx_str_t, NGX_LOG_WARN,
};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};

use crate::conf::UpstreamConf;
use crate::nginx;
use crate::nginx::native::Native;

/// The directive of an upstream that gives it such a balancer, and where it stands.
pub struct Directive {
    name: ngx_str_t,
    file: ngx_str_t,
    line: usize,
}

/// `balancer_by_lua_block` and `balancer_by_lua_file`, as ngx_lua reads them.
pub unsafe extern "C" fn balancer_by_lua(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx is reading an `upstream {}`, whose context holds a configuration of each
    // module; `conf` is ours. The words of a directive live as long as the configuration.
    unsafe {
        let cf = &mut *cf;
        let conf = &mut *conf.cast::<UpstreamConf>();
        let Ok(native) = Native::find(cf, c"ngx_http_lua_module") else {
            return NGX_CONF_ERROR;
        };
        let file = &*cf.conf_file;
        let directive =
            Directive { name: nginx::conf::args(cf)[0], file: file.file.name, line: file.line };
        let result = native.read(cf);
        if result == NGX_CONF_OK {
            conf.foreign = true;
            conf.foreign_directive = Some(directive);
        }
        result
    }
}

/// Warns of an upstream that asks for sessions and has such a directive.
///
/// # Safety
/// `cf` is being read; `us` is one of its upstreams, `conf` our configuration of it.
pub unsafe fn warn_at_start(
    cf: &ngx_conf_t,
    us: *const ngx_http_upstream_srv_conf_t,
    conf: &UpstreamConf,
) {
    let (Some(sticky), Some(foreign)) = (conf.directive, &conf.foreign_directive) else {
        return;
    };
    let Directive { name, file, line } = foreign;
    ngx::ngx_log_error!(
        NGX_LOG_WARN,
        cf.log,
        "\"{sticky}\" has no effect in upstream \"{}\": \"{name}\" chooses its servers, remove one \
         of the two in {file}:{line}",
        // SAFETY: by this function's contract.
        unsafe { (*us).host }
    );
}

/// Notes that an upstream turns out to have such a balancer; the log has it once for
/// each worker, or at the start if that shows it.
///
/// # Safety
/// `us` is an upstream, `conf` our configuration of it. The log is not a connection's: that adds the
/// request line, which may hold an id.
#[cold]
pub unsafe fn note(
    log: *mut ngx_log_t,
    us: *const ngx_http_upstream_srv_conf_t,
    conf: &mut UpstreamConf,
) {
    if core::mem::replace(&mut conf.foreign, true) {
        return;
    }
    let sticky = conf.directive.unwrap_or_default();
    // SAFETY: by this function's contract.
    unsafe {
        ngx::ngx_log_error!(
            NGX_LOG_WARN,
            log,
            "\"{sticky}\" has no effect in upstream \"{}\": its balancer is not one of nginx's own, \
             remove one of the two",
            (*us).host
        );
    }
}
