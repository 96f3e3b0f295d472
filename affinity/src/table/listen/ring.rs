//! The notes of a shard, in shared memory.
//!
//! "Lock" in this file is the shard's lock.

use super::change::Change;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering};

/// Notes of one call of `Ring::take`.
pub(crate) const BATCH: usize = 32;

/// A change that is about to be made. Written and read under the lock.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct Note {
    fingerprint: AtomicU64,
    /// `Change::code`.
    change: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Note>() == 16);

/// Where writers and listeners are in the ring. Zeroes are a ring without notes that nobody listens to.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), repr(C))]
pub(crate) struct RingHead {
    /// Notes ever written; the next one is number `noted`. Written under the lock.
    noted: AtomicU64,
    /// The number of notes at which writers stop. Written under the lock.
    until: AtomicU64,
    /// How often a listener has found that writers had stopped. Written under the lock.
    stops: AtomicU64,
}

impl RingHead {
    /// Writer: whether changes are noted.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        self.noted.load(Ordering::Relaxed) != self.until.load(Ordering::Relaxed)
    }

    /// Whether there are notes that the listener has not taken, or it has missed something. Needs no
    /// lock.
    pub(crate) fn has_news(&self, cursor: &Cursor) -> bool {
        self.noted.load(Ordering::Acquire) != cursor.noted
            || self.stops.load(Ordering::Acquire) != cursor.stops
    }
}

/// Where a listener is in the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// Of the next note.
    noted: u64,
    stops: u64,
}

impl Cursor {
    /// Of a listener that is new: no ring has been stopped so often.
    pub(crate) const NEW: Cursor = Cursor { noted: 0, stops: u64::MAX };
}

/// What `Ring::take` has found.
pub(crate) struct Taken {
    notes: [(u64, u32); BATCH],
    count: usize,
    /// Changes were not noted, or their notes are gone.
    pub(crate) missed: bool,
}

impl Taken {
    /// Fingerprints and changes, in the order in which they were made.
    pub(crate) fn notes(&self) -> impl Iterator<Item = (u64, Change)> + '_ {
        let notes = self.notes.iter().take(self.count);
        notes.filter_map(|(fingerprint, code)| Some((*fingerprint, Change::from_code(*code)?)))
    }
}

/// The ring of a shard.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a> {
    pub(crate) head: &'a RingHead,
    pub(crate) notes: &'a [Note],
}

impl Ring<'_> {
    /// Writer: notes a change that it is about to make, if `RingHead::is_heard`.
    pub(crate) fn note(&self, fingerprint: u64, change: Change) {
        let noted = self.head.noted.load(Ordering::Relaxed);
        if let Some(note) = self.at(noted) {
            // Each store is Release and so stays behind the ones before it, and those of the change stay
            // behind the last one: a process that dies has made all stores up to some point.
            note.fingerprint.store(fingerprint, Ordering::Release);
            note.change.store(change.code(), Ordering::Release);
            self.head.noted.store(noted.wrapping_add(1), Ordering::Release);
        }
    }

    /// Takes up to `max` notes, at most `BATCH`. The caller holds the lock.
    pub(crate) fn take(&self, cursor: &mut Cursor, max: usize) -> Taken {
        let size = self.notes.len() as u64;
        let noted = self.head.noted.load(Ordering::Relaxed);
        let until = self.head.until.load(Ordering::Relaxed);
        let mut stops = self.head.stops.load(Ordering::Relaxed);
        if noted == until {
            stops = stops.wrapping_add(1);
            // Release: before `until`, so that if this process dies in between, the next one counts again.
            self.head.stops.store(stops, Ordering::Release);
        }
        let overtaken = noted.wrapping_sub(cursor.noted) > size;
        let missed = overtaken || cursor.stops != stops;
        cursor.stops = stops;
        if missed {
            // Heard again, if they have been heard before.
            cursor.noted = noted.saturating_sub(size);
        }
        let mut taken = Taken { notes: [(0, 0); BATCH], count: 0, missed };
        for place in taken.notes.iter_mut().take(max) {
            let Some(note) = self.at(cursor.noted).filter(|_| cursor.noted != noted) else { break };
            *place =
                (note.fingerprint.load(Ordering::Relaxed), note.change.load(Ordering::Relaxed));
            cursor.noted = cursor.noted.wrapping_add(1);
            taken.count += 1;
        }
        // Another listener may allow more than this one; it may overtake this one then.
        let until = until.max(cursor.noted.saturating_add(size));
        self.head.until.store(until, Ordering::Release);
        taken
    }

    fn at(&self, number: u64) -> Option<&Note> {
        self.notes.get(number.checked_rem(self.notes.len() as u64)? as usize)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Change, Cursor, Note, Ring, RingHead, Taken};
    use crate::table::listen::change::End;

    const SIZE: usize = 4;

    #[derive(Default)]
    struct Memory {
        head: RingHead,
        notes: [Note; SIZE],
    }

    impl Memory {
        fn ring(&self) -> Ring<'_> {
            Ring { head: &self.head, notes: &self.notes }
        }

        /// As a writer does. Returns whether the change was noted.
        fn change(&self, fingerprint: u64) -> bool {
            let is_heard = self.head.is_heard();
            if is_heard {
                self.ring().note(fingerprint, Change::Ended(End::Drained));
            }
            is_heard
        }

        fn take(&self, cursor: &mut Cursor) -> (Vec<u64>, bool) {
            let taken: Taken = self.ring().take(cursor, SIZE);
            let notes = taken.notes();
            let fingerprints = notes.map(|(fingerprint, change)| {
                assert_eq!(change, Change::Ended(End::Drained));
                fingerprint
            });
            (fingerprints.collect(), taken.missed)
        }
    }

    #[test]
    fn a_ring_that_nobody_listens_to_has_no_notes() {
        let memory = Memory::default();
        assert!(!memory.change(1));
        let mut cursor = Cursor::NEW;
        assert!(memory.head.has_news(&cursor));
        assert_eq!(memory.take(&mut cursor), (vec![], true));
        assert!(!memory.head.has_news(&cursor));
        assert!(memory.change(2));
        assert!(memory.head.has_news(&cursor));
        assert_eq!(memory.take(&mut cursor), (vec![2], false));
        assert!(!memory.head.has_news(&cursor));
    }

    #[test]
    fn writers_stop_when_a_listener_does_not_come() {
        let memory = Memory::default();
        let mut cursor = Cursor::NEW;
        memory.take(&mut cursor);
        let noted = (1..=100).take_while(|&fingerprint| memory.change(fingerprint)).count();
        assert_eq!(noted, SIZE);
        // It comes after all: writers go on.
        assert_eq!(memory.take(&mut cursor), (vec![1, 2, 3, 4], true));
        assert!(memory.change(5));
        assert_eq!(memory.take(&mut cursor), (vec![5], false));
    }

    /// The slower one does not stop the other, and finds that it has missed something.
    #[test]
    fn two_listeners_take_all_notes_each() {
        let memory = Memory::default();
        let (mut fast, mut slow) = (Cursor::NEW, Cursor::NEW);
        memory.take(&mut fast);
        assert_eq!(memory.take(&mut slow), (vec![], true));
        for fingerprint in 1..=3 {
            assert!(memory.change(fingerprint));
            assert_eq!(memory.take(&mut fast), (vec![fingerprint], false));
        }
        assert_eq!(memory.take(&mut slow), (vec![1, 2, 3], false));
        for fingerprint in 4..=9 {
            assert!(memory.change(fingerprint));
            assert_eq!(memory.take(&mut fast), (vec![fingerprint], false));
        }
        assert_eq!(memory.take(&mut slow), (vec![6, 7, 8, 9], true));
    }

    /// The changes in between had no notes. The other one made writers go on, and both know it.
    #[test]
    fn each_listener_learns_that_writers_had_stopped() {
        let memory = Memory::default();
        let (mut one, mut other) = (Cursor::NEW, Cursor::NEW);
        memory.take(&mut one);
        memory.take(&mut other);
        (1..=5).for_each(|fingerprint| {
            memory.change(fingerprint);
        });
        assert!(memory.take(&mut one).1);
        assert!(memory.head.has_news(&other));
        assert!(memory.take(&mut other).1);
        assert!(!memory.take(&mut one).1 && !memory.take(&mut other).1);
    }

    /// A new listener hears what another may have taken and not dealt with.
    #[test]
    fn a_new_listener_takes_the_latest_notes_again() {
        let memory = Memory::default();
        let mut dead = Cursor::NEW;
        memory.take(&mut dead);
        for fingerprint in 1..=6 {
            memory.change(fingerprint);
            memory.take(&mut dead);
        }
        let mut new = Cursor::NEW;
        assert_eq!(memory.take(&mut new), (vec![3, 4, 5, 6], true));
    }
}
