//! The table in one process: what it promises, sentence by sentence.

#[path = "../common/mod.rs"]
mod common;
mod eviction;
mod import;
mod listen;
mod restore;
mod servers;
mod sessions;

use affinity::servers::{Event, Known, Reason, Record, Thresholds};
use affinity::table::{
    Bound, End, Existing, Key, Kind, Limits, Restored, ServerId, Span, Table, Tick,
};
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
