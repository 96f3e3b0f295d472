//! Statics of a worker.

use core::ops::Deref;

/// A static that only this process's event loop uses. What changes in it is a `Cell` or a `RefCell`.
pub struct PerWorker<T>(T);

// SAFETY: nginx calls this module in one thread of each process: that of the event loop. Its thread pools
// run tasks of nginx's own files only.
unsafe impl<T> Sync for PerWorker<T> {}

impl<T> PerWorker<T> {
    pub const fn new(value: T) -> PerWorker<T> {
        PerWorker(value)
    }
}

impl<T> Deref for PerWorker<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}
