//! `keepalive`, which must stay outermost of all that wraps a balancer.
//!
//! nginx's module captures the balancer when its directive is read, and its request data hide what
//! lies beneath. So we read the directive first, put our hook over the balancer, and let nginx's
//! module capture that: it is in the right place then, wherever `sticky_learn` stands. In an
//! upstream that has none the hook does nothing but to initialise the balancer.

use core::ffi::{c_char, c_void, CStr};

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_upstream_init_pt,
    ngx_http_upstream_module, ngx_http_upstream_srv_conf_t, ngx_module_t, ngx_uint_t,
};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};

use crate::conf::UpstreamConf;
use crate::nginx::{self, conf_error};
use crate::upstream::init_upstream;

/// What the directive has made of an upstream, once it was read.
pub type Wrapped = ngx_http_upstream_init_pt;

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
        let Some((module, own)) = find(cf) else {
            conf_error(cf, format_args!("unknown directive \"keepalive\""));
            return NGX_CONF_ERROR;
        };
        if !takes((*own).type_, nginx::args(cf).len()) {
            let message = format_args!("invalid number of arguments in \"keepalive\" directive");
            conf_error(cf, message);
            return NGX_CONF_ERROR;
        }
        let Some(set) = (*own).set else {
            return NGX_CONF_ERROR;
        };
        let ctx = cf.ctx.cast::<ngx_http_conf_ctx_t>();
        let us = srv_conf(ctx, &raw const ngx_http_upstream_module)
            .cast::<ngx_http_upstream_srv_conf_t>();

        let balancer = (*us).peer.init_upstream;
        if conf.wrapped.is_none() {
            conf.balancer.init_upstream = balancer;
            (*us).peer.init_upstream = Some(init_upstream);
        }
        let result = set(cf, own, srv_conf(ctx, module));
        if result == NGX_CONF_OK {
            conf.wrapped = (*us).peer.init_upstream;
        }
        result
    }
}

/// Whether a directive of this type takes so many words, its name included.
fn takes(kind: ngx_uint_t, words: usize) -> bool {
    // NGX_CONF_NOARGS, NGX_CONF_TAKE1 … NGX_CONF_TAKE7 are bits in this order.
    const MAX_WORDS: usize = 8;
    words <= MAX_WORDS && kind & (1 << (words - 1)) != 0
}

unsafe fn find(cf: &ngx_conf_t) -> Option<(*const ngx_module_t, *mut ngx_command_t)> {
    // SAFETY: nginx's list of modules ends with a null, a module's of commands with no name.
    unsafe {
        let mut modules = (*cf.cycle).modules;
        while let Some(module) = (*modules).as_ref() {
            if CStr::from_ptr(module.name) == c"ngx_http_upstream_keepalive_module" {
                let mut command = module.commands;
                while !(*command).name.is_empty() {
                    if (*command).name.as_bytes() == b"keepalive" {
                        return Some((module, command));
                    }
                    command = command.add(1);
                }
            }
            modules = modules.add(1);
        }
        None
    }
}

unsafe fn srv_conf(ctx: *const ngx_http_conf_ctx_t, module: *const ngx_module_t) -> *mut c_void {
    // SAFETY: by the callers, `ctx` has a configuration of each http module.
    unsafe { *(*ctx).srv_conf.add((*module).ctx_index) }
}
