//! Values that live in a pool.

use core::ffi::c_void;
use core::ptr;
use nginx_sys::{ngx_palloc, ngx_pmemalign, ngx_pool_cleanup_t, ngx_pool_t};

/// A value in a pool, with the note that makes the pool drop it.
#[repr(C)]
pub(super) struct Pooled<T> {
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

pub(super) unsafe extern "C" fn drop_value<T>(data: *mut c_void) {
    // SAFETY: `data` is the value that `pool_box` wrote, and the pool runs each handler once.
    unsafe { ptr::drop_in_place(data.cast::<T>()) }
}
