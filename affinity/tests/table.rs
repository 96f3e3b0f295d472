//! The table in one process: what it promises, sentence by sentence.

mod common;

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
    assert_eq!(stats.created, stats.live + stats.expired + stats.evicted + stats.forgotten, "{stats:?}");
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
fn a_megabyte_holds_32000_sessions_without_an_eviction() {
    // nginx's slab takes about a page in a hundred for itself.
    for megabytes in [1, 2, 4, 10, 32] {
        let mapping = Mapping::new(megabytes * MEGABYTE * 99 / 100 / 4096 * 4096);
        let table = mapping.table();
        let server = table.intern(b"127.0.0.1:8001", NOW).unwrap();
        for number in 0..megabytes as u64 * 32_000 {
            assert_eq!(create(&table, number, server, NOW), Bound::Created);
        }
        assert_eq!(table.stats().evicted, 0, "{megabytes} MB");
        assert_eq!(table.stats().live, megabytes as u64 * 32_000);
        for number in 0..megabytes as u64 * 32_000 {
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
