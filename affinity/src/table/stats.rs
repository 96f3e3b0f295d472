//! The statistics of a table.

use super::handle::Table;
use super::key::Key;
use super::memory::place::Place;
use super::sync::{AtomicU64, Ordering};
use crate::time::{Span, Tick};

/// Statistics of a table since its creation. While no process writes, `created` is the sum of `live`,
/// `expired`, `evicted` and `forgotten`, also after the death of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Slots for sessions.
    pub capacity: u64,
    /// Sessions now, including those that have expired but have not been removed yet.
    pub live: u64,
    /// Calls of `count_hit`.
    pub hits: u64,
    /// Calls of `count_unknown`.
    pub unknown: u64,
    /// Sessions created.
    pub created: u64,
    /// Sessions moved to another server.
    pub moved: u64,
    /// Sessions removed at the end of their time.
    pub expired: u64,
    /// Sessions removed before the end of their time to make room.
    pub evicted: u64,
    /// Sessions removed by `forget` and `forget_server`.
    pub forgotten: u64,
    /// Processes that died in the middle of a change. Another process then finished the change.
    pub deaths: u64,
}

impl Table {
    /// Counts a request whose id has no session in this table.
    pub fn count_unknown(&self, key: Key) {
        if let Some(shard) =
            self.region.shards().get(Place::shard(&self.region, key.fingerprint()) as usize)
        {
            shard.unknown.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The time since the oldest session began; none without sessions. Costs a pass over the sessions.
    pub fn oldest(&self, now: Tick) -> Option<Span> {
        let slots = self.region.buckets().iter().flat_map(|bucket| bucket.slots());
        let sessions = slots.filter_map(|slot| {
            let entry = slot.entry(Some(slot.fingerprint()).filter(|&it| it != 0)?);
            (!entry.meta.is_tombstone()).then(|| now.since(entry.created))
        });
        sessions.max()
    }

    /// Statistics of the table. Costs a pass over the server list, none over the sessions.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { capacity: self.region.capacity(), ..Stats::default() };
        // Sums wrap: the memory may be damaged.
        for shard in self.region.shards() {
            let [created, expired, evicted, forgotten, moved, _] = &shard.totals;
            let add = |sum: &mut u64, counter: &AtomicU64| {
                *sum = sum.wrapping_add(counter.load(Ordering::Acquire));
            };
            add(&mut stats.expired, expired);
            add(&mut stats.evicted, evicted);
            add(&mut stats.forgotten, forgotten);
            add(&mut stats.moved, moved);
            // Read last: a session that is created and removed meanwhile is not counted as removed only.
            add(&mut stats.created, created);
            add(&mut stats.unknown, &shard.unknown.0);
            add(&mut stats.deaths, &shard.deaths);
        }
        let gone = stats.expired.wrapping_add(stats.evicted).wrapping_add(stats.forgotten);
        stats.live = stats.created.saturating_sub(gone);
        stats.hits = self.region.header().retired_hits.load(Ordering::Relaxed);
        for hits in self.region.hits() {
            stats.hits = stats.hits.wrapping_add(hits.load(Ordering::Relaxed));
        }
        stats
    }
}
