//! nginx's own handler of a directive that we read first.

use core::ffi::{c_char, c_void, CStr};

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_upstream_module,
    ngx_http_upstream_srv_conf_t, ngx_module_t, ngx_uint_t, NGX_CONF_1MORE,
};
use ngx::core::NGX_CONF_ERROR;

use crate::nginx;
use crate::nginx::conf::{fail, Logged};

/// A directive of `upstream {}` as nginx knows it.
pub struct Native {
    module: *const ngx_module_t,
    command: *mut ngx_command_t,
}

impl Native {
    /// Finds the handler of the directive at hand, which must have as many words as it takes.
    ///
    /// # Safety
    /// `cf` is being read, at a directive.
    pub unsafe fn find(cf: &mut ngx_conf_t, module_name: &CStr) -> Result<Native, Logged> {
        // SAFETY: nginx's list of modules ends with a null, a module's of commands with no name.
        unsafe {
            let words = nginx::conf::args(cf);
            let name = words[0];
            let mut modules = (*cf.cycle).modules;
            while let Some(module) = (*modules).as_ref() {
                if CStr::from_ptr(module.name) == module_name {
                    let mut command = module.commands;
                    while !(*command).name.is_empty() {
                        if (*command).name.as_bytes() == name.as_bytes() {
                            if !takes((*command).type_, words.len()) {
                                fail!(cf, "invalid number of arguments in \"{name}\" directive");
                            }
                            return Ok(Native { module, command });
                        }
                        command = command.add(1);
                    }
                }
                modules = modules.add(1);
            }
            fail!(cf, "unknown directive \"{name}\"");
        }
    }

    /// Lets nginx read the directive.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn read(&self, cf: &mut ngx_conf_t) -> *mut c_char {
        // SAFETY: the handler gets the configuration that its own module has made.
        unsafe {
            match (*self.command).set {
                Some(set) => set(cf, self.command, srv_conf(cf, self.module)),
                None => NGX_CONF_ERROR,
            }
        }
    }
}

/// nginx's configuration of the upstream that is being read.
///
/// # Safety
/// `cf` is being read, in an `upstream {}`.
pub unsafe fn upstream<'a>(cf: &ngx_conf_t) -> &'a mut ngx_http_upstream_srv_conf_t {
    // SAFETY: by this function's contract.
    unsafe { &mut *srv_conf(cf, &raw const ngx_http_upstream_module).cast() }
}

/// Whether a directive of this type takes so many words, its name included.
fn takes(kind: ngx_uint_t, words: usize) -> bool {
    // NGX_CONF_NOARGS, NGX_CONF_TAKE1 … NGX_CONF_TAKE7 are bits in this order.
    const MAX_WORDS: usize = 8;
    let any_more = kind & NGX_CONF_1MORE as ngx_uint_t != 0 && words > 1;
    any_more || words <= MAX_WORDS && kind & (1 << (words - 1)) != 0
}

unsafe fn srv_conf(cf: &ngx_conf_t, module: *const ngx_module_t) -> *mut c_void {
    // SAFETY: by the callers, the context of an upstream has a configuration of each http module.
    unsafe {
        let ctx = cf.ctx.cast::<ngx_http_conf_ctx_t>();
        *(*ctx).srv_conf.add((*module).ctx_index)
    }
}
