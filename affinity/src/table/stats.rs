//! What the table has counted.

use super::handle::Table;
use super::key::Key;
use super::memory::place::Place;
use super::sync::{AtomicU64, Ordering};

/// Statistics of a table since its creation. When nobody writes, `created` is the sum of `live`,
/// `expired`, `evicted` and `forgotten`, whoever died in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions that fit in.
    pub capacity: u64,
    /// Sessions now, with those that have expired but not been removed yet.
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
    /// Sessions removed before their time, for want of room.
    pub evicted: u64,
    /// Sessions removed by `forget` and `forget_server`.
    pub forgotten: u64,
    /// Processes that died in the middle of a change, which was then finished by another one.
    pub deaths: u64,
}

impl Table {
    /// Counts a request whose id has no session here.
    pub fn count_unknown(&self, key: Key) {
        if let Some(shard) =
            self.region.shards().get(Place::shard(&self.region, key.fingerprint()) as usize)
        {
            shard.unknown.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Statistics of the table. Costs a pass over the server list, none over the sessions.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { capacity: self.region.capacity(), ..Stats::default() };
        // The memory may be damaged: no sum may overflow.
        for shard in self.region.shards() {
            let [created, expired, evicted, forgotten, moved, _] = &shard.totals;
            let add = |sum: &mut u64, counter: &AtomicU64| {
                *sum = sum.wrapping_add(counter.load(Ordering::Acquire));
            };
            add(&mut stats.expired, expired);
            add(&mut stats.evicted, evicted);
            add(&mut stats.forgotten, forgotten);
            add(&mut stats.moved, moved);
            // Last: a session created and removed meanwhile does not count as removed only.
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
