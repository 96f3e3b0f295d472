//! The atomics of the table: the processor's, or loom's where interleavings are checked.

pub mod flag;

#[cfg(loom)]
pub(crate) use super::loom::mortal::{fence, AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};

/// Waits a moment for another thread: by the processor's hint, or by loom's scheduler.
#[inline]
pub(crate) fn pause() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
