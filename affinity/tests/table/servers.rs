//! The list of servers.

use super::*;

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
        forgotten += table.forget_server(b, End::Forgotten, &mut cursor, 300);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(forgotten, 667);
    assert_eq!(table.stats().live, 333);
    adds_up(&table);
}
