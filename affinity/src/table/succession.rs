//! How the end or the move of a session in a superseded table reaches its successors.
//!
//! A reload that changes the size of a zone gives it a new table, the successor, with a copy of the
//! sessions. Old workers go on with the old table until their last stream has ended. They do not see the
//! new table; new workers see both. So the old table notes the changes that its successors have to
//! repeat:
//! - `forget` leaves a tombstone in the session's slot. No reader finds it, and it does not count as
//!   a session.
//! - `bind` marks a session that it moves.
//!
//! Both are one change each, written into the journal like any other. Two counters of the shard are
//! part of these changes: sessions forgotten, and sessions moved. Their sum is compared with
//! `handed_on` before a session is looked up or bound in the successor ([`Table::is_ahead`]).
//!
//! [`Table::hand_on`] repeats the change in the successors, then removes the tombstone or the mark. It
//! holds the lock of the session's shard in the old table all the time, so each change is repeated
//! once, by whichever process comes first. If that process is killed in between, the next one repeats
//! the change again, which has no further effect. `hand_on` is called before `bind`, so a tombstone never
//! ends a later session of the same key in the successor.
//!
//! [`Table::hand_on_some`] passes over the slots of shards whose sum differs, and stores the sum that
//! it has read before the pass in `handed_on`.
//!
//! Locks: `hand_on` takes those of the successors while it holds one of the old table. No process takes
//! a lock of an older table while it holds one of a newer table.
//!
//! If the reload fails after `supersede`, there is no successor and tombstones stay. They make room
//! before any session does, and expire when their sessions would have.
//!
//! Limit: with three tables, the second one repeats a change only for a session that it still has. If
//! it has evicted the session, and one of its workers is the first that repeats the change, the change
//! does not reach the third table.

use super::bind::Existing;
use super::handle::Table;
use super::key::Key;
use super::listen::change::End;
use super::memory::bucket::Bucket;
use super::memory::entry::Entry;
use super::memory::layout::{Counter, Shard};
use super::memory::place::Place;
use super::memory::summary::SLOTS;
use super::memory::writer::{Position, Writer};
use super::servers::ServerId;
use super::sync::Ordering;
use crate::time::{Limits, Tick};

/// The progress of `Table::hand_on_some`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HandOn {
    bucket: usize,
    /// News of that bucket's shard when the pass over it began.
    news: u64,
}

impl Shard {
    /// Counted up with each tombstone and each mark, and stored after it.
    fn news(&self) -> u64 {
        let count = |counter| {
            let total = self.totals.get(counter as usize);
            total.map_or(0, |total| total.load(Ordering::Acquire))
        };
        count(Counter::Forgotten).wrapping_add(count(Counter::MovedIn))
    }
}

/// Succession.
impl Table {
    /// To be called before the sessions of this table are imported into another one, its successor. From
    /// now on the table notes which sessions are forgotten or moved.
    pub fn supersede(&self) {
        for (index, shard) in self.region.shards().iter().enumerate() {
            // A process that holds the lock now makes its change before the import.
            if let Some(writer) = Writer::lock(&self.region, index) {
                shard.handed_on.store(shard.news(), Ordering::Release);
                writer.set_superseded(true);
            }
        }
    }

    /// Undoes `supersede`: the table has no successor, or the reload that made it has failed.
    pub fn reinstate(&self) {
        for index in 0..self.region.shard_count() as usize {
            if let Some(writer) = Writer::lock(&self.region, index) {
                writer.set_superseded(false);
            }
        }
    }

    /// Whether there may be a change of a key that the successors have not repeated. Reads one cache
    /// line.
    #[inline]
    pub fn is_ahead(&self, key: Key) -> bool {
        let shard = Place::shard(&self.region, key.fingerprint());
        self.region.shards().get(shard as usize).is_some_and(Self::has_news)
    }

    fn has_news(shard: &Shard) -> bool {
        // In this order, so that the news are as old as `handed_on` or newer.
        let handed_on = shard.handed_on.load(Ordering::Acquire);
        shard.news() != handed_on
    }

    /// Repeats the change of a key in `successors`, the older ones first.
    pub fn hand_on<'t>(
        &self,
        key: Key,
        successors: impl Iterator<Item = &'t Table>,
        now: Tick,
        limits: &Limits,
    ) {
        let Some(writer) = self.writer(key.fingerprint()) else { return };
        if let Some((position, entry)) = writer.find(&Place::new(&self.region, key.fingerprint())) {
            self.hand_on_entry(&writer, position, entry, successors, now, limits);
        }
    }

    /// Repeats the changes of the next `max_slots` slots, at least six, of shards that have some. False
    /// when the pass is complete; the next call begins another one.
    pub fn hand_on_some<'t>(
        &self,
        pass: &mut HandOn,
        successors: impl Iterator<Item = &'t Table> + Clone,
        now: Tick,
        limits: &Limits,
        max_slots: usize,
    ) -> bool {
        let per_shard = self.region.buckets_per_shard() as usize;
        let mut left = (max_slots / SLOTS).max(1);
        while left > 0 {
            let number = pass.bucket / per_shard;
            let Some(shard) = self.region.shards().get(number) else {
                *pass = HandOn::default();
                return false;
            };
            if pass.bucket % per_shard == 0 {
                // The lock finishes the change of a dead worker.
                let is_whole = Writer::lock(&self.region, number).is_some();
                pass.news = shard.news();
                if !is_whole || !Self::has_news(shard) {
                    pass.bucket += per_shard;
                    continue;
                }
            }
            self.hand_on_bucket(pass.bucket, successors.clone(), now, limits);
            left -= 1;
            pass.bucket += 1;
            if pass.bucket % per_shard == 0 {
                shard.handed_on.store(pass.news, Ordering::Release);
            }
        }
        true
    }

    fn hand_on_bucket<'t>(
        &self,
        bucket: usize,
        successors: impl Iterator<Item = &'t Table> + Clone,
        now: Tick,
        limits: &Limits,
    ) {
        let (number, shard) = (bucket as u32, bucket / self.region.buckets_per_shard() as usize);
        let is_used = |bucket: Bucket<'_>| bucket.summary(Ordering::Acquire).load() > 0;
        if !self.region.buckets().get(number).is_some_and(is_used) {
            return;
        }
        let Some(writer) = Writer::lock(&self.region, shard) else { return };
        for slot in 0..SLOTS as u32 {
            let position = Position { bucket: number, slot };
            if let Some(entry) = writer.entry(position) {
                self.hand_on_entry(&writer, position, entry, successors.clone(), now, limits);
            }
        }
    }

    fn hand_on_entry<'t>(
        &self,
        writer: &Writer<'_>,
        position: Position,
        entry: Entry,
        successors: impl Iterator<Item = &'t Table>,
        now: Tick,
        limits: &Limits,
    ) {
        if entry.meta.is_tombstone() || entry.meta.is_moved() {
            for successor in successors.filter(|table| table.hashes_as(self)) {
                successor.follow(self, entry, now, limits);
            }
            let _ = writer.settle(position, entry);
        }
    }

    /// Repeats here the change of a session of `from`. The caller holds the lock of its shard there.
    fn follow(&self, from: &Table, entry: Entry, now: Tick, limits: &Limits) {
        if !entry.meta.is_tombstone() && self.follow_move(from, entry, now, limits).is_some() {
            return;
        }
        // If there is no room for its server, the session ends: better unknown than with the wrong server.
        let _ = self.follow_end(from, entry);
    }

    fn follow_move(&self, from: &Table, entry: Entry, now: Tick, limits: &Limits) -> Option<bool> {
        let mut buffer = [0; Table::MAX_ADDRESS];
        let server = ServerId { index: entry.meta.server(), print: from.print_of(entry.meta) };
        let server = self.intern(from.address(server, &mut buffer)?, now)?;
        self.adopt(entry, server, Existing::Move, now, limits)
    }

    fn follow_end(&self, from: &Table, entry: Entry) -> Option<()> {
        let writer = self.writer(entry.fingerprint)?;
        let (position, own) = writer.find(&Place::new(&self.region, entry.fingerprint))?;
        if own.meta.is_tombstone() || own.is_later_than(&entry) {
            return None;
        }
        // A session that has moved here since then has ended only at its former server. One address has
        // the same print in both tables.
        let print = from.print_of(entry.meta.with_server(entry.meta.former_server()));
        let ends_there_only = entry.meta.is_tombstone() && !entry.meta.is_moved() && print != 0;
        if ends_there_only && print != self.print_of(own.meta) {
            return None;
        }
        let end = entry.meta.end().unwrap_or(End::Evicted);
        writer.forget(position, own, end)
    }
}
