//! What each worker does beside its requests: keeps sessions alive while a request or stream of
//! theirs is open, and sweeps the zones.
//!
//! Open requests are held in a list of this worker, not counted in shared memory: a worker that
//! dies leaves nothing behind but sessions that begin to be idle.

mod changes;
mod drain;
pub mod in_flight;
mod sweep;

use core::cell::{Cell, RefCell};

use affinity::table::{Span, Tick};
use changes::Changes;
use drain::Drains;
use nginx_sys::{ngx_event_t, ngx_log_t};
use sweep::Sweep;

use crate::conf::zones;
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::{self, serves_requests, PerWorker, Timer};
use crate::zone::Zone;

/// Longest time between two turns (milliseconds).
const MAX_INTERVAL: u64 = 1000;
const MIN_INTERVAL: u64 = 50;
/// Turns in a session's timeout: how often what is in flight is refreshed in it.
const REFRESHES: u64 = 4;
/// Longest time between two refreshes (milliseconds), to stay away from eviction.
const MAX_REFRESH: u64 = 15_000;

struct Worker {
    interval: Cell<u64>,
    refresh: Cell<Span>,
    /// Evictions of all zones that have been seen.
    evicted: Cell<u64>,
    sweep: RefCell<Sweep>,
    drains: RefCell<Drains>,
    changes: RefCell<Changes>,
}

static WORKER: PerWorker<Worker> = PerWorker::new(Worker {
    interval: Cell::new(MAX_INTERVAL),
    refresh: Cell::new(Span(0)),
    evicted: Cell::new(0),
    sweep: RefCell::new(Sweep::NOTHING),
    drains: RefCell::new(Drains::NOTHING),
    changes: RefCell::new(Changes::NOTHING),
});

static TIMER: PerWorker<Timer> = PerWorker::new(Timer::new());
/// The next step of a turn's work, while there is one.
static STEP: PerWorker<Timer> = PerWorker::new(Timer::new());

/// Starts the timer of a worker, if the configuration has zones. It is to be called from `init_process`.
pub fn start(cycle: Cycle<'_>) {
    let shortest = zones(cycle).iter().map(|zone| zone.shortest_timeout()).min();
    let Some(shortest) = shortest.filter(|_| serves_requests()) else { return };
    let refresh = (shortest.as_millis() / REFRESHES).min(MAX_REFRESH);
    WORKER.refresh.set(Span::from_millis(refresh));
    WORKER.interval.set(refresh.clamp(MIN_INTERVAL, MAX_INTERVAL));
    Timer::start(&TIMER, Some(turn), WORKER.interval.get(), cycle.log());
}

unsafe extern "C" fn turn(_event: *mut ngx_event_t) {
    let now = nginx::now();
    // A process that is its own master outlives the cycle that it has started with.
    let cycle = Cycle::running();
    let zones = zones(cycle);
    // What is left of the last turn goes first.
    WORKER.sweep.borrow_mut().again(zones);
    WORKER.drains.borrow_mut().again();
    WORKER.changes.borrow_mut().again(zones);
    work(cycle);
    let evicted = zones.iter().map(|zone| evictions(zone, now, cycle.log())).sum();
    // A full zone evicts what is idle: what is open must not be among it.
    let pressed = WORKER.evicted.replace(evicted) != evicted;
    let every = if pressed { Span::from_millis(1) } else { WORKER.refresh.get() };
    in_flight::refresh(now, every);
    Timer::again(&TIMER, WORKER.interval.get(), cycle.log());
}

/// Evictions of a zone, which are reported now and then.
fn evictions(zone: &Zone, now: Tick, log: *mut ngx_log_t) -> u64 {
    zone.sessions().map_or(0, |sessions| {
        let evicted = sessions.table.stats().evicted;
        zone.report_evictions(log, now, evicted);
        evicted
    })
}

unsafe extern "C" fn step(_event: *mut ngx_event_t) {
    work(Cycle::running());
}

/// Does a step of the turn's work; the next one follows when nginx has handled its events.
fn work(cycle: Cycle<'_>) {
    let (now, zones) = (nginx::now(), zones(cycle));
    let sweeps = WORKER.sweep.borrow_mut().step(zones, now, WORKER.interval.get());
    // The first worker is enough.
    let more = per_worker::number() == 0
        && (WORKER.drains.borrow_mut().step(zones, now)
            | WORKER.changes.borrow_mut().step(zones, now));
    if more || sweeps {
        Timer::post(&STEP, Some(step), cycle.log());
    }
}
