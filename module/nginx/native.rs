//! nginx's own handler of a directive that this module reads first.

use core::ffi::{c_char, CStr};

use nginx_sys::{ngx_command_t, ngx_module_t, ngx_uint_t, NGX_CONF_1MORE};
use ngx::core::NGX_CONF_ERROR;

use super::conf::{fail, Conf, Logged};

/// A directive of `upstream {}`, with the module of nginx that defines it.
pub struct Native {
    module: *const ngx_module_t,
    command: *mut ngx_command_t,
}

impl Native {
    /// Finds the handler of the directive that is read. An error if the number of its words is not allowed.
    pub fn find(cf: &mut Conf<'_>, module_name: &CStr) -> Result<Native, Logged> {
        // SAFETY: nginx's list of modules ends with a null, a module's list of commands with an empty name.
        unsafe {
            let words = cf.args();
            let (name, count) = (words.first().copied().unwrap_or_default(), words.len());
            let mut modules = (*cf.cycle()).modules;
            while let Some(module) = (*modules).as_ref() {
                if CStr::from_ptr(module.name) == module_name {
                    let mut command = module.commands;
                    while !(*command).name.is_empty() {
                        if (*command).name.as_bytes() == name.as_bytes() {
                            if !takes((*command).type_, count) {
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

    /// Calls nginx's handler of the directive.
    pub fn read(&self, cf: &mut Conf<'_>) -> *mut c_char {
        let conf = cf.srv_conf(self.module);
        // SAFETY: the command belongs to `module`, and `conf` is that module's configuration.
        unsafe {
            match (*self.command).set {
                Some(set) => set(cf.raw(), self.command, conf),
                None => NGX_CONF_ERROR,
            }
        }
    }
}

/// Whether a directive of this type takes so many words, its name included.
fn takes(kind: ngx_uint_t, words: usize) -> bool {
    // NGX_CONF_NOARGS, NGX_CONF_TAKE1 … NGX_CONF_TAKE7 are bits in this order.
    const MAX_WORDS: usize = 8;
    let any_more = kind & NGX_CONF_1MORE as ngx_uint_t != 0 && words > 1;
    any_more || words <= MAX_WORDS && kind & (1 << (words - 1)) != 0
}
