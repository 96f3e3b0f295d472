//! The periodic work of each worker: refreshes the sessions of open requests and streams, and sweeps the
//! zones.
//!
//! Open requests are in a list of this worker, and are not counted in shared memory: when a worker dies, the
//! idle time of its sessions begins, and nothing else is left behind.

mod changes;
mod drain;
pub mod in_flight;
mod records;
mod stored;
mod sweep;

use core::cell::{Cell, RefCell};

use affinity::table::{Span, Tick};
use changes::Changes;
use drain::Drains;
use nginx_sys::{ngx_event_t, ngx_log_t};
use records::Records;
use sweep::Sweep;

use crate::conf::zones;
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::{self, serves_requests, PerWorker, Timer};
use crate::zone::Zone;

/// The longest and the shortest time between two turns (milliseconds).
const MAX_INTERVAL: u64 = 1000;
const MIN_INTERVAL: u64 = 50;
/// How often the session of an open request is refreshed within its timeout.
const REFRESHES: u64 = 4;
/// The longest time between two refreshes (milliseconds): an old session would be evicted from a full zone.
const MAX_REFRESH: u64 = 15_000;

struct Worker {
    interval: Cell<u64>,
    refresh: Cell<Span>,
    /// The evictions of all zones at the last turn.
    evicted: Cell<u64>,
    sweep: RefCell<Sweep>,
    drains: RefCell<Drains>,
    changes: RefCell<Changes>,
    records: RefCell<Records>,
}

static WORKER: PerWorker<Worker> = PerWorker::new(Worker {
    interval: Cell::new(MAX_INTERVAL),
    refresh: Cell::new(Span(0)),
    evicted: Cell::new(0),
    sweep: RefCell::new(Sweep::NOTHING),
    drains: RefCell::new(Drains::NOTHING),
    changes: RefCell::new(Changes::NOTHING),
    records: RefCell::new(Records::NOTHING),
});

static TIMER: PerWorker<Timer> = PerWorker::new(Timer::new());
/// The next step of a turn's work, posted while there is more to do.
static STEP: PerWorker<Timer> = PerWorker::new(Timer::new());

/// Starts the timer of a worker, if the configuration has zones. To be called from `init_process`.
pub fn start(cycle: Cycle<'_>) {
    stored::start(cycle);
    let shortest = zones(cycle).iter().map(|zone| zone.shortest_timeout()).min();
    let Some(shortest) = shortest.filter(|_| serves_requests()) else { return };
    let refresh = (shortest.as_millis() / REFRESHES).min(MAX_REFRESH);
    WORKER.refresh.set(Span::from_millis(refresh));
    WORKER.interval.set(refresh.clamp(MIN_INTERVAL, MAX_INTERVAL));
    Timer::start(&TIMER, Some(on_timer), WORKER.interval.get(), cycle.log());
}

unsafe extern "C" fn on_timer(_event: *mut ngx_event_t) {
    // With `master_process off` the process outlives the cycle that it has started with.
    Cycle::with_running(turn);
}

fn turn(cycle: Cycle<'_>) {
    let (now, zones) = (nginx::now(), zones(cycle));
    if per_worker::number() == 0 {
        stored::note_clock(zones);
    }
    WORKER.sweep.borrow_mut().again(zones);
    WORKER.drains.borrow_mut().again();
    WORKER.changes.borrow_mut().again(zones);
    WORKER.records.borrow_mut().again();
    work(cycle);
    let evicted = zones.iter().map(|zone| evictions(zone, now, cycle.log())).sum();
    // A full zone evicts old sessions: those of open requests are refreshed at once.
    let pressed = WORKER.evicted.replace(evicted) != evicted;
    let every = if pressed { Span::from_millis(1) } else { WORKER.refresh.get() };
    in_flight::refresh(now, every);
    Timer::again(&TIMER, WORKER.interval.get(), cycle.log());
}

/// The evictions of a zone; also reports them.
fn evictions(zone: &Zone, now: Tick, log: *mut ngx_log_t) -> u64 {
    zone.sessions().map_or(0, |sessions| {
        let evicted = sessions.table.stats().evicted;
        zone.report_evictions(log, now, evicted);
        evicted
    })
}

unsafe extern "C" fn step(_event: *mut ngx_event_t) {
    Cycle::with_running(work);
}

/// Does one step of the turn's work. The next step follows in the next round of the event loop.
fn work(cycle: Cycle<'_>) {
    let (now, zones) = (nginx::now(), zones(cycle));
    let sweeps = WORKER.sweep.borrow_mut().step(zones, now, WORKER.interval.get());
    // Only the first worker does these three.
    let more = per_worker::number() == 0
        && (WORKER.drains.borrow_mut().step(zones, now)
            | WORKER.changes.borrow_mut().step(zones, now)
            | WORKER.records.borrow_mut().step(zones, WORKER.interval.get()));
    if more || sweeps {
        Timer::post(&STEP, Some(step), cycle.log());
    }
}
