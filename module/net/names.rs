//! Names, resolved by nginx's resolver.

use core::cell::Cell;
use core::ffi::{c_void, CStr};
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_msec_t, ngx_resolve_name, ngx_resolve_name_done, ngx_resolve_start, ngx_resolver_ctx_t,
    ngx_resolver_handler_pt, ngx_resolver_strerror, ngx_resolver_t,
};

use super::address::Address;
use super::error::Error;
use crate::nginx::conf::Word;
use crate::nginx::OK;

/// nginx's resolver of a configuration.
#[derive(Clone, Copy)]
pub(super) struct Resolver {
    pub(super) raw: NonNull<ngx_resolver_t>,
    /// `resolver_timeout`.
    pub(super) timeout: ngx_msec_t,
}

/// A question to the resolver, while it has no answer. Dropping this takes it back.
pub(super) struct Lookup(Cell<*mut ngx_resolver_ctx_t>);

impl Lookup {
    pub(super) fn none() -> Lookup {
        Lookup(Cell::new(ptr::null_mut()))
    }

    /// Asks for a name. `handler` is called with the answer, perhaps before this returns.
    ///
    /// # Safety
    /// 1. The resolver lives, and `data` stays where it is, until the answer came or the question was taken
    ///    back.
    /// 2. `handler` takes a question with this `data`, and passes it to [`Lookup::answer`].
    pub(super) unsafe fn ask(
        &self,
        resolver: Resolver,
        name: Word,
        handler: ngx_resolver_handler_pt,
        data: *mut c_void,
    ) -> Result<(), Error> {
        // SAFETY: the resolver lives (1). It returns a question, null, or `NGX_NO_RESOLVER`, which is no
        // address. The name lives as long as the configuration; nginx writes lower case into it.
        unsafe {
            let question = ngx_resolve_start(resolver.raw.as_ptr(), ptr::null_mut());
            if question.is_null() || question.addr() == usize::MAX {
                return Err(Error::Local);
            }
            (*question).name = name.raw();
            (*question).handler = handler;
            (*question).data = data;
            (*question).timeout = resolver.timeout;
            (*question).set_cancelable(1);
            self.0.set(question);
            if ngx_resolve_name(question) == OK {
                return Ok(());
            }
            // nginx has freed the question.
            self.0.set(ptr::null_mut());
            Err(Error::Local)
        }
    }

    /// The answer, in the handler of the question: its addresses, with this port.
    pub(super) fn answer(&self, port: u16) -> Result<Vec<Address>, Error> {
        let question = self.0.replace(ptr::null_mut());
        if question.is_null() {
            return Err(Error::Local);
        }
        // SAFETY: nginx has called the handler of this question, whose addresses live until it is done.
        // `ngx_resolver_strerror` returns a static text.
        unsafe {
            let state = (*question).state;
            let result = if state != OK {
                let text = CStr::from_ptr(ngx_resolver_strerror(state));
                Err(Error::NotResolved(state, text))
            } else {
                let count = if (*question).addrs.is_null() { 0 } else { (*question).naddrs };
                let mut found = Vec::new();
                match found.try_reserve_exact(count) {
                    Ok(()) => {
                        found.extend((0..count).filter_map(|at| {
                            let address = &*(*question).addrs.add(at);
                            let copy = Address::copy(address.sockaddr, address.socklen)?;
                            Some(copy.with_port(port))
                        }));
                        Ok(found)
                    }
                    Err(_) => Err(Error::Local),
                }
            };
            ngx_resolve_name_done(question);
            result
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let question = self.0.get();
        if !question.is_null() {
            // SAFETY: the question has no answer yet, and its resolver lives.
            unsafe { ngx_resolve_name_done(question) };
        }
    }
}
