//! Whether the body filter has anything to do.

use core::cell::Cell;

use crate::nginx::per_worker::PerWorker;

/// How many requests of this worker have had an answer held, or have one read.
static COUNT: PerWorker<Cell<usize>> = PerWorker::new(Cell::new(0));

/// Counts a request until it ends.
pub(super) struct Active(());

impl Active {
    pub(super) fn new() -> Active {
        COUNT.set(COUNT.get() + 1);
        Active(())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        COUNT.set(COUNT.get().saturating_sub(1));
    }
}

#[inline(always)]
pub(super) fn is_any() -> bool {
    COUNT.get() > 0
}
