//! The end or the move of a session in a superseded table reaches its successors.

mod common;

use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};

use affinity::table::{
    Bound, End, Existing, HandOn, Key, Kind, Limits, ServerId, Session, Span, Table, Tick,
};
use common::{Mapping, Random, LIMITS, MEGABYTE};

const NOW: Tick = Tick(5_000_000);
const LATER: Tick = Tick(NOW.0 + 10);

fn key(table: &Table, number: u64) -> Key {
    table.key(Kind::Session, &number.to_le_bytes(), b"")
}

fn create(table: &Table, number: u64, server: ServerId, now: Tick) -> Bound {
    table.bind(key(table, number), server, None, now, &LIMITS, Existing::Keep)
}

fn rebind(table: &Table, number: u64, server: ServerId, now: Tick) -> Bound {
    table.bind(key(table, number), server, None, now, &LIMITS, Existing::Move)
}

fn adds_up(table: &Table) {
    let stats = table.stats();
    let gone = stats.expired + stats.evicted + stats.forgotten;
    assert_eq!(stats.created, stats.live + gone, "{stats:?}");
    let mut live = 0;
    for server in table.servers() {
        let stats = table.server_stats(server).unwrap();
        let gone = stats.live + stats.moved_out + stats.expired + stats.evicted + stats.forgotten;
        assert_eq!(stats.created + stats.moved_in, gone, "{stats:?}");
        live += stats.live;
    }
    assert_eq!(live, stats.live);
}

/// A zone before a reload that changes its size, and after it.
struct Zone {
    old: Table,
    new: Table,
    one: ServerId,
    other: ServerId,
    _mappings: [Mapping; 2],
}

/// The old table has sessions 0 to 99 at server `one`.
fn zone() -> Zone {
    let mappings = [Mapping::new(MEGABYTE), Mapping::new(2 * MEGABYTE)];
    let [old, new] = [0, 1].map(|number: usize| mappings[number].table());
    // In another order than the new table will have them.
    let (other, one) = (old.intern(b"b:1", NOW).unwrap(), old.intern(b"a:1", NOW).unwrap());
    for number in 0..100 {
        create(&old, number, one, NOW);
    }
    old.supersede();
    new.import(&old, NOW, &LIMITS);
    Zone { old, new, one, other, _mappings: mappings }
}

impl Zone {
    /// As a new worker looks up.
    fn lookup(&self, number: u64, now: Tick) -> Option<Session> {
        self.follow(number, now);
        let found = self.new.lookup(key(&self.new, number), now, &LIMITS);
        assert_eq!(self.new.lookup_at_once(key(&self.new, number), now, &LIMITS), found);
        found
    }

    fn follow(&self, number: u64, now: Tick) {
        let key = key(&self.new, number);
        if self.old.is_ahead(key) {
            self.old.hand_on(key, iter::once(&self.new), now, &LIMITS);
        }
    }

    fn pass(&self, now: Tick) {
        let mut pass = HandOn::default();
        while self.old.hand_on_some(&mut pass, iter::once(&self.new), now, &LIMITS, 240) {}
    }

    fn is_ahead(&self) -> bool {
        (0..100).any(|number| self.old.is_ahead(key(&self.old, number)))
    }

    fn add_up(&self) {
        adds_up(&self.old);
        adds_up(&self.new);
    }
}

#[test]
fn what_is_forgotten_is_unknown_to_the_successor_at_once() {
    let zone = zone();
    assert!(!zone.is_ahead(), "nothing has happened since the import");
    assert!(zone.old.forget(key(&zone.old, 1), End::Forgotten));
    assert!(!zone.old.forget(key(&zone.old, 1), End::Forgotten), "it is forgotten once");
    assert!(!zone.old.touch(key(&zone.old, 1), NOW));
    assert_eq!(zone.old.lookup(key(&zone.old, 1), NOW, &LIMITS), None);
    assert_eq!(zone.old.visit_at_once(key(&zone.old, 1), NOW, &LIMITS), None);
    assert_eq!(zone.old.stats().forgotten, 1);
    assert_eq!(zone.old.server_stats(zone.one).unwrap().live, 99);

    assert!(!zone.new.import_session(&zone.old, key(&zone.new, 1), NOW, &LIMITS));
    assert_eq!(zone.lookup(1, NOW), None);
    assert!(zone.lookup(2, NOW).is_some());
    assert_eq!((zone.old.stats().forgotten, zone.new.stats().forgotten), (1, 1));
    assert_eq!((zone.old.stats().live, zone.new.stats().live), (99, 99));
    zone.add_up();
}

#[test]
fn what_has_moved_has_moved_for_the_successor() {
    let zone = zone();
    assert_eq!(rebind(&zone.old, 1, zone.other, LATER), Bound::Moved);
    // A time to live that it gets afterwards takes nothing away.
    let ttl = Some(Span(100));
    zone.old.bind(key(&zone.old, 1), zone.other, ttl, LATER, &LIMITS, Existing::Keep);
    let found = zone.lookup(1, LATER).unwrap();
    assert_eq!(found.server.print, zone.other.print);
    assert_eq!((found.created, found.used), (NOW, LATER));
    assert_eq!(zone.lookup(2, LATER).unwrap().server.print, zone.one.print);
    assert_eq!(zone.new.stats().moved, 1);

    // It is handed on once: where the new workers move it then, it stays.
    let one = zone.new.find_server(b"a:1").unwrap();
    assert_eq!(rebind(&zone.new, 1, one, LATER), Bound::Moved);
    assert_eq!(zone.lookup(1, LATER).unwrap().server, one);
    zone.pass(LATER);
    assert_eq!(zone.lookup(1, LATER).unwrap().server, one);
    zone.add_up();
}

#[test]
fn a_pass_hands_on_all_and_lookups_look_no_more() {
    let zone = zone();
    for number in 0..30 {
        zone.old.forget(key(&zone.old, number), End::Forgotten);
        rebind(&zone.old, 30 + number, zone.other, NOW);
    }
    assert!(zone.is_ahead());
    zone.pass(LATER);
    assert!(!zone.is_ahead());
    let server =
        |number| zone.new.lookup(key(&zone.new, number), LATER, &LIMITS).map(|it| it.server.print);
    assert!((0..30).all(|number| server(number).is_none()));
    assert!((30..60).all(|number| server(number) == Some(zone.other.print)));
    assert!((60..100).all(|number| server(number) == Some(zone.one.print)));
    assert_eq!((zone.new.stats().forgotten, zone.new.stats().moved), (30, 30));
    zone.add_up();

    // A server's sessions as well.
    let mut cursor = 0;
    while zone.old.forget_server(zone.other, End::Forgotten, &mut cursor, 240) > 0 || cursor != 0 {}
    zone.pass(LATER);
    assert!((0..60).all(|number| server(number).is_none()));
    assert_eq!(zone.old.stats().live, 40);
    zone.add_up();
}

#[test]
fn a_session_created_anew_is_not_the_one_that_was_forgotten() {
    let zone = zone();
    let here = zone.new.find_server(b"a:1").unwrap();
    // By a new worker, in the very tick.
    zone.old.forget(key(&zone.old, 1), End::Forgotten);
    zone.follow(1, NOW);
    assert_eq!(create(&zone.new, 1, here, NOW), Bound::Created);
    zone.pass(NOW);
    assert!(zone.lookup(1, NOW).is_some());

    // By an old worker.
    zone.old.forget(key(&zone.old, 2), End::Forgotten);
    assert_eq!(create(&zone.old, 2, zone.other, LATER), Bound::Created);
    assert_eq!(zone.old.lookup(key(&zone.old, 2), LATER, &LIMITS).unwrap().created, LATER);
    let found = zone.lookup(2, LATER).unwrap();
    assert_eq!((found.server.print, found.created), (zone.other.print, LATER));

    // By a new worker, before an old one forgets what it has of an earlier life.
    zone.new.forget(key(&zone.new, 3), End::Forgotten);
    assert_eq!(create(&zone.new, 3, here, LATER), Bound::Created);
    zone.old.forget(key(&zone.old, 3), End::Forgotten);
    zone.pass(LATER);
    assert!(zone.lookup(3, LATER).is_some());
    zone.add_up();
}

#[test]
fn tombstones_make_room_and_expire_and_count_once() {
    let (mapping, other) = (Mapping::new(Table::MIN_SIZE), Mapping::new(MEGABYTE));
    let (table, new) = (mapping.table(), other.table());
    let server = table.intern(b"a:1", NOW).unwrap();
    for number in 0..2000 {
        create(&table, number, server, NOW);
    }
    table.supersede();
    let live: Vec<u64> =
        (0..2000).filter(|&n| table.lookup(key(&table, n), NOW, &LIMITS).is_some()).collect();
    live.iter().for_each(|&n| assert!(table.forget(key(&table, n), End::Forgotten)));
    assert_eq!(table.stats().live, 0);
    assert_eq!(new.import(&table, NOW, &LIMITS), 0, "tombstones are no sessions");
    // There is no successor.
    let evicted = table.stats().evicted;
    for number in 2000..2100 {
        create(&table, number, server, NOW);
    }
    assert_eq!(table.stats().evicted, evicted, "tombstones go first");
    assert_eq!(table.stats().live, 100);
    adds_up(&table);
    let end = Tick(NOW.0 + LIMITS.timeout.0 + 1);
    table.sweep(end, &LIMITS, usize::MAX);
    assert_eq!(table.stats().live, 0);
    assert_eq!(table.stats().expired, 100);
    adds_up(&table);

    // The reload has failed, and the next one has kept the zone: no tombstones any more.
    table.reinstate();
    create(&table, 1, server, end);
    assert!(table.forget(key(&table, 1), End::Forgotten));
    let here = new.intern(b"a:1", end).unwrap();
    create(&new, 1, here, end);
    table.hand_on(key(&table, 1), iter::once(&new), end, &LIMITS);
    assert!(new.lookup(key(&new, 1), end, &LIMITS).is_some());
    adds_up(&table);
}

/// Three tables: a change in the first reaches the third, whichever worker repeats it.
#[test]
fn news_passes_through_generations() {
    for second_follows in [false, true] {
        let zone = zone();
        let mapping = Mapping::new(MEGABYTE);
        let third = mapping.table();
        zone.new.supersede();
        third.import(&zone.new, NOW, &LIMITS);
        third.import(&zone.old, NOW, &LIMITS);

        zone.old.forget(key(&zone.old, 1), End::Forgotten);
        rebind(&zone.old, 2, zone.other, NOW);
        let second_other = zone.new.intern(b"b:1", NOW).unwrap();
        rebind(&zone.new, 3, second_other, NOW);
        if second_follows {
            zone.pass(NOW);
        }
        let lookup = |number: u64| {
            let key = key(&third, number);
            if zone.old.is_ahead(key) {
                zone.old.hand_on(key, [&zone.new, &third].into_iter(), NOW, &LIMITS);
            }
            if zone.new.is_ahead(key) {
                zone.new.hand_on(key, iter::once(&third), NOW, &LIMITS);
            }
            third.lookup(key, NOW, &LIMITS).map(|session| session.server.print)
        };
        assert_eq!(lookup(1), None);
        assert_eq!(lookup(2), Some(zone.other.print));
        assert_eq!(lookup(3), Some(zone.other.print));
        assert_eq!(lookup(4), Some(zone.one.print));
        // The second table knows it, too.
        let second = |n| zone.new.lookup(key(&zone.new, n), NOW, &LIMITS).map(|it| it.server.print);
        assert_eq!([second(1), second(2)], [None, Some(zone.other.print)]);
        zone.add_up();
        adds_up(&third);
    }
}

/// If the successor's list has no room for a server, its session is unknown there, not misrouted.
#[test]
fn a_move_that_finds_no_room_ends_the_session() {
    let (mapping, small) = (Mapping::new(MEGABYTE), Mapping::new(Table::MIN_SIZE));
    let (old, new) = (mapping.table(), small.table());
    let one = old.intern(b"a:1", NOW).unwrap();
    create(&old, 1, one, NOW);
    old.supersede();
    new.import(&old, NOW, &LIMITS);
    let mut number = 0;
    while let Some(server) = new.intern(format!("x:{number}").as_bytes(), NOW) {
        new.set_server_flags(server, 1, 0);
        number += 1;
    }
    let other = old.intern(b"b:1", NOW).unwrap();
    rebind(&old, 1, other, NOW);
    old.hand_on(key(&old, 1), iter::once(&new), NOW, &LIMITS);
    assert_eq!(new.lookup(key(&new, 1), NOW, &LIMITS), None);
    adds_up(&new);
}

/// Old threads forget and move sessions while the table is imported and after that. New threads look up,
/// bind and pass over the table. A new thread sees at its next lookup what an old one has finished.
#[test]
fn nothing_is_missed_while_all_are_at_work() {
    const SESSIONS: u64 = 6000;
    let mappings = [Mapping::new(MEGABYTE), Mapping::new(2 * MEGABYTE)];
    let [old, new] = [0, 1].map(|number: usize| mappings[number].table());
    let (one, other) = (old.intern(b"a:1", NOW).unwrap(), old.intern(b"b:1", NOW).unwrap());
    for number in 0..SESSIONS {
        create(&old, number, one, NOW);
    }
    let limits = Limits { timeout: Span(1 << 20), lifetime: None };
    let done: Vec<AtomicBool> = (0..SESSIONS).map(|_| AtomicBool::new(false)).collect();
    let over = AtomicBool::new(false);
    let check = |number: u64| {
        let was_done = done[number as usize].load(Ordering::SeqCst);
        let key = key(&new, number);
        if old.is_ahead(key) {
            old.hand_on(key, iter::once(&new), NOW, &limits);
        }
        let found = new.lookup(key, NOW, &limits);
        let found = found.or_else(|| {
            old.lookup(key, NOW, &limits)?;
            new.import_session(&old, key, NOW, &limits);
            new.lookup(key, NOW, &limits)
        });
        match number % 3 {
            0 => assert!(!was_done || found.is_none(), "{number} was forgotten"),
            1 if was_done => assert_eq!(found.unwrap().server.print, other.print, "{number}"),
            _ => assert!(found.is_some(), "{number} is live"),
        }
    };
    std::thread::scope(|scope| {
        let worker = |from: u64| {
            let (old, done) = (&old, &done);
            move || {
                for number in (from..SESSIONS).step_by(2) {
                    match number % 3 {
                        0 => assert!(old.forget(key(old, number), End::Forgotten)),
                        1 => assert_eq!(rebind(old, number, other, NOW), Bound::Moved),
                        _ => continue,
                    }
                    done[number as usize].store(true, Ordering::SeqCst);
                    if number % 16 < 2 {
                        std::thread::yield_now();
                    }
                }
            }
        };
        let workers = [scope.spawn(worker(0)), scope.spawn(worker(1))];
        old.supersede();
        new.import(&old, NOW, &limits);
        scope.spawn(|| {
            let mut random = Random(3);
            while !over.load(Ordering::SeqCst) {
                check(random.below(SESSIONS));
            }
        });
        scope.spawn(|| {
            let mut pass = HandOn::default();
            while !over.load(Ordering::SeqCst) {
                old.hand_on_some(&mut pass, iter::once(&new), NOW, &limits, 240);
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        over.store(true, Ordering::SeqCst);
    });
    (0..SESSIONS).for_each(check);
    let mut pass = HandOn::default();
    while old.hand_on_some(&mut pass, iter::once(&new), NOW, &limits, 240) {}
    assert!((0..SESSIONS).all(|number| !old.is_ahead(key(&old, number))));
    assert_eq!(new.stats().live, SESSIONS / 3 * 2);
    assert_eq!(old.stats().live, SESSIONS / 3 * 2);
    adds_up(&old);
    adds_up(&new);
}

#[test]
fn what_ends_with_its_former_server_goes_on_where_it_has_moved() {
    let zone = zone();
    let other = zone.new.intern(b"b:1", NOW).unwrap();
    assert_eq!(rebind(&zone.new, 1, other, NOW), Bound::Moved);
    // The drain of its former server comes to its end in the old table.
    let mut cursor = 0;
    loop {
        zone.old.forget_server(zone.one, End::Forgotten, &mut cursor, 240);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(zone.lookup(1, LATER).map(|session| session.server), Some(other));
    assert_eq!(zone.lookup(2, LATER), None);
    zone.pass(LATER);
    assert_eq!(zone.new.stats().live, 1);
    zone.add_up();
}

#[test]
fn a_session_that_has_moved_or_begun_again_before_it_ended_has_ended_for_the_successor() {
    for begins_again in [false, true] {
        let zone = zone();
        if begins_again {
            assert!(zone.old.forget(key(&zone.old, 1), End::Forgotten));
            assert_eq!(create(&zone.old, 1, zone.other, LATER), Bound::Created);
        } else {
            assert_eq!(rebind(&zone.old, 1, zone.other, LATER), Bound::Moved);
        }
        assert!(zone.old.forget(key(&zone.old, 1), End::Forgotten));
        assert_eq!(zone.lookup(1, LATER), None);
        zone.add_up();
    }
}
