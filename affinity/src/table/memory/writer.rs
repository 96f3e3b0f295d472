//! Changes of one shard, made by the holder of its lock.

use super::bucket::Bucket;
use super::entry::{Entry, Meta};
use super::journal::{Action, JournalRecord, Memory};
use super::layout::{count_index, Counter, Shard};
use super::lock::{Guard, Locked};
use super::place::{are_pair, Place, PAIRS};
use super::region::Region;
use super::summary::{Summary, SLOTS};
use crate::table::listen::change::{Change, End};
use crate::table::listen::ring::Ring;
use crate::table::sync::Ordering;

/// Where a session lives: bucket of the whole table, and slot in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) bucket: u32,
    pub(crate) slot: u32,
}

/// The lock of a shard, which allows to change what it guards.
pub(crate) struct Writer<'a> {
    region: &'a Region,
    shard: &'a Shard,
    memory: Memory<'a>,
    _guard: Guard<'a>,
}

impl<'a> Writer<'a> {
    /// Waits for the lock of a shard and finishes the change of a dead owner. None if the lock
    /// is broken or there is no such shard.
    pub(crate) fn lock(region: &'a Region, index: usize) -> Option<Writer<'a>> {
        let shard = region.shards().get(index)?;
        let memory = Memory {
            buckets: region.buckets(),
            totals: &shard.totals,
            counts: region.counts(index),
        };
        let guard = match shard.lock.lock() {
            Locked::Clean(guard) => guard,
            Locked::OwnerDied(guard) => {
                shard.journal.recover(memory);
                shard.deaths.fetch_add(1, Ordering::Relaxed);
                guard.consistent();
                guard
            }
            Locked::Failed => return None,
        };
        Some(Writer { region, shard, memory, _guard: guard })
    }

    /// Finishes the change of an owner that has left no trace in the lock.
    pub(crate) fn recover(&self) {
        if self.shard.journal.recover(self.memory) {
            self.shard.deaths.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where the session of `place` lives, expired or not.
    pub(crate) fn find(&self, place: &Place) -> Option<(Position, Entry)> {
        // The hint does not change under the lock.
        let away = self.summary(place.home)?.may_be_elsewhere(place.fingerprint);
        place.pairs().take(if away { PAIRS } else { 1 }).flatten().find_map(|index| {
            let bucket = self.bucket(index)?;
            let slot = bucket.position(place.fingerprint)?;
            let entry = bucket.slot(slot)?.entry(place.fingerprint);
            Some((Position { bucket: index, slot: slot as u32 }, entry))
        })
    }

    /// The entry at `position`.
    pub(crate) fn entry(&self, position: Position) -> Option<Entry> {
        let slot = self.bucket(position.bucket)?.slot(position.slot as usize)?;
        let fingerprint = slot.fingerprint();
        (fingerprint != 0).then(|| slot.entry(fingerprint))
    }

    /// A free slot for the session of `place`: in its home bucket up to `HOME_LOAD`, then in the home's
    /// pair up to `PAIR_LOAD`, then in the pair that has most free slots.
    pub(crate) fn free(&self, place: &Place) -> Option<Position> {
        /// Up to these loads a home bucket, and the pair of it and its neighbour, take sessions for any
        /// load of the others. So at the table's nominal load 19 of 20 sessions are in the pair of
        /// their home, and no large table evicts before 85 % of its slots are in use (simulated;
        /// tests check the nominal load and more).
        const HOME_LOAD: usize = 5;
        const PAIR_LOAD: usize = 11;
        let load = |bucket: u32| Some(self.summary(bucket)?.load());
        let loads = |[one, other]: [u32; 2]| Some([(load(one)?, one), (load(other)?, other)]);
        let sum = |[(one, _), (other, _)]: [(usize, u32); 2]| one + other;

        let mut pairs = place.pairs();
        let mut best = loads(pairs.next()?)?;
        let [(home, _), _] = best;
        if home >= HOME_LOAD && sum(best) >= PAIR_LOAD {
            for pair in pairs {
                let pair = loads(pair)?;
                if sum(pair) < sum(best) {
                    best = pair;
                }
            }
        }
        let [one, other] = best;
        let at_home = one.1 == place.home && one.0 < HOME_LOAD;
        let (_, bucket) = if at_home || one.0 <= other.0 { one } else { other };
        let slot = self.bucket(bucket)?.free(place.fingerprint)?;
        Some(Position { bucket, slot: slot as u32 })
    }

    /// Sessions in the first three pairs of buckets that the session of `place` may live in.
    pub(crate) fn neighbours<'p>(
        &'p self,
        place: &'p Place,
    ) -> impl Iterator<Item = (Position, Entry)> + 'p {
        place.pairs().take(3).flatten().flat_map(move |bucket| {
            (0..SLOTS as u32).filter_map(move |slot| {
                let position = Position { bucket, slot };
                Some((position, self.entry(position)?))
            })
        })
    }

    /// Adds a session in a free slot among the buckets of `place`.
    pub(crate) fn insert(&self, place: &Place, position: Position, entry: Entry) -> Option<()> {
        let displaced = match place.is_with_home(position.bucket) {
            true => None,
            false => {
                let summary = self.summary(place.home)?.with_displaced(place.fingerprint);
                Some((place.home, summary))
            }
        };
        let server = entry.meta.server();
        self.note(entry.fingerprint, Change::Bound);
        self.commit(JournalRecord {
            action: Action::Insert,
            bucket: position.bucket,
            slot: position.slot,
            version: 0,
            summary: self.summary(position.bucket)?.with(position.slot, place.fingerprint),
            home: displaced,
            entry,
            total: self.total(Counter::Created),
            counts: [self.count(server, Counter::Created), None],
        });
        Some(())
    }

    /// Removes a session and counts its end. A tombstone has been counted before.
    pub(crate) fn remove(&self, position: Position, entry: Entry, end: End) -> Option<()> {
        let home = Place::home(self.region, entry.fingerprint);
        let displaced = match are_pair(home, position.bucket) {
            true => None,
            false => Some((home, self.summary(home)?.without_displaced())),
        };
        let (total, count) = match entry.meta.is_tombstone() {
            true => (None, None),
            false => {
                self.note(entry.fingerprint, Change::Ended(end));
                let counter = counter_of(end);
                (self.total(counter), self.count(entry.meta.server(), counter))
            }
        };
        self.commit(JournalRecord {
            action: Action::Remove,
            bucket: position.bucket,
            slot: position.slot,
            version: self.next_version(position)?,
            summary: self.summary(position.bucket)?.without(position.slot),
            home: displaced,
            entry,
            total,
            counts: [count, None],
        });
        Some(())
    }

    /// Ends a session before its time. In a superseded table, a tombstone stays.
    pub(crate) fn forget(&self, position: Position, entry: Entry, end: End) -> Option<()> {
        if !self.is_superseded() {
            return self.remove(position, entry, end);
        }
        self.note(entry.fingerprint, Change::Ended(end));
        let counts = [self.count(entry.meta.server(), Counter::Forgotten), None];
        let total = self.total(Counter::Forgotten);
        self.set_meta(position, entry, entry.meta.tombstone(end), total, counts)
    }

    /// Gives a session another server or time to live. In a superseded table, a session that moves is
    /// marked.
    pub(crate) fn rebind(&self, position: Position, entry: Entry, meta: Meta) -> Option<()> {
        let (from, to) = (entry.meta.server(), meta.server());
        let moves = from != to;
        let (total, counts) = match moves {
            true => (
                self.total(Counter::MovedIn),
                [self.count(from, Counter::MovedOut), self.count(to, Counter::MovedIn)],
            ),
            false => (None, [None, None]),
        };
        self.note(entry.fingerprint, if moves { Change::Moved } else { Change::Bound });
        let is_moved = entry.meta.is_moved() || moves && self.is_superseded();
        self.set_meta(position, entry, meta.with_moved(is_moved), total, counts)
    }

    /// Puts a session in place of its tombstone. In a superseded table it is marked as moved: a
    /// successor may have the former session.
    pub(crate) fn replace(&self, position: Position, entry: Entry) -> Option<()> {
        let meta = entry.meta.with_moved(self.is_superseded());
        self.note(entry.fingerprint, Change::Bound);
        self.commit(JournalRecord {
            action: Action::Replace,
            bucket: position.bucket,
            slot: position.slot,
            version: self.next_version(position)?,
            summary: Summary(0),
            home: None,
            entry: Entry { meta, ..entry },
            total: self.total(Counter::Created),
            counts: [self.count(meta.server(), Counter::Created), None],
        });
        Some(())
    }

    /// The successors have repeated the change: removes a tombstone, or takes the mark off.
    pub(crate) fn settle(&self, position: Position, entry: Entry) -> Option<()> {
        match entry.meta.is_tombstone() {
            true => self.remove(position, entry, End::Forgotten),
            false => {
                let meta = entry.meta.with_moved(false);
                self.set_meta(position, entry, meta, None, [None, None])
            }
        }
    }

    fn set_meta(
        &self,
        position: Position,
        entry: Entry,
        meta: Meta,
        total: Option<(u32, u64)>,
        counts: [Option<(u32, u32)>; 2],
    ) -> Option<()> {
        self.commit(JournalRecord {
            action: Action::Rebind,
            bucket: position.bucket,
            slot: position.slot,
            version: self.next_version(position)?,
            summary: Summary(0),
            home: None,
            entry: Entry { meta, ..entry },
            total,
            counts,
        });
        Some(())
    }

    /// Notes whether the shard belongs to a superseded table.
    pub(crate) fn set_superseded(&self, superseded: bool) {
        self.shard.superseded.store(superseded.into(), Ordering::Relaxed);
    }

    fn is_superseded(&self) -> bool {
        self.shard.superseded.load(Ordering::Relaxed) != 0
    }

    /// Notes a change that is about to be made, if anybody listens.
    #[inline]
    fn note(&self, fingerprint: u64, change: Change) {
        if self.shard.ring.is_heard() {
            self.note_heard(fingerprint, change);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_heard(&self, fingerprint: u64, change: Change) {
        let number = Place::shard(self.region, fingerprint) as usize;
        let ring = Ring { head: &self.shard.ring, notes: self.region.notes(number) };
        ring.note(fingerprint, change);
    }

    fn commit(&self, mut change: JournalRecord) {
        change.entry.meta = change.entry.meta.sealed(change.entry.fingerprint);
        self.shard.journal.commit(&change, self.memory);
    }

    fn bucket(&self, index: u32) -> Option<Bucket<'a>> {
        self.memory.buckets.get(index)
    }

    fn summary(&self, bucket: u32) -> Option<Summary> {
        Some(self.bucket(bucket)?.summary(Ordering::Relaxed))
    }

    fn next_version(&self, position: Position) -> Option<u32> {
        let slot = self.bucket(position.bucket)?.slot(position.slot as usize)?;
        Some(slot.version(Ordering::Relaxed).wrapping_add(1))
    }

    /// The index of the shard's counter, and its next value.
    fn total(&self, counter: Counter) -> Option<(u32, u64)> {
        let index = counter as u32;
        let value = self.memory.totals.get(index as usize)?.load(Ordering::Relaxed);
        Some((index, value.wrapping_add(1)))
    }

    /// The index of the server's counter, and its next value.
    fn count(&self, server: u16, counter: Counter) -> Option<(u32, u32)> {
        let index = count_index(server, counter);
        let value = self.memory.counts.get(index as usize)?.load(Ordering::Relaxed);
        Some((index, value.wrapping_add(1)))
    }
}

/// The counter that counts an end.
fn counter_of(end: End) -> Counter {
    match end {
        End::Expired => Counter::Expired,
        End::Evicted => Counter::Evicted,
        _ => Counter::Forgotten,
    }
}
