//! The life of sessions, and the memory that they need.

use super::*;

#[test]
fn a_megabyte_holds_36000_sessions_without_an_eviction() {
    // nginx's slab takes about a page in a hundred for itself.
    for megabytes in [1, 3, 32] {
        let mapping = Mapping::new(megabytes * MEGABYTE * 99 / 100 / 4096 * 4096);
        let table = mapping.table();
        let server = table.intern(b"127.0.0.1:8001", NOW).unwrap();
        for number in 0..megabytes as u64 * 36_000 {
            assert_eq!(create(&table, number, server, NOW), Bound::Created);
        }
        assert_eq!(table.stats().evicted, 0, "{megabytes} MB");
        assert_eq!(table.stats().live, megabytes as u64 * 36_000);
        for number in 0..megabytes as u64 * 36_000 {
            assert_eq!(table.lookup(key(&table, number), NOW, &LIMITS).unwrap().server, server);
        }
        println!("{megabytes} MB: {:?}", table.stats());
        adds_up(&table);
    }
}

#[test]
fn the_smallest_zone_of_nginx_works() {
    for len in [Table::MIN_SIZE, 24 * 1024, 32 * 1024] {
        let mapping = Mapping::new(len);
        let table = mapping.table();
        let server = table.intern(b"[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535", NOW).unwrap();
        for number in 0..5000 {
            assert_eq!(create(&table, number, server, NOW), Bound::Created);
            assert_eq!(table.lookup(key(&table, number), NOW, &LIMITS).unwrap().server, server);
        }
        println!("{len} bytes: {:?}", table.stats());
        adds_up(&table);
    }
}

#[test]
fn sessions_end_when_idle_old_or_at_their_own_time() {
    let mapping = Mapping::new(64 * 1024);
    let table = mapping.table();
    let server = table.intern(b"a:1", NOW).unwrap();
    let later = |ticks| Tick(NOW.0 + ticks);
    let limits = Limits { timeout: Span(100), lifetime: Some(Span(1000)) };
    let bind =
        |number, ttl| table.bind(key(&table, number), server, ttl, NOW, &limits, Existing::Keep);
    bind(1, None);
    bind(2, Some(Span(500)));
    let live = |number, at| table.lookup(key(&table, number), later(at), &limits).is_some();
    assert!(live(1, 100) && !live(1, 101), "idle");
    for at in (50..=1000).step_by(50) {
        assert!(table.touch(key(&table, 1), later(at)));
    }
    assert!(live(1, 1000) && !live(1, 1001), "old");
    assert!(live(2, 500) && !live(2, 505), "its own time");
    assert_eq!(table.sweep(later(2000), &limits, usize::MAX), 2);
    assert_eq!(table.stats().expired, 2);
    adds_up(&table);
}

#[test]
fn a_time_to_live_counts_from_the_creation_whatever_the_timeout() {
    let mapping = Mapping::new(64 * 1024);
    let table = mapping.table();
    let [a, b] = [&b"a:1"[..], b"b:1"].map(|address| table.intern(address, NOW).unwrap());
    let later = |ticks| Tick(NOW.0 + ticks);
    let limits = Limits { timeout: Span(100), lifetime: Some(Span(200)) };
    let bind = |number, server, ttl: Option<u32>, at| {
        table.bind(key(&table, number), server, ttl.map(Span), later(at), &limits, Existing::Move)
    };
    let live = |number, at| table.lookup(key(&table, number), later(at), &limits).is_some();
    let ends_after = |number, ticks| live(number, ticks) && !live(number, ticks + 1);

    // Shorter and longer than the timeout; used or not.
    for (number, ttl) in [(1, 10), (2, 150), (3, 0)] {
        assert_eq!(bind(number, a, Some(ttl), 0), Bound::Created);
        assert!(ends_after(number, ttl.max(1)), "{ttl}, never used");
        table.visit(key(&table, number), later(1), &limits).unwrap();
        assert!(table.touch(key(&table, number), later(5)));
        assert!(ends_after(number, ttl.max(1)), "{ttl}, used");
    }
    // The table's limit of age holds for all.
    bind(4, a, Some(1000), 0);
    assert!(ends_after(4, 200));
    // A session that is there gets another one, from its creation as well, and keeps it.
    bind(5, a, None, 0);
    assert!(ends_after(5, 100));
    assert_eq!(bind(5, a, Some(120), 50), Bound::Refreshed);
    assert!(ends_after(5, 120));
    assert_eq!(bind(5, b, None, 60), Bound::Moved);
    assert_eq!(bind(5, b, None, 70), Bound::Refreshed);
    assert!(ends_after(5, 120));
    assert_eq!(bind(5, b, Some(30), 80), Bound::Refreshed);
    assert!(!live(5, 80), "its time was over already");
    // A copy has the same.
    let other = Mapping::new(64 * 1024);
    let copy = other.table();
    assert!(copy.import_session(&table, key(&table, 2), later(140), &limits));
    let found = |at| copy.lookup(key(&copy, 2), later(at), &limits).is_some();
    assert!(found(150) && !found(151));
    adds_up(&table);
}

#[test]
fn filling_and_emptying_a_thousand_times_leaves_no_trace() {
    let mapping = Mapping::new(32 * 1024);
    let table = mapping.table();
    let server = table.intern(b"a:1", NOW).unwrap();
    let sessions = 800;
    let mut now = NOW;
    let mut times = Vec::new();
    for round in 0..1000 {
        let started = std::time::Instant::now();
        for number in 0..sessions {
            assert_eq!(create(&table, round * sessions + number, server, now), Bound::Created);
        }
        times.push(started.elapsed());
        assert_eq!(table.stats().live, sessions, "round {round}");
        now.0 += 1001;
        let mut expired = 0;
        while expired < sessions as usize {
            expired += table.sweep(now, &LIMITS, 600);
        }
        assert_eq!(table.stats().live, 0);
    }
    assert_eq!(table.stats().evicted, 0);
    adds_up(&table);
    let median = |times: &mut [std::time::Duration]| {
        times.sort();
        times[times.len() / 2]
    };
    let (first, last) = (median(&mut times[..100]), median(&mut times[900..]));
    println!("{sessions} sessions created in {first:?} at first, {last:?} at last");
    assert!(last < first * 2, "creation has become slow: {first:?}, {last:?}");
}

#[test]
fn threads_binding_the_same_keys_create_each_once() {
    let mapping = Mapping::new(MEGABYTE);
    let table = mapping.table();
    let servers = [table.intern(b"a:1", NOW).unwrap(), table.intern(b"b:1", NOW).unwrap()];
    std::thread::scope(|scope| {
        for server in servers {
            scope.spawn(move || {
                for number in 0..20_000 {
                    let bound = create(&table, number, server, NOW);
                    assert!(matches!(bound, Bound::Created | Bound::Kept));
                    let found = table.lookup(key(&table, number), NOW, &LIMITS).unwrap();
                    assert_eq!(bound == Bound::Created, found.server == server);
                }
            });
        }
    });
    assert_eq!(table.stats().created, 20_000);
    adds_up(&table);
}

#[test]
fn a_region_without_a_table_is_refused() {
    use affinity::table::TableError;
    let mapping = Mapping::new(64 * 1024);
    // SAFETY: the mapping is that long and outlives the tables.
    let attach = |len| unsafe { Table::attach(mapping.start, len) }.map(|_| ());
    assert_eq!(attach(mapping.len), Err(TableError::NotATable));
    assert_eq!(attach(100), Err(TableError::TooSmall));
    assert_eq!(TableError::TooSmall.to_string(), "too small for a session table");
    let create = |skip: usize, len| {
        // SAFETY: the mapping is that long and outlives the tables. It is zero where a table is created.
        unsafe { Table::create(mapping.start.add(skip), len, SECRET) }.map(|_| ())
    };
    assert_eq!(create(0, Table::MIN_SIZE - 1), Err(TableError::TooSmall));
    assert_eq!(create(8, Table::MIN_SIZE), Err(TableError::Misaligned));
    assert_eq!(create(0, mapping.len), Ok(()));
    assert_eq!(attach(mapping.len), Ok(()));
    assert_eq!(attach(mapping.len / 2), Err(TableError::Geometry));
}

/// Two machines with tables of their own secrets have the same key for an id, and still the one from before.
#[test]
fn tables_that_share_ids() {
    let (here, there) = (Mapping::new(MEGABYTE), Mapping::new(MEGABYTE));
    let own = here.table();
    // SAFETY: the mapping is new, that long, and outlives the table.
    let other = unsafe { Table::create(there.start, there.len, *b"another secret..") }.unwrap();
    let key = |table: &Table| table.key(Kind::Session, b"id", b"");
    assert_ne!(key(&own), key(&other));
    let shared = own.with_shared_ids(*b"the fleet's own.");
    assert_eq!(key(&shared), key(&other.with_shared_ids(*b"the fleet's own.")));
    assert_ne!(key(&shared), key(&own));
    assert_eq!(key(&shared.with_own_ids()), key(&own));
    // The servers are the same for both.
    let server = own.intern(b"127.0.0.1:8001", NOW).unwrap();
    assert_eq!(shared.find_server(b"127.0.0.1:8001"), Some(server));
}

#[test]
fn a_session_of_another_machine_is_as_old_as_there() {
    let mapping = Mapping::new(MEGABYTE);
    let table = mapping.table();
    let server = table.intern(b"127.0.0.1:8001", NOW).unwrap();
    let created = Tick(NOW.0.wrapping_sub(900));
    let limits = Limits { lifetime: Some(Span(1000)), ..LIMITS };
    let bind = |number, ttl| {
        let since = (ttl, created);
        table.bind_since(key(&table, number), server, since, NOW, &limits, Existing::Move)
    };
    assert_eq!((bind(1, None), bind(1, None)), (Bound::Created, Bound::Refreshed));
    assert_eq!(bind(2, Some(Span(950))), Bound::Created);
    let is_there = |number, after| {
        let now = Tick(NOW.0.wrapping_add(after));
        table.lookup(key(&table, number), now, &limits).is_some()
    };
    assert_eq!((is_there(1, 90), is_there(1, 110)), (true, false));
    assert_eq!((is_there(2, 40), is_there(2, 70)), (true, false));
    assert_eq!(table.lookup(key(&table, 1), NOW, &limits).unwrap().created, created);
}
