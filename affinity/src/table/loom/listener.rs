//! A listener beside writers, one of which may die.

use ::loom::sync::Arc;
use ::loom::thread;

use super::model::{entry, explore, Model, HOME, KEY, OTHER};
use super::mortal::{die_after, live};
use crate::table::listen::change::{Change, End};
use crate::table::listen::ring::{Cursor, Note, Ring, RingHead, BATCH};
use crate::table::memory::entry::Entry;
use crate::table::memory::journal::Action;
use crate::table::sync::Ordering;

/// A model with a ring of notes.
struct Watched<const NOTES: usize> {
    model: Arc<Model>,
    head: RingHead,
    notes: [Note; NOTES],
}

const KEYS: [u64; 2] = [KEY, OTHER];

/// A listener, and what it has heard last of each key.
struct Ear {
    cursor: Cursor,
    last: [Option<Entry>; KEYS.len()],
    heard: u32,
    missed: u32,
}

impl<const NOTES: usize> Watched<NOTES> {
    fn new() -> Arc<Self> {
        let notes = std::array::from_fn(|_| Note::default());
        Arc::new(Watched { model: Model::new(), head: RingHead::default(), notes })
    }

    fn ring(&self) -> Ring<'_> {
        Ring { head: &self.head, notes: &self.notes }
    }

    /// As `Writer::lock`: finishes the change of a dead owner.
    fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        let _guard = self.model.lock.lock().unwrap();
        self.model.journal.recover(self.model.memory());
        work()
    }

    /// As `Writer::note` and `Writer::commit`.
    fn change(&self, action: Action, slot: u32, entry: Entry) {
        if self.head.is_heard() {
            let change = match action {
                Action::Remove => Change::Ended(End::Deleted),
                _ => Change::Bound,
            };
            self.ring().note(entry.fingerprint, change);
        }
        self.model.commit(action, HOME, slot, entry);
    }

    /// As `Table::hear`, and looks at all sessions if something was missed.
    fn hear(&self, ear: &mut Ear) {
        if !self.head.has_news(&ear.cursor) {
            return;
        }
        let taken = self.locked(|| self.ring().take(&mut ear.cursor, BATCH));
        ear.missed += u32::from(taken.missed);
        for (key, last) in KEYS.into_iter().zip(&mut ear.last) {
            let notes = taken.notes().filter(|(fingerprint, _)| *fingerprint == key).count() as u32;
            ear.heard += notes;
            if notes > 0 || taken.missed {
                *last = self.look(key);
            }
        }
    }

    fn look(&self, key: u64) -> Option<Entry> {
        Some(self.model.lookup(key)?.0)
    }

    fn listener(&self) -> Ear {
        let mut ear = Ear { cursor: Cursor::NEW, last: [None; KEYS.len()], heard: 0, missed: 0 };
        self.hear(&mut ear);
        ear.missed = 0;
        ear
    }

    fn is_state(&self, ear: &Ear) -> bool {
        KEYS.map(|key| self.look(key)) == ear.last
    }
}

/// A writer dies between any two stores of a note and its change. A listener that comes at any moment,
/// and once more at the end, has heard the state, and each change that was made.
#[test]
fn what_is_heard_last_is_the_state_whenever_a_writer_dies() {
    for action in [Action::Insert, Action::Rebind, Action::Remove] {
        // The note has 3 stores, the journal 19, the change up to 5.
        for survived in 0..=28 {
            explore(move || {
                let watched = Watched::<4>::new();
                let (old, new) = (entry(KEY, 0, 10), entry(KEY, 1, 10));
                if action != Action::Insert {
                    watched.model.insert(0, old);
                }
                let mut ear = watched.listener();
                let before = watched.model.totals[0].load(Ordering::Relaxed);
                let writer = {
                    let watched = watched.clone();
                    thread::spawn(move || {
                        watched.locked(|| {
                            die_after(survived);
                            let entry = if action == Action::Rebind { new } else { old };
                            watched.change(action, 0, entry);
                            live();
                        });
                    })
                };
                watched.hear(&mut ear);
                writer.join().unwrap();
                watched.hear(&mut ear);
                watched.locked(|| ());
                assert!(watched.is_state(&ear), "{action:?} after {survived} stores");
                let made = watched.model.totals[0].load(Ordering::Relaxed) - before;
                assert!(u64::from(ear.heard) >= made && ear.missed == 0);
            });
        }
    }
}

/// Two writers make more changes than the ring holds: the listener knows that it has missed something,
/// or has heard all.
#[test]
fn a_listener_hears_the_state_or_knows_that_it_has_missed_something() {
    explore(|| {
        let watched = Watched::<1>::new();
        watched.model.insert(0, entry(KEY, 0, 10));
        let mut ear = watched.listener();
        let writer = {
            let watched = watched.clone();
            thread::spawn(move || {
                watched.locked(|| watched.change(Action::Remove, 0, entry(KEY, 0, 10)));
                watched.locked(|| watched.change(Action::Insert, 1, entry(OTHER, 1, 20)));
            })
        };
        watched.hear(&mut ear);
        writer.join().unwrap();
        watched.hear(&mut ear);
        assert!(watched.is_state(&ear));
        assert!(ear.heard == 2 || ear.missed > 0);
    });
}

/// Two listeners of one ring that is full: both end with the state.
#[test]
fn two_listeners_hear_the_state() {
    explore(|| {
        let watched = Watched::<1>::new();
        watched.model.insert(0, entry(KEY, 0, 10));
        let mut ear = watched.listener();
        let mut other = watched.listener();
        watched.locked(|| watched.change(Action::Rebind, 0, entry(KEY, 1, 10)));
        watched.locked(|| watched.change(Action::Remove, 0, entry(KEY, 1, 10)));
        let listener = {
            let watched = watched.clone();
            thread::spawn(move || {
                watched.hear(&mut other);
                other
            })
        };
        watched.hear(&mut ear);
        watched.locked(|| watched.change(Action::Insert, 1, entry(OTHER, 1, 20)));
        let mut other = listener.join().unwrap();
        for ear in [&mut ear, &mut other] {
            watched.hear(ear);
            assert!(watched.is_state(ear));
        }
    });
}
