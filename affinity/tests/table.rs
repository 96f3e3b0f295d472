//! The table in one process: what it promises, sentence by sentence.

mod common;

use affinity::servers::{Event, Known, Reason, Record, Thresholds};
use affinity::table::{Bound, Existing, Key, Kind, Limits, ServerId, Span, Table, Tick};
use common::{Mapping, Random, LIMITS, MEGABYTE, SECRET};

const NOW: Tick = Tick(5_000_000);

fn key(table: &Table, number: u64) -> Key {
    table.key(Kind::Session, &number.to_le_bytes(), b"")
}

fn create(table: &Table, number: u64, server: ServerId, now: Tick) -> Bound {
    table.bind(key(table, number), server, None, now, &LIMITS, Existing::Keep)
}

fn adds_up(table: &Table) {
    let stats = table.stats();
    assert_eq!(
        stats.created,
        stats.live + stats.expired + stats.evicted + stats.forgotten,
        "{stats:?}"
    );
    let mut live = 0;
    for server in table.servers() {
        let stats = table.server_stats(server).unwrap();
        let gone = stats.live + stats.moved_out + stats.expired + stats.evicted + stats.forgotten;
        assert_eq!(stats.created + stats.moved_in, gone, "{stats:?}");
        live += stats.live;
    }
    assert_eq!(live, stats.live);
}

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
fn a_flood_of_new_sessions_spares_those_in_use() {
    const REGULARS: u64 = 10_000;
    // Regular use: each of them once while this fraction of the table's capacity passes by. They
    // are a fifth or a tenth of what fits in.
    for (size, fraction) in [(MEGABYTE, 2), (2 * MEGABYTE, 2)] {
        let mapping = Mapping::new(size);
        let table = mapping.table();
        let server = table.intern(b"a:1", NOW).unwrap();
        let capacity = table.stats().capacity;
        for number in 0..REGULARS {
            create(&table, number, server, NOW);
        }
        let mut now = NOW;
        let turns = capacity / fraction / 500;
        for flood in 0..10 * capacity {
            create(&table, REGULARS + flood, server, now);
            if flood % 500 == 0 {
                now.0 += 1;
                for number in (flood / 500 % turns..REGULARS).step_by(turns as usize) {
                    assert!(table.touch(key(&table, number), now), "in use and lost after {flood}");
                }
            }
        }
        let lost = (0..REGULARS).filter(|&number| !table.touch(key(&table, number), now)).count();
        assert_eq!(lost, 0);
        let stats = table.stats();
        assert!(stats.evicted > 9 * capacity && stats.live > capacity * 99 / 100, "{stats:?}");
        adds_up(&table);
    }
}

/// The order of eviction is no finer than a tick. A small zone that is filled within one keeps any
/// of its sessions; those of the next tick are all there, and those of some ticks ago are not.
#[test]
fn sessions_of_an_earlier_tick_are_evicted_first() {
    for secret in 0..200 {
        let mapping = Mapping::new(27 * 1024);
        // SAFETY: the mapping outlives the table.
        let table = unsafe { Table::create(mapping.start, mapping.len, [secret; 16]) }.unwrap();
        let server = table.intern(b"a:1", NOW).unwrap();
        let fill = |numbers: core::ops::Range<u64>, now| {
            for number in numbers {
                assert_eq!(create(&table, number, server, now), Bound::Created);
            }
        };
        let live = |numbers: core::ops::Range<u64>, now| {
            let is_live = |&number: &u64| table.lookup(key(&table, number), now, &LIMITS).is_some();
            numbers.filter(is_live).count() as u64
        };
        let (first, batch) = (3 * table.capacity(), table.capacity() / 2);
        fill(0..first, NOW);
        for number in 0..6 {
            let (now, from) = (Tick(NOW.0 + 1 + number as u32), first + number * batch);
            fill(from..from + batch, now);
            assert_eq!(live(from..from + batch, now), batch);
        }
        assert_eq!(live(0..first, Tick(NOW.0 + 6)), 0);
    }
}

/// One second, in ticks: rounded up, as the table does.
const SECOND: u32 = 16;
const MINUTE: u32 = 60 * SECOND;

/// A table for 36,000 sessions in which 10,000 have been used once a minute for three minutes.
struct Flooded {
    _mapping: Mapping,
    table: Table,
    server: ServerId,
    now: Tick,
    limits: Limits,
    next: u64,
}

impl Flooded {
    const REGULARS: u64 = 10_000;

    fn new() -> Flooded {
        let mapping = Mapping::new(MEGABYTE * 99 / 100 / 4096 * 4096);
        let table = mapping.table();
        let server = table.intern(b"a:1", NOW).unwrap();
        let limits = Limits { timeout: Span(10 * MINUTE), lifetime: None };
        let next = Self::REGULARS;
        let mut it = Flooded { _mapping: mapping, table, server, now: NOW, limits, next };
        for number in 0..Self::REGULARS {
            it.begin(number);
        }
        (0..3 * MINUTE).for_each(|_| it.tick(0));
        it
    }

    fn begin(&self, number: u64) {
        let key = key(&self.table, number);
        let bound = self.table.bind(key, self.server, None, self.now, &self.limits, Existing::Keep);
        assert_eq!(bound, Bound::Created);
    }

    /// Uses a session. False if there is none.
    fn is_used(&self, number: u64) -> bool {
        self.table.visit(key(&self.table, number), self.now, &self.limits).is_some()
    }

    /// A tick in which so many new ones come, each with two requests, and the regulars whose turn
    /// it is.
    fn tick(&mut self, new: u64) {
        for number in self.next..self.next + new {
            self.begin(number);
        }
        self.now.0 += 1;
        for number in self.next..self.next + new {
            self.is_used(number);
        }
        self.next += new;
        let turn = u64::from(self.now.0 % MINUTE);
        for number in (turn..Self::REGULARS).step_by(MINUTE as usize) {
            assert!(self.is_used(number), "in use and lost after {}", self.next);
        }
    }
}

#[test]
fn a_million_new_sessions_evict_none_of_10_000_in_use() {
    for minutes in [1, 3, 10] {
        let mut it = Flooded::new();
        let ticks = minutes * MINUTE;
        for _ in 0..ticks {
            it.tick(1_000_000_u64.div_ceil(ticks.into()));
        }
        assert!(it.next > 1_000_000);
        let lost = (0..Flooded::REGULARS).filter(|&number| !it.is_used(number)).count();
        println!("a million in {minutes} min: {lost} lost, {:?}", it.table.stats());
        assert_eq!(lost, 0);

        // Nor does a smaller table that takes over.
        let smaller = Mapping::new(MEGABYTE / 2);
        let copy = smaller.table();
        copy.import(&it.table, it.now, &it.limits);
        assert!(copy.stats().live < it.table.stats().live);
        let kept = |&number: &u64| copy.lookup(key(&copy, number), it.now, &it.limits).is_some();
        assert_eq!((0..Flooded::REGULARS).filter(kept).count() as u64, Flooded::REGULARS);
        adds_up(&it.table);
        adds_up(&copy);
    }
}

/// 1,000 new sessions a second, of which some are used further: they survive their first minute, in which
/// only their use distinguishes them from the others.
#[test]
fn a_new_session_in_use_outlives_a_flood() {
    let mut it = Flooded::new();
    let (every, use_every) = (SECOND, 5 * SECOND);
    let mut newcomers = Vec::new();
    let (mut unused, mut alive) = (Vec::new(), 0);
    for tick in 0..4 * MINUTE {
        it.tick(1_000 / u64::from(SECOND));
        if tick % every == 0 {
            let number = (1 << 40) + u64::from(tick);
            it.begin(number);
            newcomers.push((number, tick));
            it.begin(number + (1 << 41));
            unused.push((number + (1 << 41), tick));
        }
        for &(number, since) in &newcomers {
            let due = tick > since && (tick - since) % use_every == 0;
            assert!(!due || it.is_used(number), "begun {since}, in use and lost {tick}");
        }
        // One that waits ten seconds for its first use is there then.
        for &(number, since) in unused.iter().filter(|(_, since)| tick == since + 10 * SECOND) {
            assert!(it.is_used(number), "begun {since}, lost {tick}");
            alive += 1;
        }
    }
    assert!(it.table.stats().evicted > 100_000);
    println!("{} in use, {alive} used after ten seconds: none lost", newcomers.len());
    adds_up(&it.table);
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
fn a_bigger_or_smaller_table_takes_over() {
    let (old, bigger, smaller) =
        (Mapping::new(MEGABYTE), Mapping::new(2 * MEGABYTE), Mapping::new(MEGABYTE / 2));
    let table = old.table();
    let servers: Vec<_> =
        (0..5u8).map(|n| table.intern(&[b'a' + n, b':', b'1'], NOW).unwrap()).collect();
    let sessions = 30_000u64;
    for number in 0..sessions {
        let now = Tick(NOW.0 + (number % 500) as u32);
        create(&table, number, servers[number as usize % 5], now);
    }
    let down = Record { down_since: Some(NOW), ..Record::default() };
    table.update_record(servers[3], |_| down);
    table.set_server_flags(servers[4], 2, 0);
    let now = Tick(NOW.0 + 700);

    let copy = bigger.table();
    copy.intern(b"another:1", now);
    assert_eq!(copy.import(&table, now, &LIMITS) as u64, sessions);
    for number in 0..sessions {
        let was = table.lookup(key(&table, number), now, &LIMITS).unwrap();
        let is = copy.lookup(key(&copy, number), now, &LIMITS).unwrap();
        assert_eq!(
            (was.server.print, was.created, was.used),
            (is.server.print, is.created, is.used)
        );
    }
    let [third, fourth] = [b"d:1", b"e:1"].map(|address| copy.find_server(address).unwrap());
    assert_eq!(copy.record(third), down);
    assert_eq!(copy.server_flags(fourth), 2);
    assert_eq!(copy.import(&table, now, &LIMITS), 0, "a second time adds nothing");
    adds_up(&copy);

    let copy = smaller.table();
    copy.import(&table, now, &LIMITS);
    let kept: Vec<u64> =
        (0..sessions).filter(|&n| copy.lookup(key(&copy, n), now, &LIMITS).is_some()).collect();
    assert!(kept.len() as u64 > copy.stats().capacity * 95 / 100);
    // Of the newest half of what fits nearly all are kept.
    let newest = sessions - kept.len() as u64 / 2;
    let by_use = |number: &u64| number % 500 >= 500 * newest / sessions;
    let (there, all) =
        (kept.iter().filter(|n| by_use(n)).count(), (0..sessions).filter(by_use).count());
    assert!(there * 1000 >= all * 995, "{there} of {all}");
    adds_up(&copy);

    let mapping = Mapping::new(MEGABYTE);
    // SAFETY: the mapping outlives the table.
    let stranger =
        unsafe { Table::create(mapping.start, mapping.len, *b"another secret..") }.unwrap();
    assert_eq!(stranger.import(&table, now, &LIMITS), 0);
}

#[test]
fn an_import_goes_on_while_others_write() {
    let (old, new) = (Mapping::new(MEGABYTE), Mapping::new(2 * MEGABYTE));
    let (table, copy) = (old.table(), new.table());
    let servers: Vec<_> =
        (0..5u8).map(|n| table.intern(&[b'a' + n, b':', b'1'], NOW).unwrap()).collect();
    for number in 0..20_000u64 {
        create(&table, number, servers[number as usize % 5], NOW);
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(7);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Sessions from 10,000 on come and go; each belongs to its server only.
                let number = 10_000 + random.below(20_000);
                if random.below(2) == 0 {
                    table.forget(key(&table, number));
                } else {
                    create(&table, number, servers[number as usize % 5], NOW);
                }
            }
        });
        for _ in 0..5 {
            copy.import(&table, NOW, &LIMITS);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for number in 0..30_000u64 {
        let session = copy.lookup(key(&copy, number), NOW, &LIMITS);
        assert!(number >= 10_000 || session.is_some());
        if let Some(session) = session {
            assert_eq!(session.server.print, servers[number as usize % 5].print);
        }
    }
    adds_up(&copy);
}

#[test]
fn a_full_server_list_recycles_servers_without_sessions() {
    let mapping = Mapping::new(Table::MIN_SIZE);
    let table = mapping.table();
    let busy = table.intern(b"busy:1", NOW).unwrap();
    create(&table, 1, busy, NOW);
    let flagged = table.intern(b"flagged:1", NOW).unwrap();
    assert!(table.set_server_flags(flagged, 1, 0));
    let known = table.intern(b"known:1", NOW).unwrap();
    let failed = Event::Failed(Reason::Refused);
    let rules = Thresholds { pause: Span(1), gone_after: Span(4) };
    table.update_record(known, |record| record.apply(failed, NOW, &rules));
    let mut first = None;
    // Servers are added and removed many times.
    for number in 0..1000u32 {
        let address = format!("10.0.{}.{}:8000", number / 256, number % 256);
        let now = Tick(NOW.0 + number);
        let server = table.intern(address.as_bytes(), now).unwrap();
        table.count_hit(server);
        assert_eq!(table.find_server(address.as_bytes()), Some(server));
        first.get_or_insert(server);
    }
    let first = first.unwrap();
    assert_eq!(table.address(first, &mut [0; Table::MAX_ADDRESS]), None);
    assert_eq!(
        table.bind(key(&table, 2), first, None, NOW, &LIMITS, Existing::Keep),
        Bound::Refused
    );
    assert_eq!(table.server_stats(first), None);
    assert_eq!(table.update_record(first, |record| record), None);
    assert!(!table.set_server_flags(first, 1, 0));
    assert_eq!(table.lookup(key(&table, 1), NOW, &LIMITS).unwrap().server, busy);
    assert_eq!(table.server_flags(flagged), 1);
    assert_eq!(table.record(known).known, Known::Unreachable);
    // A late hit is still one of the table's.
    table.count_hit(first);
    assert_eq!(table.stats().hits, 1001);

    // Long addresses take several cells in a row; a list full of servers with sessions refuses.
    let long = [b'/'; Table::MAX_ADDRESS];
    let server = table.intern(&long, Tick(NOW.0 + 2000)).unwrap();
    assert_eq!(table.address(server, &mut [0; Table::MAX_ADDRESS]), Some(&long[..]));
    assert_eq!(table.intern(&[b'/'; Table::MAX_ADDRESS + 1], NOW), None);
    let servers: Vec<_> = table.servers().collect();
    for (number, server) in servers.into_iter().enumerate() {
        create(&table, 100 + number as u64, server, NOW);
    }
    let mut number = 0;
    let refused = loop {
        let Some(server) = table.intern(format!("new{number}:1").as_bytes(), NOW) else {
            break number;
        };
        create(&table, 1000 + number, server, NOW);
        number += 1;
    };
    assert!(refused < 20);
    adds_up(&table);
}

#[test]
fn a_region_of_the_length_for_so_many_servers_has_room_for_them() {
    for count in [1, 16, 17, 24, 100, 360, 361, 1000, 4096] {
        let len = Table::len_with_cells(count).unwrap();
        for more in [0, 1, 4096, 40_000, 250_000, 1_000_000, 3_000_000] {
            assert!(Table::cells_in(len + more) >= count, "{count} in {len} + {more}");
        }
        assert!(
            len < 2 * Table::MIN_SIZE || Table::cells_in(len - 1024) < count,
            "{count} in {len}"
        );

        let mapping = Mapping::new(len.next_multiple_of(4096));
        // SAFETY: the mapping outlives the table.
        let table = unsafe { Table::create(mapping.start, len, SECRET) }.unwrap();
        for number in 0..count as u64 {
            let server = table.intern(format!("10.0.0.1:{number}").as_bytes(), NOW).unwrap();
            // A server that has a session stays.
            assert_eq!(create(&table, number, server, NOW), Bound::Created);
        }
        assert_eq!(table.servers().count(), count);
    }
    assert_eq!(Table::len_with_cells(4097), None);
    assert_eq!([1, 48, 49, 108].map(|len| Table::cells_for(&vec![b'/'; len])), [1, 1, 2, 3]);
}

#[test]
fn servers_keep_state_and_lose_sessions_on_demand() {
    let mapping = Mapping::new(64 * 1024);
    let table = mapping.table();
    let [a, b] = [&b"a:1"[..], b"b:1"].map(|address| table.intern(address, NOW).unwrap());
    let blank = Record::default();
    assert_eq!(table.record(a), blank);
    let down = Record { down_since: Some(NOW), ..blank };
    assert_eq!(table.update_record(a, |_| down), Some((blank, down)));
    assert_eq!((table.record(a), table.record(b)), (down, blank));
    assert_eq!(table.update_record(a, |_| blank), Some((down, blank)));
    assert_eq!(table.record(a), blank);
    for number in 0..1000 {
        create(&table, number, if number % 3 == 0 { a } else { b }, NOW);
    }
    assert_eq!(table.bind(key(&table, 0), b, None, NOW, &LIMITS, Existing::Keep), Bound::Kept);
    assert_eq!(table.bind(key(&table, 0), b, None, NOW, &LIMITS, Existing::Move), Bound::Moved);
    assert_eq!(table.bind(key(&table, 0), b, None, NOW, &LIMITS, Existing::Keep), Bound::Refreshed);
    assert_eq!(table.server_stats(a).unwrap().live, 333);
    assert_eq!(table.server_stats(b).unwrap().live, 667);
    assert_eq!(table.stats().moved, 1);
    let (mut cursor, mut forgotten) = (0, 0);
    loop {
        forgotten += table.forget_server(b, &mut cursor, 300);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(forgotten, 667);
    assert_eq!(table.stats().live, 333);
    adds_up(&table);
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
