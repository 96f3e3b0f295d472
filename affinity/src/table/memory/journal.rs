//! One change of the table, written into the journal before it is made.
//!
//! A change stores a slot, one or two summaries, a version and some counters. Its `JournalRecord` holds the
//! final value of each of them. So the next holder of the lock can make an unfinished change again from
//! the beginning, any number of times.

use super::bucket::Buckets;
use super::entry::{Entry, Meta};
use super::summary::Summary;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering};
use crate::time::Tick;

/// What a change does to the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Insert = 1,
    Remove = 2,
    /// The meta word changes.
    Rebind = 3,
    /// A session takes the slot of its own tombstone.
    Replace = 4,
}

/// A change of one session. Indices are those of the whole table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalRecord {
    pub(crate) action: Action,
    pub(crate) bucket: u32,
    pub(crate) slot: u32,
    /// Of the session's line (all but insert).
    pub(crate) version: u32,
    /// Of the session's bucket (insert and remove).
    pub(crate) summary: Summary,
    /// The home bucket and its summary, if the session lives elsewhere (insert and remove).
    pub(crate) home: Option<(u32, Summary)>,
    pub(crate) entry: Entry,
    /// A counter of the shard and its new value.
    pub(crate) total: Option<(u32, u64)>,
    /// Counters of servers and their new values.
    pub(crate) counts: [Option<(u32, u32)>; 2],
}

/// The memory that a change is made in.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a> {
    pub(crate) buckets: Buckets<'a>,
    pub(crate) totals: &'a [AtomicU64],
    pub(crate) counts: &'a [AtomicU32],
}

impl JournalRecord {
    /// Makes the change. An index out of range is ignored; only damaged memory has one.
    pub(crate) fn apply(&self, memory: Memory<'_>) {
        let home = self.home.and_then(|(home, summary)| Some((memory.buckets.get(home)?, summary)));
        if let Some((bucket, slot)) = memory
            .buckets
            .get(self.bucket)
            .and_then(|bucket| Some((bucket, bucket.slot(self.slot as usize)?)))
        {
            match self.action {
                Action::Insert => {
                    if let Some((home, summary)) = home {
                        home.store_summary(summary);
                    }
                    bucket.store_summary(self.summary);
                    // When the change is repeated, a session that is there already stays visible.
                    if slot.fingerprint() != self.entry.fingerprint {
                        slot.publish(&self.entry);
                    }
                }
                Action::Rebind => {
                    slot.rebind(self.entry.meta);
                    slot.store_version(self.version);
                }
                Action::Replace => {
                    // The version has its final value when the tombstone has been removed.
                    if slot.version(Ordering::Relaxed) != self.version {
                        slot.clear();
                        slot.store_version(self.version);
                    }
                    if slot.fingerprint() != self.entry.fingerprint {
                        slot.publish(&self.entry);
                    }
                }
                Action::Remove => {
                    slot.clear();
                    slot.store_version(self.version);
                    bucket.store_summary(self.summary);
                    if let Some((home, summary)) = home {
                        home.store_summary(summary);
                    }
                }
            }
        }
        if let Some((counter, value)) =
            self.total.and_then(|(index, value)| Some((memory.totals.get(index as usize)?, value)))
        {
            counter.store(value, Ordering::Release);
        }
        for (index, value) in self.counts.iter().flatten() {
            if let Some(counter) = memory.counts.get(*index as usize) {
                counter.store(*value, Ordering::Release);
            }
        }
    }
}

/// The change that the holder of the shard's lock is making, in shared memory.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Journal {
    /// An `Action`. Zero: no change is being made, and the other words have no meaning.
    action: AtomicU32,
    bucket: AtomicU32,
    slot: AtomicU32,
    home: AtomicU32,
    version: AtomicU32,
    summary: AtomicU64,
    home_summary: AtomicU64,
    fingerprint: AtomicU64,
    meta: AtomicU32,
    used: AtomicU32,
    created: AtomicU32,
    total: AtomicU32,
    total_value: AtomicU64,
    counts: [AtomicU32; 2],
    count_values: [AtomicU32; 2],
}

/// Stands for `None` where an index is stored.
const NO_INDEX: u32 = u32::MAX;

impl Journal {
    /// Writes `change`, makes it, and clears the action. The caller holds the shard's lock.
    pub(crate) fn commit(&self, change: &JournalRecord, memory: Memory<'_>) {
        self.write(change);
        change.apply(memory);
        // Release: the whole change is stored before.
        self.action.store(0, Ordering::Release);
    }

    /// Finishes the change of an owner that died. Returns whether there was one. The caller holds the
    /// shard's lock.
    pub(crate) fn recover(&self, memory: Memory<'_>) -> bool {
        let change = self.read();
        if let Some(change) = &change {
            change.apply(memory);
        }
        self.action.store(0, Ordering::Release);
        change.is_some()
    }

    // Each store is Release and so stays behind the ones before it. A process that dies has made all
    // stores up to some point and none behind it.
    fn write(&self, change: &JournalRecord) {
        let (home, home_summary) = change.home.unwrap_or((NO_INDEX, Summary(0)));
        let (total, total_value) = change.total.unwrap_or((NO_INDEX, 0));
        self.bucket.store(change.bucket, Ordering::Release);
        self.slot.store(change.slot, Ordering::Release);
        self.home.store(home, Ordering::Release);
        self.version.store(change.version, Ordering::Release);
        self.summary.store(change.summary.0, Ordering::Release);
        self.home_summary.store(home_summary.0, Ordering::Release);
        self.fingerprint.store(change.entry.fingerprint, Ordering::Release);
        self.meta.store(change.entry.meta.0, Ordering::Release);
        self.used.store(change.entry.used.0, Ordering::Release);
        self.created.store(change.entry.created.0, Ordering::Release);
        self.total.store(total, Ordering::Release);
        self.total_value.store(total_value, Ordering::Release);
        for ((index, value), count) in self.counts.iter().zip(&self.count_values).zip(change.counts)
        {
            let count = count.unwrap_or((NO_INDEX, 0));
            index.store(count.0, Ordering::Release);
            value.store(count.1, Ordering::Release);
        }
        self.action.store(change.action as u32, Ordering::Release);
        // No store of the change passes the one above: all are Release, or behind a Release fence.
    }

    fn read(&self) -> Option<JournalRecord> {
        let action = match self.action.load(Ordering::Acquire) {
            1 => Action::Insert,
            2 => Action::Remove,
            3 => Action::Rebind,
            4 => Action::Replace,
            _ => return None,
        };
        let word = |atomic: &AtomicU32| atomic.load(Ordering::Acquire);
        let wide = |atomic: &AtomicU64| atomic.load(Ordering::Acquire);
        let index = |atomic: &AtomicU32| Some(word(atomic)).filter(|index| *index != NO_INDEX);
        let [first, second] = &self.counts;
        let [first_value, second_value] = &self.count_values;
        Some(JournalRecord {
            action,
            bucket: word(&self.bucket),
            slot: word(&self.slot),
            version: word(&self.version),
            summary: Summary(wide(&self.summary)),
            home: index(&self.home).map(|home| (home, Summary(wide(&self.home_summary)))),
            entry: Entry {
                fingerprint: wide(&self.fingerprint),
                meta: Meta(word(&self.meta)),
                used: Tick(word(&self.used)),
                created: Tick(word(&self.created)),
            },
            total: index(&self.total).map(|total| (total, wide(&self.total_value))),
            counts: [
                index(first).map(|count| (count, word(first_value))),
                index(second).map(|count| (count, word(second_value))),
            ],
        })
    }
}
