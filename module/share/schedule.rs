//! When a worker's next turn for its stores is.

use core::cell::Cell;

use nginx_sys::ngx_event_handler_pt;

use crate::nginx::cycle::Cycle;
use crate::nginx::millis;
use crate::nginx::per_worker::{PerWorker, Timer};

struct Schedule {
    handler: Cell<ngx_event_handler_pt>,
    /// When the next turn is.
    next: Cell<u64>,
}

static SCHEDULE: PerWorker<Schedule> =
    PerWorker::new(Schedule { handler: Cell::new(None), next: Cell::new(u64::MAX) });

static TIMER: PerWorker<Timer> = PerWorker::new(Timer::new());

/// `handler` does the turns. Its event has no data.
pub(super) fn start(handler: ngx_event_handler_pt) {
    SCHEDULE.handler.set(handler);
}

/// A turn has begun: [`by`] says when the next one is.
pub(super) fn begin() {
    SCHEDULE.next.set(u64::MAX);
}

/// Has a turn at this time, or earlier. Nothing happens before [`start`].
pub(super) fn by(at: u64) {
    if at < SCHEDULE.next.get() && SCHEDULE.handler.get().is_some() {
        SCHEDULE.next.set(at);
        Timer::stop(&TIMER);
        let interval = at.saturating_sub(millis()).max(1);
        Timer::start(&TIMER, SCHEDULE.handler.get(), interval, Cycle::running_log());
    }
}
