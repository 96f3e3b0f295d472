//! The atomics of the table: the processor's, or loom's when the interleavings are checked.

pub mod flag;

#[cfg(loom)]
pub(crate) use super::loom::mortal::{fence, AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};

/// Tells the processor, or loom's scheduler, that another thread has to move on first.
#[inline]
pub(crate) fn pause() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
