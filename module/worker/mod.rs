//! What each worker does beside its requests: keeps sessions alive while a request or stream of
//! theirs is open, and sweeps the zones.
//!
//! Open requests are held in a list of this worker, not counted in shared memory: a worker that
//! dies leaves nothing behind but sessions that begin to be idle.

mod changes;
mod drain;
pub mod in_flight;

use crate::conf::zones;
use crate::nginx::{self, OK};
use crate::worker::changes::Changes;
use crate::worker::drain::Drains;
use crate::zone::Zone;
use affinity::table::{Span, Tick};
use core::cell::UnsafeCell;
use core::mem;
use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_event_t, ngx_int_t, ngx_log_t,
    ngx_msec_t, ngx_posted_next_events, ngx_process, ngx_queue_insert_before, ngx_worker,
    NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};

/// Longest time between two turns (milliseconds).
const MAX_INTERVAL: u64 = 1000;

const MIN_INTERVAL: u64 = 50;

/// A worker passes over a whole zone in this part of the sessions' timeout, within these bounds
/// (milliseconds). Lookups do not wait for it: they see for themselves what has expired.
const SWEEPS: u64 = 4;

const MIN_SWEEP: u64 = 60_000;

const MAX_SWEEP: u64 = 600_000;

/// Turns in a session's timeout: how often what is in flight is refreshed in it.
const REFRESHES: u64 = 4;

/// Longest time between two refreshes (milliseconds), to stay away from eviction.
const MAX_REFRESH: u64 = 15_000;

/// Slots that are worked on before requests have their turn again: a twentieth of a millisecond if
/// all sessions in them go.
pub(super) const STEP: usize = 240;

struct Worker {
    timer: ngx_event_t,
    /// The next step of a turn's work, while there is one.
    step: ngx_event_t,
    /// Number of the zone that is being swept.
    zone: usize,
    /// Slots of it that have been seen in this turn.
    swept: usize,
    /// nginx's debug log wants a connection to every timer.
    connection: ngx_connection_t,
    interval: ngx_msec_t,
    refresh: Span,
    /// Evictions of all zones that have been seen.
    evicted: u64,
    drains: Drains,
    changes: Changes,
}

struct Local(UnsafeCell<mem::MaybeUninit<Worker>>);

// SAFETY: nginx runs its event loop, and all that is called from it, in one thread.
unsafe impl Sync for Local {}

static WORKER: Local = Local(UnsafeCell::new(mem::MaybeUninit::zeroed()));

/// # Safety
/// Called from nginx's event loop thread; references must not overlap.
unsafe fn worker<'a>() -> &'a mut Worker {
    // SAFETY: all zeroes is a value of each field.
    unsafe { (*WORKER.0.get()).assume_init_mut() }
}

/// Starts the timer of a worker, if the configuration has zones.
///
/// # Safety
/// Called from `init_process`.
pub unsafe fn start(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: by this function's contract.
    unsafe {
        let worker = worker();
        in_flight::begin();
        let process = ngx_process as u32;
        if process != NGX_PROCESS_WORKER && process != NGX_PROCESS_SINGLE {
            return OK;
        }
        let zones = zones(cycle);
        let Some(shortest) = zones.iter().map(|&z| (*z).shortest_timeout()).min() else {
            return OK;
        };
        let refresh = (shortest.as_millis() / REFRESHES).min(MAX_REFRESH);
        worker.refresh = Span::from_millis(refresh);
        worker.interval = refresh.clamp(MIN_INTERVAL, MAX_INTERVAL) as ngx_msec_t;
        worker.connection.fd = -1;
        worker.timer.data = (&raw mut worker.connection).cast();
        worker.timer.log = (*cycle).log;
        worker.timer.handler = Some(turn);
        worker.timer.set_cancelable(1);
        worker.step.log = (*cycle).log;
        worker.step.handler = Some(step);
        ngx_add_timer(&mut worker.timer, worker.interval);
    }
    OK
}

unsafe extern "C" fn turn(event: *mut ngx_event_t) {
    // SAFETY: nginx calls with the timer that `start` set.
    unsafe {
        let now = nginx::now();
        let interval = worker().interval;
        // A process that is its own master outlives the cycle that it has started with.
        (*event).log = (*ngx_cycle).log;
        worker().step.log = (*ngx_cycle).log;
        let zones = zones(ngx_cycle);
        // What is left of the last turn goes first.
        if worker().zone >= zones.len() {
            worker().zone = 0;
        }
        worker().drains.again();
        worker().changes.again(zones);
        step(&raw mut worker().step);
        let evicted = zones.iter().map(|&zone| evictions(&*zone, now, (*event).log)).sum();
        // A full zone evicts what is idle: what is open must not be among it.
        let pressed = mem::replace(&mut worker().evicted, evicted) != evicted;
        let every = if pressed { Span::from_millis(1) } else { worker().refresh };
        in_flight::refresh(now, every);
        ngx_add_timer(event, interval);
    }
}

/// Evictions of a zone, which are reported now and then.
fn evictions(zone: &Zone, now: Tick, log: *mut ngx_log_t) -> u64 {
    zone.sessions().map_or(0, |sessions| {
        let evicted = sessions.table.stats().evicted;
        zone.report_evictions(log, now, evicted);
        evicted
    })
}

/// Does a step of the turn's work, and has the next one done when requests have had their turn.
unsafe extern "C" fn step(event: *mut ngx_event_t) {
    // SAFETY: called in the event loop, with the worker's own event, of a live cycle.
    unsafe {
        let now = nginx::now();
        let zones = zones(ngx_cycle);
        let worker = worker();
        worker.sweep(zones, now);
        // The first worker is enough.
        let more =
            ngx_worker == 0 && (worker.drains.step(zones, now) | worker.changes.step(zones, now));
        if more || worker.zone < zones.len() {
            post_next(&mut *event);
        }
    }
}

impl Worker {
    /// Sweeps some slots of a zone; goes on to the next one when this one has had its share.
    ///
    /// # Safety
    /// The zones are those of a live cycle.
    unsafe fn sweep(&mut self, zones: &[*mut Zone], now: Tick) {
        let Some(&zone) = zones.get(self.zone) else { return };
        // SAFETY: by this function's contract.
        let zone = unsafe { &*zone };
        let from = self.swept;
        self.swept += STEP;
        let share = zone.sessions().map_or(0, |sessions| {
            let pass = (zone.limits().timeout.as_millis() / SWEEPS).clamp(MIN_SWEEP, MAX_SWEEP);
            let share = (sessions.table.capacity() * self.interval as u64 / pass) as usize + 1;
            sessions.table.sweep(now, zone.limits(), STEP.min(share.saturating_sub(from)));
            share
        });
        if self.swept >= share {
            self.zone += 1;
            self.swept = 0;
        }
    }
}

/// Has an event handled in the next round of the event loop, as `ngx_post_event` does.
///
/// # Safety
/// Called in the event loop; the event lives as long as the process.
unsafe fn post_next(event: &mut ngx_event_t) {
    if event.posted() == 0 {
        event.set_posted(1);
        // SAFETY: nginx has made the queue; who is not posted is in no queue.
        unsafe { ngx_queue_insert_before(&raw mut ngx_posted_next_events, &mut event.queue) };
    }
}
