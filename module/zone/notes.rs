//! What all workers note beside the table: counters, flags, the lease on attempts.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use affinity::mcp::SharedTargets;
use affinity::status::Tally;
use affinity::table::{Flag, Span, Tick};

/// Marks a region of ours; the last byte is the version of this layout.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"sticky\0\x04");

/// Sets of counters. A worker has one of its own unless there are more workers than that.
pub(super) const TALLIES: usize = 8;

/// What all workers note beside the table.
#[repr(C, align(128))]
pub(super) struct Notes {
    pub(super) magic: AtomicU64,
    /// Length of the table's region in bytes.
    pub(super) table_len: AtomicU64,
    /// Evictions that the log has told of, and when.
    pub(super) reported: AtomicU64,
    pub(super) reported_at: AtomicU32,
    /// Set while a server of the zone drains.
    pub(super) draining: Flag,
    /// Set while something is known of a server that requests must heed.
    pub(super) troubled: Flag,
    /// Which worker makes the attempts to reach servers: its process in the upper half, and until
    /// when.
    pub(super) lease: AtomicU64,
    /// When the log has told of a server without a place in the list.
    pub(super) full_list_at: AtomicU32,
    /// Targets of streams that are the same for all. A zone with new memory finds them out again.
    pub(super) shared_targets: SharedTargets,
    /// What became of requests.
    pub(super) tallies: [Counters; TALLIES],
}

/// A [`Tally`] that shares its cache lines with nothing.
#[repr(C, align(128))]
pub(super) struct Counters(pub(super) [AtomicU64; Tally::LEN]);

/// How often the log tells of evictions, and of a full list of servers (milliseconds).
pub(super) const REPORT_EVERY: u64 = 60_000;

/// Whether a report is due, of which `at` notes the last; true for one worker each time.
pub(super) fn is_time_to_report(at: &AtomicU32, now: Tick) -> bool {
    let last = at.load(Ordering::Relaxed);
    now.since(Tick(last)) >= Span::from_millis(REPORT_EVERY)
        && at.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}
