//! The data that all workers share besides the table: counters, flags, the lease on attempts.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use affinity::mcp::SharedTargets;
use affinity::status::Tally;
use affinity::table::{Flag, Span, Tick};

/// The version of the layout of [`Notes`].
pub(super) const LAYOUT: u64 = 5;

/// The number of sets of counters. Workers share a set only if there are more workers than sets.
pub(super) const TALLIES: usize = 8;

/// The data that all workers share besides the table.
#[repr(C, align(128))]
pub(super) struct Notes {
    /// The number of evictions that have been logged, and the time of the last report.
    pub(super) reported: AtomicU64,
    pub(super) reported_at: AtomicU32,
    /// Set while a server of the zone drains.
    pub(super) draining: Flag,
    /// Set while there is evidence against a server.
    pub(super) troubled: Flag,
    /// The lease on attempts: the worker's process id in the upper half, the end of the lease in the lower
    /// half.
    pub(super) lease: AtomicU64,
    /// The time of the last report of a full list of servers.
    pub(super) full_list_at: AtomicU32,
    /// The targets of streams that several servers announce. They are not copied to new memory.
    pub(super) shared_targets: SharedTargets,
    /// The counters of requests.
    pub(super) tallies: [Counters; TALLIES],
}

/// A [`Tally`] in cache lines of its own.
#[repr(C, align(128))]
pub(super) struct Counters(pub(super) [AtomicU64; Tally::LEN]);

/// The shortest time between two reports of evictions, or of a full list of servers (milliseconds).
pub(super) const REPORT_EVERY: u64 = 60_000;

/// Whether a report is due; `at` is the time of the last one. True for one worker each time.
pub(super) fn is_time_to_report(at: &AtomicU32, now: Tick) -> bool {
    let last = at.load(Ordering::Relaxed);
    now.since(Tick(last)) >= Span::from_millis(REPORT_EVERY)
        && at.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}
