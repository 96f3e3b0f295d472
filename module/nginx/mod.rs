//! Safe wrappers of nginx's types, replacements of its C macros, and helpers that every room uses.

pub mod conf;
pub mod cycle;
pub mod headers;
pub mod native;
pub mod per_worker;
pub mod pool;
pub mod recycled;
pub mod request;
pub mod send;
pub mod upstream;

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::alloc::{alloc, Layout};

use affinity::table::Tick;
use nginx_sys::{
    ngx_cached_time, ngx_current_msec, ngx_int_t, ngx_log_stderr, ngx_quiet_mode, ngx_str_t,
    ngx_uint_t, time_t,
};

pub const OK: ngx_int_t = nginx_sys::NGX_OK as ngx_int_t;

pub const ERROR: ngx_int_t = nginx_sys::NGX_ERROR as ngx_int_t;

pub const AGAIN: ngx_int_t = nginx_sys::NGX_AGAIN as ngx_int_t;

pub const DECLINED: ngx_int_t = nginx_sys::NGX_DECLINED as ngx_int_t;

pub const BUSY: ngx_int_t = nginx_sys::NGX_BUSY as ngx_int_t;

pub const DONE: ngx_int_t = nginx_sys::NGX_DONE as ngx_int_t;

/// Writes a line to the standard error, unless nginx is started with `-q`.
pub fn say(line: core::fmt::Arguments<'_>) {
    let line = line.to_string();
    // SAFETY: nginx reads one string by `%V`, and a plain word.
    unsafe {
        if ngx_quiet_mode == 0 {
            ngx_log_stderr(0, c"%V".as_ptr(), &pool::string(line.as_bytes()));
        }
    }
}

/// nginx's monotonic time, cached once per turn of the event loop.
pub fn now() -> Tick {
    // SAFETY: a plain word, written by this process's event loop only.
    Tick::from_millis(unsafe { ngx_current_msec } as u64)
}

/// nginx's monotonic time in milliseconds.
pub fn millis() -> u64 {
    // SAFETY: a plain word, written by this process's event loop only.
    unsafe { ngx_current_msec as u64 }
}

/// nginx's cached time of day in seconds, the clock of `fail_timeout`.
pub fn seconds() -> time_t {
    // SAFETY: `ngx_cached_time` points to a slot of a static array from the start of the process on.
    unsafe { (*ngx_cached_time).sec }
}

/// nginx's cached time of day, in milliseconds since 1970.
pub fn wall_clock_millis() -> u64 {
    // SAFETY: `ngx_cached_time` points to a slot of a static array from the start of the process on.
    let (seconds, millis) = unsafe { ((*ngx_cached_time).sec, (*ngx_cached_time).msec) };
    u64::try_from(seconds).unwrap_or(0) * 1000 + millis as u64
}

/// The position of a module of this object among nginx's http modules (`ctx_index`).
pub struct ModuleIndex(AtomicUsize);

/// The index of `ngx_http_sticky_learn_module`: that of its configurations and contexts.
pub static MODULE: ModuleIndex = ModuleIndex::new();

/// The index of `ngx_http_sticky_learn_filter_module`.
pub static FILTER_MODULE: ModuleIndex = ModuleIndex::new();

impl ModuleIndex {
    const fn new() -> ModuleIndex {
        ModuleIndex(AtomicUsize::new(0))
    }

    /// Stores the index. nginx assigns it before it reads a configuration; it is the same in all
    /// configurations of a process.
    pub fn set(&self, ctx_index: ngx_uint_t) {
        self.0.store(ctx_index, Ordering::Relaxed);
    }

    #[inline(always)]
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// The tag of the module's shared memory zones: an address that no other module uses.
    pub fn tag(&'static self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }
}

/// The bytes of a string.
///
/// # Safety
/// The string's memory outlives `'a` and does not change during it.
pub unsafe fn bytes<'a>(text: &ngx_str_t) -> &'a [u8] {
    if text.len == 0 {
        return &[];
    }
    // SAFETY: a string of non-zero length points to that many bytes.
    unsafe { core::slice::from_raw_parts(text.data, text.len) }
}

/// Whether two texts are equal. Texts of 8 to 16 bytes, the most frequent, are compared without a call of
/// `memcmp`.
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

/// A copy of bytes; `None` if memory is short, where `to_vec` would end the worker.
pub fn try_copy(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).ok()?;
    copy.extend_from_slice(bytes);
    Some(copy)
}

/// A value in memory of its own, as `Box::new` makes it; `None` if memory is short.
pub fn try_box<T>(value: T) -> Option<Box<T>> {
    let layout = Layout::new::<T>();
    let place = match layout.size() {
        // SAFETY: a value without size may be at any aligned address but zero.
        0 => ptr::dangling_mut(),
        // SAFETY: the size is not zero.
        _ => unsafe { alloc(layout).cast::<T>() },
    };
    if place.is_null() {
        return None;
    }
    // SAFETY: the memory was allocated for one value, with the layout of a box.
    unsafe {
        place.write(value);
        Some(Box::from_raw(place))
    }
}
