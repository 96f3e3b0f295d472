//! nginx's pools, and values in them.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_palloc, ngx_pmemalign, ngx_pnalloc, ngx_pool_cleanup_t, ngx_pool_t, ngx_str_t,
};

/// A pool of a request, a connection or a configuration.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Pool<'p> {
    raw: NonNull<ngx_pool_t>,
    live: PhantomData<&'p ngx_pool_t>,
}

/// A value in a pool, with the cleanup entry that drops it.
#[repr(C)]
struct Pooled<T> {
    cleanup: ngx_pool_cleanup_t,
    value: T,
}

impl<'p> Pool<'p> {
    /// # Safety
    /// `raw` is a pool that nginx does not destroy during `'p`.
    #[inline(always)]
    pub unsafe fn new(raw: *mut ngx_pool_t) -> Pool<'p> {
        debug_assert!(!raw.is_null());
        // SAFETY: a pool is not at address zero.
        Pool { raw: unsafe { NonNull::new_unchecked(raw) }, live: PhantomData }
    }

    /// For calls of nginx's functions.
    #[inline(always)]
    pub fn raw(self) -> *mut ngx_pool_t {
        self.raw.as_ptr()
    }

    /// Makes a value that is dropped when the pool is destroyed; `None` if memory is short.
    #[inline]
    pub fn make<T: 'p>(self, make: impl FnOnce() -> T) -> Option<&'p mut T> {
        let (size, align) = (size_of::<Pooled<T>>(), align_of::<Pooled<T>>());
        // SAFETY: the pool returns memory of this size and alignment, or null, and frees it when it is
        // destroyed. Until then it does not read the list of cleanups, and the new entry is in it once.
        unsafe {
            let pooled = match align <= nginx_sys::NGX_ALIGNMENT {
                true => ngx_palloc(self.raw(), size),
                false => ngx_pmemalign(self.raw(), size, align),
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
                next: (*self.raw()).cleanup,
            });
            (*self.raw()).cleanup = &raw mut (*pooled).cleanup;
            Some(&mut *value)
        }
    }

    /// The parts joined to one text; `None` if memory is short.
    pub fn concat(self, parts: &[&[u8]]) -> Option<&'p [u8]> {
        let len = parts.iter().map(|part| part.len()).sum();
        // SAFETY: the pool returns memory for `len` bytes, the length of all parts, or null.
        unsafe {
            let text = ngx_pnalloc(self.raw(), len).cast::<u8>();
            if text.is_null() {
                return None;
            }
            let mut end = text;
            for part in parts.iter().filter(|part| !part.is_empty()) {
                ptr::copy_nonoverlapping(part.as_ptr(), end, part.len());
                end = end.add(part.len());
            }
            Some(core::slice::from_raw_parts(text, len))
        }
    }
}

/// A text as an `ngx_str_t`. The type allows writing; nginx writes to no string that is passed to it here.
pub fn string(text: &[u8]) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}

unsafe extern "C" fn drop_value<T>(data: *mut c_void) {
    // SAFETY: `data` is the value that `make` wrote, and the pool runs each handler once.
    unsafe { ptr::drop_in_place(data.cast::<T>()) }
}
