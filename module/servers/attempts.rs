//! Attempts to reach servers. While a server is unreachable, one worker tries to connect to it once in each
//! interval: the server is found back without a client's request, or counts as gone in time. The same worker
//! records which addresses have left DNS.

use core::cell::{Cell, RefCell};

use affinity::table::{ServerId, Span};
use nginx_sys::ngx_event_t;

use super::attempt;
use super::upstreams::{drop_addresses, refresh, Upstreams};
use crate::conf;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::{is_exiting, serves_requests, PerWorker, Timer};
use crate::nginx::{self, millis};
use crate::peers::addresses::Address;
use crate::zone::Zone;

/// Longest time between two turns (milliseconds).
const MAX_INTERVAL: u64 = 1000;

/// The attempts of a worker.
struct Attempts {
    /// The place in the list of due servers at which the next turn begins.
    next: Cell<usize>,
    /// When the next turn of each zone is, in milliseconds of nginx's monotonic clock.
    due: RefCell<Vec<u64>>,
}

static ATTEMPTS: PerWorker<Attempts> =
    PerWorker::new(Attempts { next: Cell::new(0), due: RefCell::new(Vec::new()) });

static TIMER: PerWorker<Timer> = PerWorker::new(Timer::new());

/// Copies the addresses and starts the timer, if the configuration has zones. To be called from
/// `init_process`.
pub fn start(cycle: Cycle<'_>) {
    if serves_requests() && !conf::zones(cycle).is_empty() {
        refresh(cycle);
        Timer::start(&TIMER, Some(on_timer), interval(cycle), cycle.log());
    }
}

/// Leaves the attempts to another worker when this one exits. To be called from `exit_process`.
pub fn stop(cycle: Cycle<'_>) {
    if serves_requests() {
        drop_leases(cycle);
    }
}

/// Time between two turns (milliseconds): the shortest of all zones.
fn interval(cycle: Cycle<'_>) -> u64 {
    let intervals = conf::zones(cycle).iter().map(|zone| zone.attempt_interval());
    intervals.min().unwrap_or(MAX_INTERVAL)
}

unsafe extern "C" fn on_timer(_event: *mut ngx_event_t) {
    // With `master_process off` the process outlives the cycle that it has started with.
    Cycle::with_running(turn);
}

fn turn(cycle: Cycle<'_>) {
    let log = cycle.log();
    refresh(cycle);
    drop_addresses(cycle);
    for (number, &zone) in conf::zones(cycle).iter().enumerate() {
        if is_due(number, zone.attempt_interval()) && !is_exiting() {
            look_after(cycle, number, zone);
        }
    }
    if is_exiting() {
        drop_leases(cycle);
    }
    Timer::again(&TIMER, interval(cycle), log);
}

fn drop_leases(cycle: Cycle<'_>) {
    for sessions in conf::zones(cycle).iter().filter_map(|zone| zone.sessions()) {
        sessions.drop_lease(std::process::id());
    }
}

/// Does the turn of a zone, whose index is `number`, if this worker has the lease.
fn look_after(cycle: Cycle<'_>, number: usize, zone: &Zone) {
    /// The length of the lease, in intervals: another worker may take over after that.
    const LEASE: u64 = 3;

    let Some(sessions) = zone.sessions() else { return };
    let lease = Span::from_millis(LEASE * zone.attempt_interval());
    let Some(is_first) = sessions.take_lease(std::process::id(), nginx::now(), lease) else {
        return;
    };
    let upstreams = Upstreams::of(cycle, zone);
    // Most turns need no look. The first one does: another worker may have left work.
    if is_first || sessions.is_troubled() || upstreams.need_a_look() {
        if let Some(due) = upstreams.look(zone, sessions) {
            begin_some(cycle, number, &due, zone.attempt_interval());
        }
    }
}

/// Whether the turn of a zone has come; if so, the next one is `interval` milliseconds later.
fn is_due(number: usize, interval: u64) -> bool {
    let now = millis();
    let mut all = ATTEMPTS.due.borrow_mut();
    let missing = (number + 1).saturating_sub(all.len());
    if all.try_reserve(missing).is_err() {
        return false;
    }
    all.extend((0..missing).map(|_| now));
    // The timer may be a little early or late: an eighth of the interval is allowed.
    match all.get_mut(number) {
        Some(due) if now + interval / 8 >= *due => {
            *due = now + interval;
            true
        }
        _ => false,
    }
}

/// Begins attempts, limited by nginx's free connections; the next turn begins with the others. Each has the
/// time until the next turn.
fn begin_some(cycle: Cycle<'_>, zone: usize, due: &[(ServerId, &Address)], interval: u64) {
    /// Attempts may use one of so many free connections of nginx.
    const SHARE: usize = 4;

    let count = due.len().min(cycle.free_connections() / SHARE);
    let start = if due.is_empty() { 0 } else { ATTEMPTS.next.get() % due.len() };
    for (server, address) in due.iter().cycle().skip(start).take(count) {
        attempt::begin(cycle, zone, *server, address.sockaddr(), interval);
    }
    ATTEMPTS.next.set(start + count);
}
