//! Values that live as long as a request, in memory that later requests use again.
//!
//! A request's pool is nearly full when an upstream is chosen. A value in the pool would make nginx
//! allocate another block, which costs more than the lookup of a session.

use core::cell::Cell;
use core::ffi::c_void;
use core::mem::{offset_of, MaybeUninit};
use core::ptr;
use std::alloc::{alloc_zeroed, Layout};

use nginx_sys::ngx_pool_cleanup_t;

use super::pool::Pool;

/// A type of values, with its free allocations in this process.
pub trait Recycled: Sized + 'static {
    fn spare() -> &'static Spare<Self>;
}

/// A list of free allocations. They are never given back to the system: a process keeps as many as it once
/// used at the same time.
pub struct Spare<T> {
    first: Cell<*mut Allocation<T>>,
}

// SAFETY: nginx runs its event loop, and all that is called from it, in one thread.
unsafe impl<T> Sync for Spare<T> {}

/// A value with the cleanup entry that drops it. nginx reads `cleanup.next` after the handler has run, so a
/// free allocation keeps `cleanup`, and the free list uses `next`. The fields share as few cache lines as
/// possible.
#[repr(C, align(64))]
struct Allocation<T> {
    next: *mut Allocation<T>,
    cleanup: ngx_pool_cleanup_t,
    value: MaybeUninit<T>,
}

impl<T> Spare<T> {
    pub const fn new() -> Spare<T> {
        Spare { first: Cell::new(ptr::null_mut()) }
    }

    /// # Safety
    /// The caller writes `value` and `cleanup` before the allocation is put back on the list.
    unsafe fn take(&self) -> Option<&'static mut Allocation<T>> {
        let first = self.first.get();
        if first.is_null() {
            // SAFETY: the size of an allocation is not zero, and an allocation is valid when zeroed.
            return unsafe {
                alloc_zeroed(const { Layout::new::<Allocation<T>>() })
                    .cast::<Allocation<T>>()
                    .as_mut()
            };
        }
        // SAFETY: an allocation on the list holds no value, and no other reference to it exists.
        unsafe {
            self.first.set((*first).next);
            Some(&mut *first)
        }
    }
}

/// Makes a value that is dropped when the pool is destroyed; `None` if memory is short.
#[inline]
pub fn make<'p, T: Recycled>(pool: Pool<'p>, value: impl FnOnce() -> T) -> Option<&'p T> {
    // SAFETY: `value` and `cleanup` are written here. The pool runs the cleanup once, when it is destroyed,
    // and only that puts the allocation back on the list.
    unsafe {
        let allocation = T::spare().take()?;
        let made = allocation.value.write(value());
        allocation.cleanup = ngx_pool_cleanup_t {
            handler: Some(recycle::<T>),
            data: ptr::from_mut(made).cast(),
            next: (*pool.raw()).cleanup,
        };
        (*pool.raw()).cleanup = &raw mut allocation.cleanup;
        Some(made)
    }
}

/// Finds a value that [`make`] has made for a pool; the latest match.
pub fn find<'p, T: Recycled>(pool: Pool<'p>, matches: impl Fn(&T) -> bool) -> Option<&'p T> {
    // SAFETY: the data of a cleanup with the handler `recycle::<T>` is a `T`, which lives as long as the
    // pool.
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
    // SAFETY: `data` is a value that `make` has written into an allocation; the pool runs each handler once.
    unsafe {
        ptr::drop_in_place(data.cast::<T>());
        let allocation = data.byte_sub(offset_of!(Allocation<T>, value)).cast::<Allocation<T>>();
        (*allocation).next = spare.first.get();
        spare.first.set(allocation);
    }
}
