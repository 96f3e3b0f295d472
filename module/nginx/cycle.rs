//! A cycle: one configuration and its memory.

use core::marker::PhantomData;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_array_push, ngx_core_conf_t, ngx_core_module, ngx_cycle, ngx_cycle_t, ngx_http_conf_ctx_t,
    ngx_http_module, ngx_http_upstream_main_conf_t, ngx_http_upstream_module,
    ngx_http_upstream_srv_conf_t, ngx_log_t, ngx_module_t, ngx_str_t, NGX_LOG_ALERT,
};

use super::pool::Pool;
use super::upstream::Block;
use super::MODULE;

/// A live cycle (`ngx_cycle_t`).
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

    /// Calls `f` with the cycle that this process runs. `f` works for every lifetime, so it cannot keep the
    /// cycle or a part of it: with `master_process off` a reload replaces the cycle between two turns of the
    /// event loop.
    pub fn with_running<T>(f: impl for<'now> FnOnce(Cycle<'now>) -> T) -> T {
        // SAFETY: `ngx_cycle` is set from the start of the process on. nginx replaces and frees cycles only
        // in the event loop, which does not go on before `f` returns.
        f(unsafe { Cycle::new(ngx_cycle) })
    }

    /// The main log of the cycle that this process runs, which adds no text of a request.
    pub fn running_log() -> *mut ngx_log_t {
        Cycle::with_running(|cycle| cycle.log())
    }

    pub fn raw(self) -> *mut ngx_cycle_t {
        self.raw.as_ptr()
    }

    /// nginx's main log, which adds no text of a request.
    pub fn log(self) -> *mut ngx_log_t {
        // SAFETY: a live cycle; its log is set when it is made.
        unsafe { (*self.raw()).log }
    }

    /// The level of the main log.
    pub fn log_level(self) -> usize {
        // SAFETY: a live cycle; its log is set when it is made.
        unsafe { (*self.log()).log_level }
    }

    /// A copy of the main log that keeps only lines of `alert` and `emerg`, as nginx logs faults of this machine.
    /// Its file belongs to the cycle.
    pub fn quiet_log(self) -> ngx_log_t {
        // SAFETY: a live cycle; its log is set when it is made.
        let log = unsafe { *self.log() };
        ngx_log_t { log_level: log.log_level.min(NGX_LOG_ALERT as usize), ..log }
    }

    /// The process that runs this cycle passes `NAME=value` to the binary of an upgrade, and to its workers.
    /// Does nothing if memory is short.
    pub fn pass_environment(self, name_len: usize, entry: &str) {
        // SAFETY: the core module's configuration is of this type in a cycle whose configuration is read. The
        // pool is the cycle's. An element of `env` whose text goes on behind its name with `=` is passed on as
        // it is (`ngx_set_environment`), up to its zero.
        unsafe {
            let raw = &*self.raw();
            let core = *raw.conf_ctx.add(ngx_core_module.index);
            let Some(core) = core.cast::<ngx_core_conf_t>().as_mut() else { return };
            let pool = Pool::new(raw.pool);
            let Some(text) = pool.concat(&[entry.as_bytes(), b"\0"]) else { return };
            let place = ngx_array_push(&mut core.env).cast::<ngx_str_t>();
            if !place.is_null() {
                place.write(ngx_str_t { len: name_len, data: text.as_ptr().cast_mut() });
            }
        }
    }

    /// Connections that no client, no upstream and no listening socket uses.
    pub fn free_connections(self) -> usize {
        // SAFETY: a plain word of a live cycle.
        unsafe { (*self.raw()).free_connection_n }
    }

    fn http(self) -> Option<&'c ngx_http_conf_ctx_t> {
        // SAFETY: `conf_ctx` has an element for each module, null for http without `http {}`. The list is
        // null in a process that only sends a signal.
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
    /// `T` is what `module`, an http module, makes for `http {}`.
    pub unsafe fn main_conf<T>(self, module: *const ngx_module_t) -> Option<&'c T> {
        // SAFETY: `main_conf` has an element for each http module, and this one is a `T`.
        unsafe { (*self.http()?.main_conf.add((*module).ctx_index)).cast::<T>().as_ref() }
    }

    /// Our main configuration; `None` without `http {}`.
    ///
    /// # Safety
    /// `T` is what our module makes for `http {}`.
    pub unsafe fn own_main_conf<T>(self) -> Option<&'c T> {
        // SAFETY: `main_conf` has an element for each http module, and ours is a `T`.
        unsafe { (*self.http()?.main_conf.add(MODULE.get())).cast::<T>().as_ref() }
    }

    /// All upstreams, including those that nginx makes for a `proxy_pass`.
    pub fn upstreams(self) -> impl Iterator<Item = Block<'c>> + Clone {
        // SAFETY: `ngx_http_upstream_module` makes this type; its array points to upstreams of this cycle.
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
/// The array holds pointers to upstreams that nginx does not free during `'c`.
pub(super) unsafe fn blocks<'c>(
    main: Option<&'c ngx_http_upstream_main_conf_t>,
) -> impl Iterator<Item = Block<'c>> + Clone {
    // SAFETY: each pointer in the array is an upstream that lives during `'c`.
    unsafe {
        let all = main
            .map_or(&[][..], |main| main.upstreams.as_slice::<*mut ngx_http_upstream_srv_conf_t>());
        all.iter().map(|&us| Block::new(us))
    }
}
