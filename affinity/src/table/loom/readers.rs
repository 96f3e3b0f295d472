//! Lookups beside a writer.

use ::loom::sync::{Arc, Mutex};
use ::loom::thread;

use super::model::{entry, explore, Model, AWAY, BESIDE, HOME, KEY, OTHER, WAYS};
use crate::table::listen::change::End;
use crate::table::memory::entry::Entry;
use crate::table::memory::journal::Action;
use crate::table::memory::listing::Listing;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering};

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

/// A session is bound while its server is being taken off the list. Either it is bound before, and
/// the server stays, or it is not bound.
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
                // Another server gets its place.
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

/// A session is forgotten in a superseded table and begins again in the slot of its tombstone: a
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
                    let tombstone = Entry { meta: first.meta.tombstone(End::Deleted), ..first };
                    model.commit(Action::Rebind, HOME, 0, tombstone);
                    model.commit(Action::Replace, HOME, 0, entry(KEY, 1, 20));
                })
            };
            // To a reader, an entry without a print is no session.
            if let Some((found, print)) = lookup(&model, KEY).filter(|(_, print)| *print != 0) {
                let life = (found.meta.server(), found.created.0, found.used.0, print);
                assert!(matches!(life, (0, 10, 10, 100) | (1, 20, 20, 101)), "{life:?}");
            }
            writer.join().unwrap();
            assert_eq!(lookup(&model, KEY), Some((entry(KEY, 1, 20), 101)));
        });
    }
}
