//! A cycle: one configuration with its memory.

use core::marker::PhantomData;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_cycle, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_module, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_http_upstream_srv_conf_t, ngx_log_t, ngx_module_t,
};

use super::upstream::Block;
use super::MODULE;

/// A live cycle.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Cycle<'c> {
    raw: NonNull<ngx_cycle_t>,
    live: PhantomData<&'c ngx_cycle_t>,
}

impl<'c> Cycle<'c> {
    /// # Safety
    /// `raw` is a cycle whose configuration is read, and that nginx does not free during `'c`.
    pub unsafe fn new(raw: *mut ngx_cycle_t) -> Cycle<'c> {
        debug_assert!(!raw.is_null());
        // SAFETY: a cycle is not at address zero.
        Cycle { raw: unsafe { NonNull::new_unchecked(raw) }, live: PhantomData }
    }

    /// The cycle that this process runs. A process that is its own master may have another one at the next
    /// turn of the event loop: do not keep it.
    pub fn running() -> Cycle<'c> {
        // SAFETY: there is one from the start of the process on, and nginx frees a former one only when
        // nothing of it is used any more.
        unsafe { Cycle::new(ngx_cycle) }
    }

    pub fn raw(self) -> *mut ngx_cycle_t {
        self.raw.as_ptr()
    }

    /// nginx's main log, which adds nothing of a request.
    pub fn log(self) -> *mut ngx_log_t {
        // SAFETY: a cycle has a log.
        unsafe { (*self.raw()).log }
    }

    /// Connections that no client, no upstream and no listening socket uses.
    pub fn free_connections(self) -> usize {
        // SAFETY: a plain word.
        unsafe { (*self.raw()).free_connection_n }
    }

    fn http(self) -> Option<&'c ngx_http_conf_ctx_t> {
        // SAFETY: without `http {}` the context is null; so is the list of them in a process that only
        // signals another.
        unsafe {
            let all = (*self.raw()).conf_ctx;
            if all.is_null() {
                return None;
            }
            (*all.add(ngx_http_module.index)).cast::<ngx_http_conf_ctx_t>().as_ref()
        }
    }

    /// Another module's main configuration; `None` without `http {}`.
    ///
    /// # Safety
    /// `T` is what `module`, an http module of nginx's, makes for `http {}`.
    pub unsafe fn main_conf<T>(self, module: *const ngx_module_t) -> Option<&'c T> {
        // SAFETY: nginx gives each http module a place, and by this function's own condition.
        unsafe { (*self.http()?.main_conf.add((*module).ctx_index)).cast::<T>().as_ref() }
    }

    /// Our main configuration; `None` without `http {}`.
    ///
    /// # Safety
    /// `T` is what our module makes for `http {}`.
    pub unsafe fn own_main_conf<T>(self) -> Option<&'c T> {
        // SAFETY: as in `main_conf`.
        unsafe { (*self.http()?.main_conf.add(MODULE.get())).cast::<T>().as_ref() }
    }

    /// All upstreams, also those that nginx makes of a `proxy_pass`.
    pub fn upstreams(self) -> impl Iterator<Item = Block<'c>> + Clone {
        // SAFETY: that is what the module makes, and its array holds pointers to live upstreams.
        unsafe {
            let main = self
                .main_conf::<ngx_http_upstream_main_conf_t>(&raw const ngx_http_upstream_module);
            blocks(main)
        }
    }
}

/// The upstreams of a main configuration.
///
/// # Safety
/// The array is as nginx fills it, and so is each upstream in it.
pub(super) unsafe fn blocks<'c>(
    main: Option<&'c ngx_http_upstream_main_conf_t>,
) -> impl Iterator<Item = Block<'c>> + Clone {
    // SAFETY: by this function's own condition.
    unsafe {
        let all = main
            .map_or(&[][..], |main| main.upstreams.as_slice::<*mut ngx_http_upstream_srv_conf_t>());
        all.iter().map(|&us| Block::new(us))
    }
}
