//! Two writers, and a writer that dies.

use ::loom::thread;

use super::model::{entry, explore, Model, AWAY, HOME, KEY};
use super::mortal::{die_after, live};
use crate::table::listen::change::End;
use crate::table::memory::entry::{Entry, Meta};
use crate::table::memory::journal::Action;
use crate::table::sync::Ordering;
use crate::time::{Span, Tick};

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

/// A writer dies between any two stores of a change while another thread reads, and the next holder of
/// the lock finishes the change: nothing is counted twice, nothing is half there, and the reader saw the
/// state before or after.
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
                    Action::Replace => {
                        Entry { meta: session.meta.tombstone(End::Deleted), ..session }
                    }
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
                    // To a reader, a tombstone is no session.
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

#[test]
fn times_to_live_round_up() {
    for ticks in [1, 127, 128, 129, 255, 256, 257, 1000, 65_535, 1 << 20, i32::MAX as u32] {
        let ttl = Meta::new(0, Some(Span(ticks))).ttl().unwrap();
        assert!(ttl >= Span(ticks) && u64::from(ttl.0) <= u64::from(ticks) * 129 / 128, "{ticks}");
    }
}
