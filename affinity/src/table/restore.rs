//! How the sessions of a table that nobody uses any more come into another one: from a file of another boot,
//! or one that is damaged.

use super::bind::Existing;
use super::handle::Table;
use super::import::Translation;
use super::memory::entry::Entry;
use super::memory::place::Place;
use super::memory::summary::SLOTS;
use super::servers::ServerId;
use crate::time::{Limits, Tick};

/// What `Table::restore` has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Sessions that were added, and are there at the end.
    pub taken: u64,
    /// Sessions that have expired meanwhile.
    pub expired: u64,
    /// Sessions that could not be right, or whose server is not on the list; and those that the old table had
    /// counted and that are not there.
    pub damaged: u64,
    /// Sessions for which there was no room, or that were evicted for later ones.
    pub left: u64,
}

impl Restored {
    /// Sessions in the old table.
    pub fn all(&self) -> u64 {
        self.taken + self.expired + self.damaged + self.left
    }
}

impl Table {
    /// Copies the sessions of a table that no process uses, whatever its bytes are. `then` is the present
    /// moment by the clock of that table, `now` by that of this one: ages and idle times go on. A time
    /// that is later than `then` counts as `then`. Evidence about servers, and their flags, are not copied.
    ///
    /// Limit: after a crash of the machine the pages are of different moments. A session on an old page may name
    /// a place in the list that another server has got since. A place is given away only if the list is full.
    ///
    /// No lock of the other table is taken. Nothing is copied if the tables have not the same secret and
    /// hash.
    pub fn restore(&self, from: &Table, then: Tick, now: Tick, limits: &Limits) -> Restored {
        let mut restored = Restored::default();
        if !self.hashes_as(from) {
            return restored;
        }
        let before = self.stats().live;
        let moved = |at: Tick| Tick(now.0.wrapping_sub(then.since(at).0));
        let mut servers = Translation::restored(self, from, now);
        for (number, bucket) in (0..).zip(from.region.buckets().iter()) {
            for slot in 0..SLOTS {
                let Some((entry, print)) = bucket.read_slot(slot, |meta| from.print_of(meta))
                else {
                    continue;
                };
                if entry.meta.is_tombstone() {
                    continue;
                }
                let server = ServerId { index: entry.meta.server(), print };
                let Some(server) =
                    from.is_plausible(&entry, number).then(|| servers.get(server)).flatten()
                else {
                    restored.damaged += 1;
                    continue;
                };
                let used = moved(entry.used);
                // A session is created no later than it is used.
                let created = Tick(used.0.wrapping_sub(entry.used.since(entry.created).0));
                let entry = Entry { used, created, ..entry };
                if entry.expired(now, limits) {
                    restored.expired += 1;
                    continue;
                }
                match self.adopt(entry, server, Existing::Keep, now, limits) {
                    Some(true) => restored.taken += 1,
                    _ => restored.left += 1,
                }
            }
        }
        let added = self.stats().live.saturating_sub(before).min(restored.taken);
        restored.left += restored.taken - added;
        restored.taken = added;
        // More than fit in is no count.
        let counted = Some(from.stats()).filter(|there| there.live <= there.capacity);
        let counted = counted.map_or(0, |there| there.live);
        restored.damaged += counted.saturating_sub(restored.all());
        restored
    }

    /// Whether a session may be in a bucket, by its fingerprint, with these words.
    fn is_plausible(&self, entry: &Entry, bucket: u32) -> bool {
        let place = Place::new(&self.region, entry.fingerprint);
        let is_whole = !self.region.has_sums() || entry.meta.is_valid(entry.fingerprint);
        is_whole && place.pairs().flatten().any(|there| there == bucket)
    }
}
