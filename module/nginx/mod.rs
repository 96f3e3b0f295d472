//! What nginx's C macros give, and the few idioms that every room uses.

pub mod bits;
pub mod native;
pub mod recycled;
pub mod send;

use core::ffi::{c_char, c_void, CStr};
use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use affinity::table::Tick;
use nginx_sys::{
    ngx_cached_time, ngx_command_t, ngx_conf_t, ngx_current_msec, ngx_cycle_t, ngx_http_conf_ctx_t,
    ngx_http_module, ngx_http_request_t, ngx_http_upstream_main_conf_t, ngx_http_upstream_module,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_module_t, ngx_palloc, ngx_pmemalign,
    ngx_pool_cleanup_t, ngx_pool_t, ngx_str_t, ngx_uint_t, time_t, NGX_HTTP_SRV_CONF_OFFSET,
    NGX_HTTP_UPS_CONF, NGX_LOG_EMERG,
};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::http::HttpModuleConfExt;

pub const OK: ngx_int_t = nginx_sys::NGX_OK as ngx_int_t;
pub const ERROR: ngx_int_t = nginx_sys::NGX_ERROR as ngx_int_t;
pub const DECLINED: ngx_int_t = nginx_sys::NGX_DECLINED as ngx_int_t;
pub const BUSY: ngx_int_t = nginx_sys::NGX_BUSY as ngx_int_t;
pub const DONE: ngx_int_t = nginx_sys::NGX_DONE as ngx_int_t;

/// A configuration error that has been logged.
#[derive(Debug)]
pub struct Logged;

/// Logs a configuration error with file and line, as nginx does.
pub fn conf_error(cf: &mut ngx_conf_t, message: fmt::Arguments<'_>) -> Logged {
    ngx::ngx_conf_log_error!(NGX_LOG_EMERG, cf, "{message}");
    Logged
}

/// Logs and gives the error: `fail!(cf, "invalid parameter \"{name}\"")`.
macro_rules! fail {
    ($cf:expr, $($message:tt)+) => {
        return Err($crate::nginx::conf_error($cf, format_args!($($message)+)))
    };
}
pub(crate) use fail;

pub fn conf_result(result: Result<(), Logged>) -> *mut c_char {
    match result {
        Ok(()) => NGX_CONF_OK,
        Err(Logged) => NGX_CONF_ERROR,
    }
}

/// The current time of nginx: monotonic, cached once per turn of the event loop.
pub fn now() -> Tick {
    // SAFETY: a plain word, written by this process's event loop only.
    Tick::from_millis(unsafe { ngx_current_msec } as u64)
}

/// nginx's monotonic time in milliseconds.
pub fn millis() -> u64 {
    // SAFETY: a plain word, written by this process's event loop only.
    unsafe { ngx_current_msec as u64 }
}

/// nginx's cached time in seconds, in which it counts `fail_timeout`.
pub fn seconds() -> time_t {
    // SAFETY: nginx always points it to a valid slot.
    unsafe { (*ngx_cached_time).sec }
}

/// Where a module of this object stands among nginx's http modules.
pub struct Place(AtomicUsize);

/// The place of `ngx_http_sticky_learn_module`: of its configurations and its contexts.
pub static MODULE: Place = Place::new();
/// The place of `ngx_http_sticky_learn_filter_module`.
pub static FILTER_MODULE: Place = Place::new();

impl Place {
    const fn new() -> Place {
        Place(AtomicUsize::new(0))
    }

    /// Notes the place, which nginx has given the module before it reads a configuration. It is the same
    /// in all configurations of a process.
    pub fn set(&self, ctx_index: ngx_uint_t) {
        self.0.store(ctx_index, Ordering::Relaxed);
    }

    #[inline(always)]
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// What nginx knows the module's shared memory by: an address that nobody else has.
    pub fn tag(&'static self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }
}

pub type Handler =
    unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// A directive of `upstream {}`; nginx wants its name to end with a null.
pub const fn command(name: &'static CStr, arguments: u32, set: Handler) -> ngx_command_t {
    ngx_command_t {
        name: ngx_str_t { len: name.count_bytes(), data: name.as_ptr().cast_mut().cast() },
        type_: (NGX_HTTP_UPS_CONF | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_SRV_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

/// The words of the directive being read; the first is its name.
///
/// # Safety
/// `cf` is the one that nginx passed to a directive's handler.
pub unsafe fn args<'a>(cf: &ngx_conf_t) -> &'a [ngx_str_t] {
    // SAFETY: nginx keeps the words in an array of strings in the configuration's pool.
    unsafe { (*cf.args).as_slice() }
}

/// A value in a pool, with the note that makes the pool drop it.
#[repr(C)]
struct Pooled<T> {
    cleanup: ngx_pool_cleanup_t,
    value: T,
}

/// Makes a value in a pool; it is dropped with the pool.
///
/// # Safety
/// `pool` is a live pool; the reference must not outlive it.
#[inline]
pub unsafe fn pool_box<'a, T>(
    pool: *mut ngx_pool_t,
    make: impl FnOnce() -> T,
) -> Option<&'a mut T> {
    let (size, align) = (size_of::<Pooled<T>>(), align_of::<Pooled<T>>());
    // SAFETY: the pool gives room that is aligned as asked, or null; it reads the list of cleanups
    // only when it is destroyed, and takes any that nobody else has put there.
    unsafe {
        let pooled = match align <= nginx_sys::NGX_ALIGNMENT {
            true => ngx_palloc(pool, size),
            false => ngx_pmemalign(pool, size, align),
        }
        .cast::<Pooled<T>>();
        if pooled.is_null() {
            return None;
        }
        let value = &raw mut (*pooled).value;
        value.write(make());
        (&raw mut (*pooled).cleanup).write(ngx_pool_cleanup_t {
            handler: Some(drop_value::<T>),
            data: value.cast(),
            next: (*pool).cleanup,
        });
        (*pool).cleanup = &raw mut (*pooled).cleanup;
        Some(&mut *value)
    }
}

/// The bytes of a string, for as long as the caller knows them to live.
///
/// # Safety
/// The memory must outlive `'a` and stay unchanged.
pub unsafe fn bytes<'a>(text: &ngx_str_t) -> &'a [u8] {
    if text.len == 0 {
        return &[];
    }
    // SAFETY: a string of non-zero length points to that many bytes.
    unsafe { core::slice::from_raw_parts(text.data, text.len) }
}

/// Whether two texts are the same. Most that are compared are two words long at most, and are so
/// without a call.
#[inline(always)]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    const WORD: usize = size_of::<u64>();

    one.len() == other.len()
        && one.last_chunk::<WORD>() == other.last_chunk::<WORD>()
        && match one.first_chunk::<WORD>() {
            Some(first) if one.len() <= 2 * WORD => Some(first) == other.first_chunk::<WORD>(),
            _ => one == other,
        }
}

/// This module's configuration of an upstream; `None` for one without an `upstream {}` block.
///
/// # Safety
/// `us` is an upstream of a live configuration, `T` is what this module made for it.
pub unsafe fn upstream_conf<'a, T>(us: *const ngx_http_upstream_srv_conf_t) -> Option<&'a mut T> {
    // SAFETY: by this function's contract.
    unsafe {
        let srv_conf = (*us).srv_conf;
        if srv_conf.is_null() {
            return None;
        }
        (*srv_conf.add(MODULE.get())).cast::<T>().as_mut()
    }
}

/// A module's main configuration, while nginx reads its own.
///
/// # Safety
/// `cf` is the one that nginx passed, `T` is what `module` made.
pub unsafe fn main_conf<'a, T>(cf: &ngx_conf_t, module: *const ngx_module_t) -> Option<&'a mut T> {
    // SAFETY: by this function's contract.
    unsafe { Some(cf.http_main_conf_unchecked::<T>(&*module)?.as_mut()) }
}

/// This module's main configuration, while nginx reads its own.
///
/// # Safety
/// `cf` is the one that nginx passed, `T` is what this module made.
pub unsafe fn own_main_conf<'a, T>(cf: &ngx_conf_t) -> Option<&'a mut T> {
    // SAFETY: by this function's contract, the context is that of http.
    unsafe {
        let ctx = cf.ctx.cast::<ngx_http_conf_ctx_t>().as_ref()?;
        (*ctx.main_conf.add(MODULE.get())).cast::<T>().as_mut()
    }
}

/// This module's main configuration in a cycle; `None` if it has no `http {}`.
///
/// # Safety
/// `cycle` is a live cycle, `T` is what this module made.
pub unsafe fn own_cycle_main_conf<'a, T>(cycle: *const ngx_cycle_t) -> Option<&'a T> {
    // SAFETY: by this function's contract; a cycle without http has a null context.
    unsafe {
        let all = (*cycle).conf_ctx.as_ref().map(|_| (*cycle).conf_ctx)?;
        let ctx = (*all.add(ngx_http_module.index)).cast::<ngx_http_conf_ctx_t>().as_ref()?;
        (*ctx.main_conf.add(MODULE.get())).cast::<T>().as_ref()
    }
}

/// This module's main configuration, as a request has it.
///
/// # Safety
/// `r` is a live request, `T` is what this module made.
pub unsafe fn own_request_main_conf<'a, T>(r: *const ngx_http_request_t) -> Option<&'a T> {
    // SAFETY: nginx gives each http module a place.
    unsafe { (*(*r).main_conf.add(MODULE.get())).cast::<T>().as_ref() }
}

/// This module's configuration of a request's location.
///
/// # Safety
/// As above.
pub unsafe fn own_request_loc_conf<'a, T>(r: *const ngx_http_request_t) -> Option<&'a T> {
    // SAFETY: as above.
    unsafe { (*(*r).loc_conf.add(MODULE.get())).cast::<T>().as_ref() }
}

/// A module's main configuration in a cycle; `None` if it has no `http {}`.
///
/// # Safety
/// `cycle` is a live cycle, `T` is what `module` made.
pub unsafe fn cycle_main_conf<'a, T>(
    cycle: *const ngx_cycle_t,
    module: *const ngx_module_t,
) -> Option<&'a mut T> {
    // SAFETY: by this function's contract; a cycle without http has a null context.
    unsafe {
        if (*cycle).conf_ctx.is_null() || (*(*cycle).conf_ctx.add(ngx_http_module.index)).is_null()
        {
            return None;
        }
        Some((*cycle).http_main_conf_unchecked::<T>(&*module)?.as_mut())
    }
}

/// The upstreams of a configuration: of what nginx reads ([`main_conf`]), of a cycle
/// ([`cycle_main_conf`]), or of a request ([`request_main_conf`]).
///
/// # Safety
/// The array is as nginx fills it.
pub unsafe fn upstreams(
    main: Option<&mut ngx_http_upstream_main_conf_t>,
) -> &[*mut ngx_http_upstream_srv_conf_t] {
    // SAFETY: by this function's contract.
    main.map_or(&[][..], |main| unsafe { main.upstreams.as_slice() })
}

/// The module that holds them.
pub fn upstream_module() -> *const ngx_module_t {
    &raw const ngx_http_upstream_module
}

/// A module's main configuration, as a request has it.
///
/// # Safety
/// `r` is a live request, `T` is what `module` made.
pub unsafe fn request_main_conf<'a, T>(
    r: *const ngx_http_request_t,
    module: *const ngx_module_t,
) -> Option<&'a mut T> {
    // SAFETY: nginx gives each http module a place.
    unsafe { (*(*r).main_conf.add((*module).ctx_index)).cast::<T>().as_mut() }
}

/// A module's configuration of a request's location.
///
/// # Safety
/// As above.
pub unsafe fn request_loc_conf<'a, T>(
    r: *const ngx_http_request_t,
    module: *const ngx_module_t,
) -> Option<&'a T> {
    // SAFETY: as above.
    unsafe { (*(*r).loc_conf.add((*module).ctx_index)).cast::<T>().as_ref() }
}

/// A module's configuration of the location that nginx is reading, or merging.
///
/// # Safety
/// `cf` is the one that nginx passed, `T` is what `module` made.
pub unsafe fn loc_conf<'a, T>(cf: &ngx_conf_t, module: *const ngx_module_t) -> Option<&'a mut T> {
    // SAFETY: by this function's contract, the context is that of http.
    unsafe {
        let ctx = cf.ctx.cast::<ngx_http_conf_ctx_t>();
        (*(*ctx).loc_conf.add((*module).ctx_index)).cast::<T>().as_mut()
    }
}

/// A module's place among a request's contexts.
///
/// # Safety
/// `r` is a live request.
pub unsafe fn context(r: *const ngx_http_request_t, module: &Place) -> *mut *mut c_void {
    // SAFETY: nginx gives each request a place for each http module.
    unsafe { (*r).ctx.add(module.get()) }
}

unsafe extern "C" fn drop_value<T>(data: *mut c_void) {
    // SAFETY: `data` is the value that `pool_box` wrote, and the pool runs each handler once.
    unsafe { ptr::drop_in_place(data.cast::<T>()) }
}
