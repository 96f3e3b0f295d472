//! nginx's configuration while it is read, and the configurations that modules have made of it.

use crate::nginx::MODULE;
use core::ffi::{c_char, c_void, CStr};
use core::fmt;
use core::ptr;
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_module,
    ngx_http_request_t, ngx_http_upstream_main_conf_t, ngx_http_upstream_module,
    ngx_http_upstream_srv_conf_t, ngx_module_t, ngx_str_t, ngx_uint_t, NGX_HTTP_SRV_CONF_OFFSET,
    NGX_HTTP_UPS_CONF, NGX_LOG_EMERG,
};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::http::HttpModuleConfExt;

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
        return Err($crate::nginx::conf::conf_error($cf, format_args!($($message)+)))
    };
}
pub(crate) use fail;

pub fn conf_result(result: Result<(), Logged>) -> *mut c_char {
    match result {
        Ok(()) => NGX_CONF_OK,
        Err(Logged) => NGX_CONF_ERROR,
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
