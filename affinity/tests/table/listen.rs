//! What a listener hears.

use affinity::table::{Change, HandOn, Heard, Held, Listener};

use super::common::watch::Watch;
use super::*;

fn held(heard: &Heard) -> (ServerId, Tick, Option<Span>) {
    let Held { session, ttl } = heard.held.expect("the session is there");
    (session.server, session.created, ttl)
}

#[test]
fn a_session_is_heard_when_it_is_created_moved_and_given_a_time_to_live() {
    let mapping = Mapping::new(MEGABYTE);
    let table = mapping.table();
    let [a, b] = [b"a:1", b"b:1"].map(|address| table.intern(address, NOW).unwrap());
    let mut watch = Watch::new(&table);
    let bind = |server, ttl| {
        table.bind(key(&table, 1), server, ttl, Tick(NOW.0 + 7), &LIMITS, Existing::Move);
    };
    let mut hear_one = || {
        let all = watch.hear(&table);
        let [heard] = &all[..] else { panic!("{all:?}") };
        assert_eq!(heard.key, key(&table, 1));
        (heard.change, held(heard))
    };
    let created = Tick(NOW.0 + 7);
    bind(a, None);
    assert_eq!(hear_one(), (Change::Bound, (a, created, None)));
    bind(b, None);
    assert_eq!(hear_one(), (Change::Moved, (b, created, None)));
    bind(b, Some(Span(100)));
    assert_eq!(hear_one(), (Change::Bound, (b, created, Some(Span(100)))));
    // Used, and bound as it is.
    table.touch(key(&table, 1), Tick(NOW.0 + 9));
    table.visit(key(&table, 1), Tick(NOW.0 + 10), &LIMITS);
    bind(b, Some(Span(100)));
    assert_eq!(watch.hear(&table), []);
    assert!(!watch.missed);
}

#[test]
fn each_end_is_heard_with_its_reason() {
    let mapping = Mapping::new(MEGABYTE);
    let table = mapping.table();
    let a = table.intern(b"a:1", NOW).unwrap();
    let mut watch = Watch::new(&table);
    let mut end_of = |end: &dyn Fn()| {
        create(&table, 1, a, NOW);
        end();
        let changes = watch.changes(&table);
        assert!(watch.known.is_empty() && !watch.missed);
        let [Change::Bound, Change::Ended(end)] = changes[..] else { panic!("{changes:?}") };
        end
    };
    for end in [
        End::Deleted,
        End::Forgotten,
        End::ServerGone,
        End::Drained,
        End::Shared,
        End::Replaced,
        End::Evicted,
    ] {
        assert_eq!(end_of(&|| assert!(table.forget(key(&table, 1), end))), end);
        let forget_server = || {
            assert_eq!(table.forget_server(a, end, &mut 0, usize::MAX), 1);
        };
        assert_eq!(end_of(&forget_server), end);
    }
    let sweep = || assert_eq!(table.sweep(Tick(NOW.0 + 1001), &LIMITS, usize::MAX), 1);
    assert_eq!(end_of(&sweep), End::Expired);
}

#[test]
fn a_session_that_takes_the_place_of_an_expired_one_is_heard_after_its_end() {
    let mapping = Mapping::new(MEGABYTE);
    let table = mapping.table();
    let a = table.intern(b"a:1", NOW).unwrap();
    let mut watch = Watch::new(&table);
    create(&table, 1, a, NOW);
    create(&table, 1, a, Tick(NOW.0 + 1001));
    let all = watch.hear(&table);
    let changes = all.iter().map(|heard| heard.change);
    let expected = [Change::Bound, Change::Ended(End::Expired), Change::Bound];
    assert!(changes.eq(expected), "{all:?}");
    // Each is heard with the session as it is now.
    assert!(all.iter().all(|heard| held(heard).1 == Tick(NOW.0 + 1001)));
}

#[test]
fn an_eviction_is_heard() {
    let mapping = Mapping::new(Table::MIN_SIZE);
    let table = mapping.table();
    let a = table.intern(b"a:1", NOW).unwrap();
    let mut watch = Watch::new(&table);
    let mut evicted = 0;
    for number in 0..2000 {
        create(&table, number, a, NOW);
        evicted += watch
            .changes(&table)
            .iter()
            .filter(|change| **change == Change::Ended(End::Evicted))
            .count();
    }
    assert!(evicted > 1000);
    assert_eq!(evicted as u64, table.stats().evicted);
    assert_eq!(watch.wrong(&table, (0..2000).map(|number| key(&table, number))), []);
    assert!(!watch.missed);
}

#[test]
fn a_new_listener_hears_all_sessions_once() {
    let mapping = Mapping::new(MEGABYTE);
    let table = mapping.table();
    let a = table.intern(b"a:1", NOW).unwrap();
    let numbers = || (0..20_000).map(|number| key(&table, number));
    (0..20_000).for_each(|number| {
        create(&table, number, a, NOW);
    });
    let mut watch = Watch::default();
    let all = watch.hear(&table);
    assert!(watch.missed);
    assert_eq!(all.len(), 20_000);
    assert!(all.iter().all(|heard| heard.change == Change::Present));
    assert_eq!(watch.wrong(&table, numbers()), []);
    assert_eq!(watch.hear(&table), []);
}

/// What is repaired by the pass, and what only by looking up what one knows.
#[test]
fn a_listener_that_comes_late_hears_all_sessions_and_looks_for_the_ends() {
    let mapping = Mapping::new(MEGABYTE);
    let table = mapping.table();
    let [a, b] = [b"a:1", b"b:1"].map(|address| table.intern(address, NOW).unwrap());
    (0..10_000).for_each(|number| {
        create(&table, number, a, NOW);
    });
    let mut watch = Watch::new(&table);
    for number in 0..10_000 {
        let key = key(&table, number);
        match number % 3 {
            0 => assert!(table.forget(key, End::Deleted)),
            1 => assert_eq!(
                table.bind(key, b, None, NOW, &LIMITS, Existing::Move),
                Bound::Moved,
                "{number}"
            ),
            _ => assert_eq!(create(&table, number + 10_000, b, NOW), Bound::Created),
        }
    }
    let heard = watch.hear(&table);
    assert!(watch.missed);
    let ends = heard.iter().filter(|heard| matches!(heard.change, Change::Ended(_))).count();
    assert!(ends > 100, "the ring still had notes");
    let keys = || (0..20_000).map(|number| key(&table, number));
    let wrong = watch.wrong(&table, keys());
    assert!(!wrong.is_empty());
    assert!(wrong.iter().all(|key| table.held(*key).is_none()), "only ends are unheard");
    assert_eq!(watch.repair(&table), wrong.len());
    assert_eq!(watch.wrong(&table, keys()), []);
    // It is in time again.
    assert!(table.forget(key(&table, 1), End::ServerGone));
    assert_eq!(watch.changes(&table), [Change::Ended(End::ServerGone)]);
    assert!(!watch.missed);
}

/// The process of a listener ends before it has dealt with what it has taken.
#[test]
fn a_new_listener_hears_ends_that_another_has_taken() {
    let mapping = Mapping::new(MEGABYTE);
    let table = mapping.table();
    let a = table.intern(b"a:1", NOW).unwrap();
    create(&table, 1, a, NOW);
    let mut dead = Watch::new(&table);
    assert!(table.forget(key(&table, 1), End::Deleted));
    assert_eq!(dead.changes(&table), [Change::Ended(End::Deleted)]);
    let all = Watch::default().hear(&table);
    let [Heard { change: Change::Ended(End::Deleted), held: None, .. }] = all[..] else {
        panic!("{all:?}")
    };
}

#[test]
fn a_call_hears_no_more_than_it_is_asked_for() {
    let mapping = Mapping::new(MEGABYTE);
    let table = mapping.table();
    let a = table.intern(b"a:1", NOW).unwrap();
    let mut listener = Listener::new();
    while table.hear(&mut listener, 100, |_| ()).more {}
    for number in 0..200 {
        create(&table, number, a, NOW);
    }
    let (mut calls, mut all) = (0, 0);
    loop {
        let mut count = 0;
        let more = table.hear(&mut listener, 7, |_| count += 1).more;
        assert!(count <= 7);
        (calls, all) = (calls + 1, all + count);
        if !more {
            break;
        }
    }
    assert_eq!(all, 200);
    assert!(calls >= 200 / 7);
}

/// A reload has given the zone another size: the new table's listener hears what old workers do, when it
/// is repeated there.
#[test]
fn the_listener_of_a_successor_hears_what_is_handed_on() {
    let (old_mapping, new_mapping) = (Mapping::new(MEGABYTE), Mapping::new(2 * MEGABYTE));
    let (old, new) = (old_mapping.table(), new_mapping.table());
    let [a, b] = [b"a:1", b"b:1"].map(|address| old.intern(address, NOW).unwrap());
    (0..3).for_each(|number| {
        create(&old, number, a, NOW);
    });
    let mut former = Watch::new(&old);
    old.supersede();
    assert_eq!(new.import(&old, NOW, &LIMITS), 3);
    let mut watch = Watch::new(&new);
    assert!(old.forget(key(&old, 0), End::ServerGone));
    assert_eq!(old.bind(key(&old, 1), b, None, NOW, &LIMITS, Existing::Move), Bound::Moved);
    create(&old, 3, b, NOW);
    // Old workers may still listen to the old table.
    let changes = [Change::Ended(End::ServerGone), Change::Moved, Change::Bound];
    let mut heard = former.changes(&old);
    heard.sort_by_key(|change| changes.iter().position(|other| other == change));
    assert_eq!(heard, changes);
    assert_eq!(watch.hear(&new), []);
    let mut pass = HandOn::default();
    while old.hand_on_some(&mut pass, [&new].into_iter(), NOW, &LIMITS, 600) {}
    let mut heard = watch.changes(&new);
    heard.sort_by_key(|change| changes.iter().position(|other| other == change));
    assert_eq!(heard, changes[..2]);
    // A session that is new in the old table is heard when it is looked up.
    assert!(new.import_session(&old, key(&old, 3), NOW, &LIMITS));
    assert_eq!(watch.changes(&new), [Change::Bound]);
    // To settle a tombstone or a mark is no change.
    assert_eq!(former.hear(&old), []);
    assert_eq!(watch.wrong(&new, (0..4).map(|number| key(&new, number))), []);
    assert!(!watch.missed && !former.missed);
}
