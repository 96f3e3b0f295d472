//! All interleavings of readers, touchers and a writer on two buckets, by loom, with the memory
//! model of C11. Run: `RUSTFLAGS="--cfg loom" cargo test -p affinity --lib --release loom`.
//!
//! The shard's lock is loom's mutex here: a robust mutex gives the same exclusion, and what the
//! death of its owner leaves is covered by `interrupted_changes_are_finished`.
//!
//! Not here: a late touch against `publish`. Loom does not know that a successful exchange follows
//! the very value it has compared with, and sees a time that moves back where C11 has none.

#![cfg_attr(not(test), allow(dead_code, unused_imports))]

use ::loom::sync::{Arc, Mutex};
use ::loom::thread;

use super::bucket::{Body, Bucket, Buckets, Entry, Found, Meta, Summary};
use super::super::flag::Flag;
use super::journal::{Action, Change, Journal, Memory};
use super::listing::Listing;
use super::sync::{pause, AtomicU32, AtomicU64, Ordering};
use crate::time::{Span, Tick};
use mortal::{die_after, live};

/// Loom's atomics in the hands of a thread that may die: from a chosen store on, its stores are
/// lost. (Its loads go on, and change nothing.)
pub(crate) mod mortal {
    use ::loom::sync::atomic as real;
    pub(crate) use real::{fence, Ordering};
    use std::cell::Cell;

    ::loom::thread_local! {
        /// Stores that this thread may still make.
        static LEFT: Cell<u32> = Cell::new(u32::MAX);
    }

    /// The thread dies when it has made `stores` more.
    pub(crate) fn die_after(stores: u32) {
        LEFT.with(|left| left.set(stores));
    }

    /// Somebody else goes on in this thread.
    pub(crate) fn live() {
        die_after(u32::MAX);
    }

    fn alive() -> bool {
        LEFT.with(|left| match left.get() {
            u32::MAX => true,
            0 => false,
            more => {
                left.set(more - 1);
                true
            }
        })
    }

    macro_rules! mortal {
        ($name:ident, $value:ty) => {
            #[derive(Debug)]
            pub(crate) struct $name(real::$name);

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(real::$name::new(value))
                }

                pub(crate) fn load(&self, ordering: Ordering) -> $value {
                    self.0.load(ordering)
                }

                pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                    if alive() {
                        self.0.store(value, ordering);
                    }
                }

                #[allow(dead_code)]
                pub(crate) fn swap(&self, value: $value, ordering: Ordering) -> $value {
                    match alive() {
                        true => self.0.swap(value, ordering),
                        false => self.0.load(Ordering::Relaxed),
                    }
                }

                #[allow(dead_code)]
                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(current, new, success, failure)
                }
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new(0)
                }
            }
        };
    }

    mortal!(AtomicU32, u32);
    mortal!(AtomicU64, u64);
}

const KEY: u64 = 0x1111;
const OTHER: u64 = 0x2222;

fn entry(fingerprint: u64, server: u16, time: u32) -> Entry {
    Entry { fingerprint, meta: Meta::new(server, None), used: Tick(time), created: Tick(time) }
}

/// Buckets of the model: a home, its neighbour, and one of another pair.
const HOME: u32 = 0;
const BESIDE: u32 = 1;
const AWAY: u32 = 2;

/// Three buckets of one shard, its lock, and the prints of servers.
struct Model {
    summaries: [AtomicU64; 3],
    bodies: [Body; 3],
    journal: Journal,
    totals: [AtomicU64; 1],
    counts: [AtomicU32; 4],
    lock: Mutex<()>,
    prints: [AtomicU64; 3],
}

impl Model {
    fn new() -> Arc<Model> {
        Arc::new(Model {
            summaries: std::array::from_fn(|_| AtomicU64::new(0)),
            bodies: std::array::from_fn(|_| Body::default()),
            journal: Journal::default(),
            totals: [AtomicU64::new(0)],
            counts: std::array::from_fn(|_| AtomicU32::new(0)),
            lock: Mutex::new(()),
            prints: std::array::from_fn(|index| AtomicU64::new(100 + index as u64)),
        })
    }

    fn memory(&self) -> Memory<'_> {
        let buckets = Buckets { summaries: &self.summaries, bodies: &self.bodies };
        Memory { buckets, totals: &self.totals, counts: &self.counts }
    }

    fn bucket(&self, index: u32) -> Bucket<'_> {
        self.memory().buckets.get(index).unwrap()
    }

    fn summary(&self, bucket: u32) -> Summary {
        self.bucket(bucket).summary(Ordering::Relaxed)
    }

    fn change(&self, action: Action, bucket: u32, slot: u32, entry: Entry) -> Change {
        let (mine, home) = (self.summary(bucket), self.summary(HOME));
        let (summary, home) = match action {
            Action::Insert => {
                (mine.with(slot, entry.fingerprint), home.with_displaced(entry.fingerprint))
            }
            _ => (mine.without(slot), home.without_displaced()),
        };
        Change {
            action,
            bucket,
            slot,
            version: self.bucket(bucket).slot(slot as usize).unwrap().version(Ordering::Relaxed)
                + 1,
            summary,
            home: (bucket == AWAY).then_some((HOME, home)),
            entry,
            total: Some((0, self.totals[0].load(Ordering::Relaxed) + 1)),
            counts: [None, None],
        }
    }

    fn commit(&self, action: Action, bucket: u32, slot: u32, entry: Entry) {
        self.journal.commit(&self.change(action, bucket, slot, entry), self.memory());
    }

    fn insert(&self, slot: u32, entry: Entry) {
        self.commit(Action::Insert, HOME, slot, entry);
    }

    fn remove(&self, slot: u32, entry: Entry) {
        self.commit(Action::Remove, HOME, slot, entry);
    }

    /// As `Table::lookup`: the home bucket, then whichever holds the session.
    fn lookup(&self, key: u64) -> Option<(Entry, u64)> {
        let beside = |meta: Meta| self.print_of(meta);
        let mut bucket = self.bucket(HOME);
        if let Found::Nothing(summary) = bucket.read(key, beside) {
            match self.bucket(BESIDE).read(key, beside) {
                Found::Entry(entry, print, _) => return Some((entry, print)),
                Found::Nothing(_) if !summary.may_be_elsewhere(key) => return None,
                Found::Nothing(_) | Found::Changed => {}
            }
        }
        loop {
            match bucket.read(key, beside) {
                Found::Entry(entry, print, _) => return Some((entry, print)),
                Found::Nothing(_) | Found::Changed => {
                    pause();
                    bucket = self.holder(key)?;
                }
            }
        }
    }

    /// As `Table::lookup_at_once`: the bodies of the home and of the bucket beside it.
    fn lookup_at_once(&self, key: u64) -> Option<(Entry, u64)> {
        let beside = |meta: Meta| self.print_of(meta);
        let (entry, print, _) =
            [HOME, BESIDE].iter().find_map(|&index| self.bucket(index).read_body(key, beside))?;
        Some((entry, print))
    }

    /// As `Table::print_of`.
    fn print_of(&self, meta: Meta) -> u64 {
        let print = self.prints.get(usize::from(meta.server()));
        print.map_or(0, |print| print.load(Ordering::Relaxed))
    }

    /// As `Table::holder`.
    fn holder(&self, key: u64) -> Option<Bucket<'_>> {
        let holds = |bucket: &Bucket<'_>| bucket.position(key).is_some();
        let home = self.bucket(HOME);
        if holds(&home) {
            return Some(home);
        }
        let beside = Some(self.bucket(BESIDE)).filter(holds);
        beside.or_else(|| match home.summary(Ordering::Acquire).may_be_elsewhere(key) {
            true => Some(self.bucket(AWAY)).filter(holds),
            false => None,
        })
    }
}

impl Model {
    fn touch(&self, now: Tick) {
        match self.bucket(0).read(KEY, |_| ()) {
            Found::Entry(entry, (), used) => used.touch(entry.used, now),
            _ => panic!("a session that nobody removes is there"),
        }
    }
}

/// Both ways to look up.
const WAYS: [fn(&Model, u64) -> Option<(Entry, u64)>; 2] = [Model::lookup, Model::lookup_at_once];

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound =
        Some(std::env::var("BOUND").ok().and_then(|bound| bound.parse().ok()).unwrap_or(3));
    builder.max_branches = 10_000;
    builder.check(model);
}

/// A slot changes hands twice, so that the same key comes back with another server: a reader sees
/// the first life or the second, or nothing, and never parts of different sessions.
#[test]
fn a_lookup_never_mixes_sessions() {
    for lookup in WAYS {
        explore(move || {
            let model = Model::new();
            model.insert(0, entry(KEY, 0, 10));
            let writer = {
                let model = model.clone();
                thread::spawn(move || {
                    let _guard = model.lock.lock().unwrap();
                    model.remove(0, entry(KEY, 0, 10));
                    model.insert(0, entry(OTHER, 1, 20));
                    model.remove(0, entry(OTHER, 1, 20));
                    model.insert(0, entry(KEY, 2, 30));
                })
            };
            // Loom lets the writer be anywhere when the second one begins, but not the first.
            for _ in 0..2 {
                match lookup(&model, KEY) {
                    None => {}
                    Some((found, print)) => {
                        let time = found.created.0;
                        assert!(
                            matches!(
                                (found.meta.server(), time, print),
                                (0, 10, 100) | (2, 30, 102)
                            ),
                            "{found:?} {print}"
                        );
                    }
                }
            }
            writer.join().unwrap();
            assert_eq!(lookup(&model, KEY).unwrap().0, entry(KEY, 2, 30));
        });
    }
}

/// A server is taken off the list when its last session has moved away, and its slot is given to
/// another one: no lookup says that the session is on that one.
#[test]
fn a_lookup_never_sees_a_recycled_server() {
    explore(|| {
        let model = Model::new();
        model.insert(0, entry(KEY, 0, 10));
        let writer = {
            let model = model.clone();
            thread::spawn(move || {
                {
                    let _guard = model.lock.lock().unwrap();
                    model.commit(Action::Rebind, 0, 0, entry(KEY, 1, 10));
                }
                let _guard = model.lock.lock().unwrap();
                model.prints[0].store(0, Ordering::Release);
                model.prints[0].store(777, Ordering::Release);
            })
        };
        let (found, print) = model.lookup(KEY).expect("a session that moves is never away");
        assert!(matches!((found.meta.server(), print), (0, 100) | (1, 101)), "{found:?} {print}");
        if let Some((found, print)) = model.lookup_at_once(KEY) {
            assert!(matches!((found.meta.server(), print), (0, 100) | (1, 101)));
        }
        writer.join().unwrap();
    });
}

/// A session is bound while its server is being taken off the list: either it is bound before, and
/// the server stays, or not at all.
#[test]
fn no_session_is_bound_to_a_server_that_goes() {
    explore(|| {
        let shared = Arc::new((AtomicU32::new(9), AtomicU64::new(100), Mutex::new(0)));
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (shape, print, shard) = &*shared;
                let place = Listing { shape, print };
                place.mark();
                let sessions = *shard.lock().unwrap();
                place.decide(sessions == 0);
                // Its place is another server's now.
                if sessions == 0 {
                    place.set_address_len(9);
                    print.store(777, Ordering::Release);
                }
            })
        };
        let (shape, print, shard) = &*shared;
        {
            let mut sessions = shard.lock().unwrap();
            if (Listing { shape, print }).accepts(100) {
                *sessions += 1;
            }
        }
        writer.join().unwrap();
        let bound = *shard.lock().unwrap() > 0;
        assert_eq!(print.load(Ordering::Relaxed) == 100, bound);
    });
}

/// The same where the session ends and its slot is taken by a session of the new server.
#[test]
fn a_removed_session_does_not_inherit_a_server() {
    for lookup in WAYS {
        explore(move || {
            let model = Model::new();
            model.insert(0, entry(KEY, 0, 10));
            let writer = {
                let model = model.clone();
                thread::spawn(move || {
                    {
                        let _guard = model.lock.lock().unwrap();
                        model.remove(0, entry(KEY, 0, 10));
                    }
                    let _guard = model.lock.lock().unwrap();
                    model.prints[0].store(777, Ordering::Release);
                    model.insert(0, entry(OTHER, 0, 20));
                })
            };
            if let Some((found, print)) = lookup(&model, KEY) {
                assert_eq!((found.meta.server(), print), (0, 100));
            }
            writer.join().unwrap();
        });
    }
}

/// A session that is there all the time is found while its neighbours and the hints change.
#[test]
fn a_displaced_session_is_always_found() {
    explore(|| {
        let model = Model::new();
        // Same hint bit and same line: KEY and 0x5551.
        model.commit(Action::Insert, AWAY, 0, entry(KEY, 0, 10));
        model.commit(Action::Insert, AWAY, 2, entry(0x5551, 0, 10));
        let writer = {
            let model = model.clone();
            thread::spawn(move || {
                let _guard = model.lock.lock().unwrap();
                model.commit(Action::Remove, AWAY, 2, entry(0x5551, 0, 10));
                model.insert(0, entry(OTHER, 1, 20));
            })
        };
        assert_eq!(model.lookup(KEY), Some((entry(KEY, 0, 10), 100)));
        writer.join().unwrap();
        assert_eq!(model.lookup(KEY), Some((entry(KEY, 0, 10), 100)));
    });
}

/// A session that is there all the time is found beside its home, where no hint leads, while
/// others come and go in its line.
#[test]
fn a_session_beside_its_home_is_always_found() {
    explore(|| {
        let model = Model::new();
        model.commit(Action::Insert, BESIDE, 0, entry(KEY, 0, 10));
        model.commit(Action::Insert, BESIDE, 2, entry(OTHER, 0, 10));
        let writer = {
            let model = model.clone();
            thread::spawn(move || {
                let _guard = model.lock.lock().unwrap();
                model.commit(Action::Remove, BESIDE, 2, entry(OTHER, 0, 10));
                model.commit(Action::Insert, BESIDE, 2, entry(OTHER, 1, 20));
            })
        };
        assert_eq!(model.lookup(KEY), Some((entry(KEY, 0, 10), 100)));
        writer.join().unwrap();
        assert_eq!(model.lookup(KEY), Some((entry(KEY, 0, 10), 100)));
    });
}

/// A session ends and comes again elsewhere: a reader sees the first life, the second, or nothing.
#[test]
fn a_session_comes_again_in_another_bucket() {
    for (from, to) in [(BESIDE, AWAY), (AWAY, BESIDE), (HOME, AWAY)] {
        explore(move || {
            let model = Model::new();
            model.commit(Action::Insert, from, 0, entry(KEY, 0, 10));
            let writer = {
                let model = model.clone();
                thread::spawn(move || {
                    let _guard = model.lock.lock().unwrap();
                    model.commit(Action::Remove, from, 0, entry(KEY, 0, 10));
                    model.commit(Action::Insert, to, 0, entry(KEY, 1, 20));
                })
            };
            if let Some((found, print)) = model.lookup(KEY) {
                let life = (found.meta.server(), found.created.0, print);
                assert!(matches!(life, (0, 10, 100) | (1, 20, 101)), "{life:?}");
            }
            writer.join().unwrap();
            assert_eq!(model.lookup(KEY), Some((entry(KEY, 1, 20), 101)));
        });
    }
}

/// A session is forgotten in a superseded table and begins anew in the slot of its tombstone: a
/// reader sees the first life, the second, or nothing.
#[test]
fn a_tombstone_is_no_session_and_mixes_with_none() {
    for lookup in WAYS {
        explore(move || {
            let model = Model::new();
            let first = entry(KEY, 0, 10);
            model.insert(0, first);
            let writer = {
                let model = model.clone();
                thread::spawn(move || {
                    let _guard = model.lock.lock().unwrap();
                    let tombstone = Entry { meta: first.meta.tombstone(), ..first };
                    model.commit(Action::Rebind, HOME, 0, tombstone);
                    model.commit(Action::Replace, HOME, 0, entry(KEY, 1, 20));
                })
            };
            // Readers take an entry without a print for nothing.
            if let Some((found, print)) = lookup(&model, KEY).filter(|(_, print)| *print != 0) {
                let life = (found.meta.server(), found.created.0, found.used.0, print);
                assert!(matches!(life, (0, 10, 10, 100) | (1, 20, 20, 101)), "{life:?}");
            }
            writer.join().unwrap();
            assert_eq!(lookup(&model, KEY), Some((entry(KEY, 1, 20), 101)));
        });
    }
}

/// Two processes touch one session: it has been used when the later one says.
#[test]
fn touches_keep_the_latest() {
    explore(|| {
        let model = Model::new();
        model.insert(0, entry(KEY, 0, 10));
        let other = {
            let model = model.clone();
            thread::spawn(move || model.touch(Tick(12)))
        };
        model.touch(Tick(13));
        other.join().unwrap();
        let used = model.lookup(KEY).unwrap().0.used.0;
        assert!(used == 12 || used == 13);
    });
}

/// Two processes bind one key: one creates it, the other finds it.
#[test]
fn two_binds_make_one_session() {
    explore(|| {
        let model = Model::new();
        let bind = |model: &Model, server: u16| {
            let _guard = model.lock.lock().unwrap();
            if model.bucket(0).position(KEY).is_some() {
                return false;
            }
            let slot = model.bucket(0).free(KEY).unwrap() as u32;
            model.insert(slot, entry(KEY, server, 10));
            true
        };
        let other = {
            let model = model.clone();
            thread::spawn(move || bind(&model, 1))
        };
        let mine = bind(&model, 0);
        let theirs = other.join().unwrap();
        assert!(mine != theirs);
        assert_eq!(model.summary(0).load(), 1);
        assert_eq!(model.totals[0].load(Ordering::Relaxed), 1);
        let server = model.lookup(KEY).unwrap().0.meta.server();
        assert_eq!(server, u16::from(theirs));
    });
}

/// A writer dies between any two stores of a change while somebody reads, and the next holder of
/// the lock finishes it: nothing is counted twice, nothing is half there, the reader saw one or
/// the other.
#[test]
fn interrupted_changes_are_finished() {
    for (action, bucket) in [
        (Action::Insert, HOME),
        (Action::Insert, AWAY),
        (Action::Remove, HOME),
        (Action::Remove, AWAY),
        (Action::Rebind, HOME),
        (Action::Replace, HOME),
    ] {
        for survived in 0..40 {
            explore(move || {
                let model = Model::new();
                let session = entry(KEY, 0, 10);
                let new = Entry { meta: Meta::new(1, None), ..session };
                let old = match action {
                    Action::Replace => Entry { meta: session.meta.tombstone(), ..session },
                    _ => session,
                };
                if action != Action::Insert {
                    model.commit(Action::Insert, bucket, 0, old);
                }
                let before = model.totals[0].load(Ordering::Relaxed);
                let is_change = matches!(action, Action::Rebind | Action::Replace);
                let change = model.change(action, bucket, 0, if is_change { new } else { old });
                let writer = {
                    let model = model.clone();
                    thread::spawn(move || {
                        {
                            let _guard = model.lock.lock().unwrap();
                            die_after(survived);
                            model.journal.commit(&change, model.memory());
                            live();
                        }
                        let _guard = model.lock.lock().unwrap();
                        model.journal.recover(model.memory());
                    })
                };
                let found = model.lookup(KEY).map(|(entry, _)| entry);
                match action {
                    Action::Insert | Action::Remove => {
                        assert!(found.is_none() || found == Some(old))
                    }
                    Action::Rebind => assert!(found == Some(old) || found == Some(new)),
                    // A tombstone is nothing to a reader.
                    Action::Replace => {
                        assert!(found.is_none() || found == Some(old) || found == Some(new))
                    }
                }
                writer.join().unwrap();
                let found = model.lookup(KEY).map(|(entry, _)| entry);
                let after = model.totals[0].load(Ordering::Relaxed);
                let done = match action {
                    Action::Insert => found == Some(old),
                    Action::Remove => found.is_none(),
                    Action::Rebind | Action::Replace => found == Some(new),
                };
                assert_eq!(after - before, u64::from(done), "{action:?} after {survived} stores");
                let elsewhere = model.summary(0).may_be_elsewhere(KEY);
                assert_eq!(elsewhere, bucket == AWAY && found.is_some());
                let there = usize::from(found.is_some());
                assert_eq!(model.summary(bucket).load(), there);
                let slots = model.bucket(bucket).slots();
                assert_eq!(slots.filter(|slot| slot.fingerprint() != 0).count(), there);
            });
        }
    }
}

/// Two workers change a server each and note what they see then: when both have returned, the flag
/// says what the servers say.
#[test]
fn a_flag_ends_on_what_its_list_says() {
    for (before, after) in [
        ([true, false], [false, true]),
        ([true, true], [false, false]),
        ([false, false], [true, true]),
    ] {
        explore(move || {
            let list = before.map(|it| AtomicU32::new(u32::from(it)));
            let shared = Arc::new((Flag::default(), list));
            let change = |server: usize| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (flag, list) = &*shared;
                    list[server].store(u32::from(after[server]), Ordering::Relaxed);
                    flag.note(|| list.iter().any(|it| it.load(Ordering::Relaxed) != 0));
                })
            };
            let workers = [change(0), change(1)];
            for worker in workers {
                worker.join().unwrap();
            }
            assert_eq!(shared.0.is_set(), after.contains(&true));
        });
    }
}

#[test]
fn times_to_live_round_up() {
    for ticks in [1, 127, 128, 129, 255, 256, 257, 1000, 65_535, 1 << 20, i32::MAX as u32] {
        let ttl = Meta::new(0, Some(Span(ticks))).ttl().unwrap();
        assert!(ttl >= Span(ticks) && u64::from(ttl.0) <= u64::from(ticks) * 129 / 128, "{ticks}");
    }
}
