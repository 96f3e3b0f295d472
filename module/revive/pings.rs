//! How many pings a worker asks at once: after a restart all sessions of a server may need one.

use core::cell::Cell;

use crate::nginx::per_worker::PerWorker;

const MOST: usize = 50;

/// How many are open.
static OPEN: PerWorker<Cell<usize>> = PerWorker::new(Cell::new(0));

/// Whether another one may begin.
pub(super) fn may_begin() -> bool {
    OPEN.get() < MOST
}

pub(super) fn begin() {
    OPEN.set(OPEN.get() + 1);
}

pub(super) fn end() {
    OPEN.set(OPEN.get().saturating_sub(1));
}
