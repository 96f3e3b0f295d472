//! The table, and a listener of it, against a map that does the same in the simplest way, on random
//! sequences of operations (proptest).

mod common;

use std::collections::HashMap;

use affinity::table::{Bound, End, Existing, Key, Kind, Limits, ServerId, Span, Table, Tick};
use common::watch::Watch;
use common::{Mapping, SECRET};
use proptest::prelude::*;

const SERVERS: usize = 4;
const IDS: u8 = 40;

#[derive(Clone, Debug)]
enum Operation {
    Bind {
        id: u8,
        server: usize,
        ttl: Option<u32>,
        existing: Existing,
    },
    Lookup {
        id: u8,
    },
    Visit {
        id: u8,
    },
    Touch {
        id: u8,
    },
    /// Copy one session into another table, as a worker does after a reload.
    ImportSession {
        id: u8,
    },
    Forget {
        id: u8,
    },
    ForgetServer {
        server: usize,
    },
    Sweep,
    /// Continue in a new table of another size.
    Import {
        pages: usize,
    },
    /// Continue with another handle of the same memory.
    Attach,
    Wait {
        ticks: u32,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let existing = prop_oneof![Just(Existing::Keep), Just(Existing::Move)];
    let ttl = prop_oneof![3 => Just(None), 1 => (0u32..400).prop_map(Some)];
    prop_oneof![
        8 => (0..IDS, 0..SERVERS, ttl, existing)
            .prop_map(|(id, server, ttl, existing)| Operation::Bind { id, server, ttl, existing }),
        8 => (0..IDS).prop_map(|id| Operation::Lookup { id }),
        4 => (0..IDS).prop_map(|id| Operation::Visit { id }),
        4 => (0..IDS).prop_map(|id| Operation::Touch { id }),
        2 => (0..IDS).prop_map(|id| Operation::ImportSession { id }),
        2 => (0..IDS).prop_map(|id| Operation::Forget { id }),
        1 => (0..SERVERS).prop_map(|server| Operation::ForgetServer { server }),
        1 => Just(Operation::Sweep),
        1 => (2usize..20).prop_map(|pages| Operation::Import { pages }),
        1 => Just(Operation::Attach),
        4 => (0u32..60).prop_map(|ticks| Operation::Wait { ticks }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (1u32..200, proptest::option::of(1u32..400)).prop_map(|(timeout, lifetime)| Limits {
        timeout: Span(timeout),
        lifetime: lifetime.map(Span),
    })
}

#[derive(Clone, Copy)]
struct Model {
    server: usize,
    ttl: Option<Span>,
    created: Tick,
    used: Tick,
}

impl Model {
    fn expired(&self, now: Tick, limits: &Limits) -> bool {
        let age = now.since(self.created);
        limits.lifetime.is_some_and(|lifetime| age > lifetime)
            || match self.ttl {
                Some(ttl) => age > ttl,
                None => now.since(self.used) > limits.timeout,
            }
    }
}

fn address(server: usize) -> Vec<u8> {
    format!("192.0.2.{server}:8000{}", "x".repeat(server * 40)).into_bytes()
}

/// Times to live are rounded up to a float of 8 significant bits.
fn rounded(ttl: u32) -> Span {
    match ttl {
        0 => Span(1),
        1..256 => Span(ttl),
        _ => Span(ttl.next_multiple_of(2)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_a_map_does(
        operations in proptest::collection::vec(operation(), 1..300),
        limits in limits(),
        // Around the wrap of the clock, too.
        start in prop_oneof![Just(1000u32), Just(u32::MAX - 200)],
    ) {
        let mut mappings = vec![Mapping::new(Table::MIN_SIZE * 2)];
        let beside = Mapping::new(Table::MIN_SIZE * 3);
        let beside = beside.table();
        let mut table = mappings[0].table();
        let mut watch = Watch::new(&table);
        let mut model = HashMap::<u8, Model>::new();
        let mut now = Tick(start);
        let intern = |table: &Table, now: Tick| -> Vec<ServerId> {
            (0..SERVERS).map(|server| table.intern(&address(server), now).unwrap()).collect()
        };
        let mut servers = intern(&table, now);
        let key = |table: &Table, id: u8| -> Key { table.key(Kind::Session, &[id], b"") };
        for operation in operations {
            match operation {
                Operation::Wait { ticks } => now = Tick(now.0.wrapping_add(ticks)),
                Operation::Lookup { id } => {
                    let expected = model.get(&id).filter(|entry| !entry.expired(now, &limits));
                    let session = table.lookup(key(&table, id), now, &limits);
                    let at_once = table.lookup_at_once(key(&table, id), now, &limits);
                    prop_assert!(at_once.is_none() || at_once == session);
                    prop_assert_eq!(
                        session.map(|session| (session.server, session.created, session.used)),
                        expected.map(|entry| (servers[entry.server], entry.created, entry.used))
                    );
                }
                Operation::Visit { id } => {
                    let expected = model.get_mut(&id).filter(|entry| !entry.expired(now, &limits));
                    let key = key(&table, id);
                    let session = table.visit_at_once(key, now, &limits);
                    let session = session.or_else(|| table.visit(key, now, &limits));
                    prop_assert_eq!(
                        session.map(|session| (session.server, session.created, session.used)),
                        expected.as_ref().map(|entry| (servers[entry.server], entry.created, entry.used))
                    );
                    if let Some(entry) = expected {
                        entry.used = now;
                    }
                }
                Operation::ImportSession { id } => {
                    let imported = beside.import_session(&table, key(&table, id), now, &limits);
                    match model.get(&id) {
                        Some(entry) if !entry.expired(now, &limits) => {
                            prop_assert!(imported);
                            let session = beside.lookup(key(&beside, id), now, &limits);
                            prop_assert_eq!(
                                session.map(|session| (session.server.print, session.created, session.used)),
                                Some((servers[entry.server].print, entry.created, entry.used))
                            );
                        }
                        // An expired session may still be there.
                        Some(_) => {}
                        None => prop_assert!(!imported),
                    }
                    prop_assert_eq!(beside.forget(key(&beside, id), End::Forgotten), imported);
                    prop_assert_eq!(beside.stats().live, 0);
                }
                Operation::Touch { id } => {
                    let touched = table.touch(key(&table, id), now);
                    // An expired session may have been swept or replaced: the table decides.
                    match model.get_mut(&id) {
                        Some(entry) if touched => entry.used = now,
                        Some(entry) => {
                            prop_assert!(entry.expired(now, &limits));
                            model.remove(&id);
                        }
                        None => prop_assert!(!touched),
                    }
                }
                Operation::Forget { id } => {
                    let forgotten = table.forget(key(&table, id), End::Forgotten);
                    match model.remove(&id) {
                        Some(entry) => prop_assert!(forgotten || entry.expired(now, &limits)),
                        None => prop_assert!(!forgotten),
                    }
                }
                Operation::ForgetServer { server } => {
                    let mut cursor = 0;
                    loop {
                        table.forget_server(servers[server], End::Forgotten, &mut cursor, 30);
                        if cursor == 0 {
                            break;
                        }
                    }
                    model.retain(|_, entry| entry.server != server);
                    prop_assert_eq!(table.server_stats(servers[server]).unwrap().live, 0);
                }
                Operation::Sweep => {
                    table.sweep(now, &limits, usize::MAX);
                    model.retain(|_, entry| !entry.expired(now, &limits));
                    prop_assert_eq!(table.stats().live, model.len() as u64);
                }
                Operation::Import { pages } => {
                    let mapping = Mapping::new(pages * 4096);
                    let successor = mapping.table();
                    // Below 120 slots some may not fit; above, all do.
                    let imported = successor.import(&table, now, &limits);
                    model.retain(|_, entry| !entry.expired(now, &limits));
                    prop_assert_eq!(imported, model.len());
                    prop_assert_eq!(successor.import(&table, now, &limits), 0);
                    table = successor;
                    watch = Watch::new(&table);
                    servers = intern(&table, now);
                    mappings.push(mapping);
                }
                Operation::Attach => {
                    let mapping = mappings.last().unwrap();
                    // SAFETY: the mapping outlives the table.
                    table = unsafe { Table::attach(mapping.start, mapping.len) }.unwrap();
                    prop_assert_eq!(table.secret(), SECRET);
                }
                Operation::Bind { id, server, ttl, existing } => {
                    let bound = table.bind(key(&table, id), servers[server], ttl.map(Span), now, &limits, existing);
                    let live = model.get_mut(&id).filter(|entry| !entry.expired(now, &limits));
                    let expected = match live {
                        None => {
                            let ttl = ttl.map(rounded);
                            model.insert(id, Model { server, ttl, created: now, used: now });
                            Bound::Created
                        }
                        Some(entry) if entry.server != server && existing == Existing::Keep => Bound::Kept,
                        Some(entry) => {
                            let moved = entry.server != server;
                            entry.server = server;
                            entry.ttl = ttl.map(rounded).or(entry.ttl);
                            entry.used = now;
                            if moved { Bound::Moved } else { Bound::Refreshed }
                        }
                    };
                    prop_assert_eq!(bound, expected);
                }
            }
            watch.hear(&table);
            if watch.missed {
                watch.repair(&table);
            }
            prop_assert_eq!(watch.wrong(&table, (0..IDS).map(|id| key(&table, id))), vec![]);
            let stats = table.stats();
            prop_assert_eq!(stats.created, stats.live + stats.expired + stats.evicted + stats.forgotten);
            prop_assert_eq!(stats.evicted, 0);
            let by_server: u64 = table.servers().map(|server| table.server_stats(server).unwrap().live).sum();
            prop_assert_eq!(by_server, stats.live);
        }
        for (id, entry) in &model {
            let session = table.lookup(key(&table, *id), now, &limits);
            prop_assert_eq!(session.is_some(), !entry.expired(now, &limits));
        }
    }

    /// For any bytes of a region, attaching and reading stays in the region and ends.
    #[test]
    fn a_damaged_header_leads_nowhere(
        damage in proptest::collection::vec((0usize..256, any::<u8>()), 0..12),
        body in any::<u8>(),
    ) {
        let mapping = Mapping::new(Table::MIN_SIZE);
        let table = mapping.table();
        let server = table.intern(b"a:1", Tick(1)).unwrap();
        table.bind(table.key(Kind::Session, b"x", b""), server, None, Tick(1), &common::LIMITS, Existing::Keep);
        // SAFETY: the mapping is that long, and nothing else uses it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(mapping.start.as_ptr(), mapping.len) };
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        if body > 128 {
            bytes[1024..].fill(body);
        }
        // SAFETY: the mapping is that long and outlives the table, and nothing else uses it.
        if let Ok(table) = unsafe { Table::attach(mapping.start, mapping.len) } {
            table.stats();
            for server in table.servers().take(100) {
                table.address(server, &mut [0; Table::MAX_ADDRESS]);
                table.server_stats(server);
            }
            let key = table.key(Kind::Session, b"x", b"");
            table.lookup(key, Tick(1), &common::LIMITS);
            table.touch(key, Tick(1));
        }
    }

    /// No two triples of kind, id and binding have the same key.
    #[test]
    fn keys_differ(a in "[ab]{0,3}", b in "[ab]{0,3}", c in "[ab]{0,3}", d in "[ab]{0,3}") {
        let mapping = Mapping::new(Table::MIN_SIZE);
        let table = mapping.table();
        let of = |kind, id: &str, bind: &str| table.key(kind, id.as_bytes(), bind.as_bytes());
        prop_assert_eq!(of(Kind::Session, &a, &b) == of(Kind::Session, &c, &d), (&a, &b) == (&c, &d));
        prop_assert!(of(Kind::Session, &a, &b) != of(Kind::Task, &a, &b));
        prop_assert!(of(Kind::Sse, &a, &b) != of(Kind::Task, &c, &d));
        // Ids below and above 16 bytes are hashed in two ways, which must agree.
        let long = "x".repeat(250);
        prop_assert!(of(Kind::Sse, &long, &a) == of(Kind::Sse, &long, &a));
    }
}
