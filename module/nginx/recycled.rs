//! Values that live as long as a request, in memory that goes from one request to the next.
//!
//! A request's pool is nearly full when an upstream is chosen; whatever is put there then makes nginx
//! allocate another block, which costs more than a lookup does.

use core::cell::Cell;
use core::ffi::c_void;
use core::mem::{offset_of, MaybeUninit};
use core::ptr;
use std::alloc::{alloc_zeroed, Layout};

use nginx_sys::ngx_pool_cleanup_t;

use super::pool::Pool;

/// A kind of value, and the room that its past ones have left to this process.
pub trait Recycled: Sized + 'static {
    fn spare() -> &'static Spare<Self>;
}

/// A list of free places. It never shrinks: a process has as many as it once had values.
pub struct Spare<T> {
    first: Cell<*mut Place<T>>,
}

// SAFETY: nginx runs its event loop, and all that is called from it, in one thread.
unsafe impl<T> Sync for Spare<T> {}

/// A value with the note that makes a pool drop it. The note is read once more after that: a free
/// place keeps it, and the link of the list stands beside it. All of that in as few cache lines as can
/// be.
#[repr(C, align(64))]
struct Place<T> {
    next: *mut Place<T>,
    cleanup: ngx_pool_cleanup_t,
    value: MaybeUninit<T>,
}

impl<T> Spare<T> {
    pub const fn new() -> Spare<T> {
        Spare { first: Cell::new(ptr::null_mut()) }
    }

    /// # Safety
    /// The place is to be written before it is given back.
    unsafe fn take(&self) -> Option<&'static mut Place<T>> {
        let first = self.first.get();
        if first.is_null() {
            // SAFETY: a place has a size; zeroes are a place.
            return unsafe {
                alloc_zeroed(const { Layout::new::<Place<T>>() }).cast::<Place<T>>().as_mut()
            };
        }
        // SAFETY: what is on the list is a place that nobody uses.
        unsafe {
            self.first.set((*first).next);
            Some(&mut *first)
        }
    }
}

/// Makes a value that is dropped with the pool; `None` without memory.
#[inline]
pub fn make<'p, T: Recycled>(pool: Pool<'p>, value: impl FnOnce() -> T) -> Option<&'p T> {
    // SAFETY: the pool runs its list of cleanups when it is destroyed, and takes any that nobody else
    // has put there. The place is given back only then.
    unsafe {
        let place = T::spare().take()?;
        let made = place.value.write(value());
        place.cleanup = ngx_pool_cleanup_t {
            handler: Some(recycle::<T>),
            data: ptr::from_mut(made).cast(),
            next: (*pool.raw()).cleanup,
        };
        (*pool.raw()).cleanup = &raw mut place.cleanup;
        Some(made)
    }
}

/// Finds a value that [`make`] has put into a pool, the latest first.
pub fn find<'p, T: Recycled>(pool: Pool<'p>, matches: impl Fn(&T) -> bool) -> Option<&'p T> {
    // SAFETY: a cleanup with our handler for `T` holds a `T`, which lives as long as the pool.
    unsafe {
        let mut cleanup = (*pool.raw()).cleanup;
        while let Some(entry) = cleanup.as_ref() {
            let ours = recycle::<T> as unsafe extern "C" fn(*mut c_void);
            if entry.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, ours)) {
                let value = &*entry.data.cast::<T>();
                if matches(value) {
                    return Some(value);
                }
            }
            cleanup = entry.next;
        }
        None
    }
}

unsafe extern "C" fn recycle<T: Recycled>(data: *mut c_void) {
    let spare = T::spare();
    // SAFETY: `data` is a value that `make` has put into its place, and the pool runs each handler once.
    unsafe {
        ptr::drop_in_place(data.cast::<T>());
        let place = data.byte_sub(offset_of!(Place<T>, value)).cast::<Place<T>>();
        (*place).next = spare.first.get();
        spare.first.set(place);
    }
}
