//! Sessions copied from another table.

use super::*;

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
                    table.forget(key(&table, number), End::Forgotten);
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
