//! The records of sessions: processes that are killed at each instruction of a change, and at random moments.

use affinity::revive::{Capabilities, Cause, Claim, Owner, Record, RecordKey, Store, Ticket};

use super::stepped::step_and_kill;
use super::*;

/// Sessions in the store before a change.
const KEPT: u64 = 30;

/// What a change needs.
struct Props {
    known: Key,
    /// Of the known session.
    ticket: Ticket,
    new: Key,
}

struct Scene {
    name: &'static str,
    is_full: bool,
    change: fn(&Store, &Props),
}

const SCENES: [Scene; 7] = [
    Scene {
        name: "keep a record",
        is_full: false,
        change: |store, props| assert!(store.put(props.new, &NEW, Tick(20), used)),
    },
    Scene {
        name: "keep a record in a full store",
        is_full: true,
        change: |store, props| assert!(store.put(props.new, &NEW, Tick(20), used)),
    },
    Scene {
        name: "replace a record",
        is_full: false,
        change: |store, props| assert!(store.put(props.known, &NEW, Tick(20), used)),
    },
    Scene {
        name: "revive",
        is_full: false,
        change: |store, props| {
            assert_eq!(
                store.revived(props.known, props.ticket, &NEW, None, Tick(20), used),
                Some(2)
            );
        },
    },
    Scene {
        name: "revive in a full store",
        is_full: true,
        change: |store, props| {
            assert_eq!(
                store.revived(props.known, props.ticket, &NEW, None, Tick(20), used),
                Some(2)
            );
        },
    },
    Scene {
        name: "remove a record",
        is_full: false,
        change: |store, props| assert!(store.remove(props.known)),
    },
    Scene {
        name: "end a claim",
        is_full: false,
        change: |store, props| assert!(store.failed(props.known, props.ticket, Tick(20))),
    },
];

const NEW: [u8; 700] = [9; 700];

fn used(_: Key) -> Option<Tick> {
    Some(Tick(15))
}

fn old_bytes(id: u64) -> Vec<u8> {
    vec![id as u8 + 10; 200 + 20 * id as usize]
}

fn free_when_empty(store: &Store, keys: &[Key]) -> u64 {
    for key in keys {
        store.remove(*key);
    }
    store.stats().free
}

pub fn a_death_at_any_instruction_leaves_the_records_whole() {
    let every = std::env::var_os("EVERY_INSTRUCTION").is_some();
    let places = if every { 2_000 } else { 25 };
    let [tables, region] = [Table::MIN_SIZE, Store::MIN_SIZE].map(Mapping::new);
    let table = tables.table();
    let keys: Vec<Key> = (0..200).map(|id| key(&table, id)).collect();
    let (empty, known) = (region.store().stats().free, 3);
    for scene in &SCENES {
        let started = Instant::now();
        let prepare = || {
            let store = region.store();
            for id in 0..if scene.is_full { 200 } else { KEPT } {
                let bytes = old_bytes(id % KEPT);
                assert!(store.put(keys[id as usize], &bytes, Tick(10), used));
            }
            let known = keys[if scene.is_full { 199 } else { known }];
            let claim = |revivals, now| match store.claim(known, Cause::Gone, revivals, Tick(now)) {
                Claim::Mine(ticket) => ticket,
                other => panic!("{other:?}"),
            };
            let bytes = store.get(known).unwrap().sealed;
            assert_eq!(store.revived(known, claim(0, 11), &bytes, None, Tick(11), used), Some(1));
            let new = key(&table, 999);
            let props = Props { known, ticket: claim(1, 1_000), new };
            (store, props)
        };
        let (store, props) = prepare();
        let length =
            step_and_kill(|| (scene.change)(&store, &props), u64::MAX).expect_err("it ends");
        let stride = (length / places).max(1);
        let (mut steps, mut deaths, mut changed) = (0, 0, 0);
        loop {
            let (store, props) = prepare();
            let before: Vec<_> = keys.iter().map(|key| store.get(*key)).collect();
            let was_evicted = store.stats().evicted;
            if step_and_kill(|| (scene.change)(&store, &props), steps).is_err() {
                break;
            }
            let context = format!("{}, killed after {steps} steps", scene.name);
            let is_new = |sealed: &[u8]| sealed == NEW;
            let mut missing = 0;
            for (key, before) in keys.iter().zip(&before) {
                let after = store.get(*key);
                let (Some(before), Some(after)) = (before, &after) else {
                    missing += usize::from(before.is_some());
                    assert!(before.is_some() || after.is_none(), "{context}");
                    continue;
                };
                let is_as_before =
                    after.sealed == before.sealed && after.revivals == before.revivals;
                let is_changed = *key == props.known && is_new(&after.sealed);
                assert!(is_as_before || is_changed, "{context}");
                // What was revived is found without the lock.
                assert!(after.revivals == 0 || store.is_revived(*key), "{context}");
                changed += usize::from(is_changed);
            }
            if let Some(new) = store.get(props.new) {
                assert!(is_new(&new.sealed), "{context}");
                changed += 1;
            }
            let evicted = (store.stats().evicted - was_evicted) as usize;
            let bound = evicted + if scene.is_full { 1 } else { usize::from(missing == 1) };
            assert!(missing <= bound && missing < 8, "{context}: {missing} records are missing");
            // The session can be claimed, at once or after the deadline of the dead process.
            if let Some(kept) = store.get(props.known) {
                let claim = store.claim(props.known, Cause::Gone, kept.revivals, Tick(50_000));
                assert!(matches!(claim, Claim::Mine(_)), "{context}: {claim:?}");
            }
            deaths += store.stats().deaths;
            // No memory is lost.
            assert_eq!(
                free_when_empty(&store, &[&keys[..], &[props.new]].concat()),
                empty,
                "{context}"
            );
            steps += stride;
        }
        let seconds = started.elapsed().as_secs_f32();
        let name = scene.name;
        println!("{name}: {length} instructions, killed after every {stride}, {deaths} times inside ({seconds:.1} s)");
        assert!(deaths > 0);
        assert!(changed > 0 || !name.contains("re") || name.contains("remove"), "{name}");
    }
}

/// Memory shared with the children beside the store.
#[repr(C)]
struct Control {
    stop: AtomicBool,
    opened: AtomicU64,
    /// Records that did not open, or say something else than was kept.
    wrong: AtomicU64,
}

/// Sessions of the test that kills at random.
const SESSIONS: u64 = 200;

pub fn records_survive_processes_that_are_killed_at_random() {
    const KILLS: usize = 800;
    const WORKERS: usize = 3;
    let [memory, tables, region] = [4096, Table::MIN_SIZE, Store::MIN_SIZE].map(Mapping::new);
    // SAFETY: zeroed shared memory, of which all fields are atomics.
    let control: &Control = unsafe { memory.start.cast().as_ref() };
    let (table, store) = (tables.table(), region.store());
    let empty = store.stats().free;
    let mut random = Random(std::process::id().into());
    let mut children: Vec<i32> =
        (0..WORKERS).map(|_| spawn(|| work(&table, &store, control, random.next()))).collect();
    for _ in 0..KILLS {
        sleep_micros(random.below(1500));
        let number = random.below(WORKERS as u64) as usize;
        end(children[number]);
        children[number] = spawn(|| work(&table, &store, control, random.next()));
        assert_eq!(control.wrong.load(Ordering::SeqCst), 0);
    }
    control.stop.store(true, Ordering::SeqCst);
    for child in children {
        assert_eq!(wait(child), Some(0), "a child failed");
    }
    assert_eq!(control.wrong.load(Ordering::SeqCst), 0);
    let (stats, opened) = (store.stats(), control.opened.load(Ordering::SeqCst));
    println!("{KILLS} kills beside records; {opened} opened; {stats:?}");
    assert!(stats.deaths > 0 && stats.evicted > 0 && opened > 1000);
    let keys: Vec<Key> = (0..SESSIONS).map(|id| key(&table, id)).collect();
    assert_eq!(free_when_empty(&store, &keys), empty);
    assert_eq!(store.stats().kept, 0);
}

fn work(table: &Table, store: &Store, control: &Control, seed: u64) {
    let mut random = Random(seed);
    let owner = Owner::of(&common::SECRET, &[], std::iter::empty(), b"");
    while !control.stop.load(Ordering::SeqCst) {
        let id = random.below(SESSIONS);
        let key = key(table, id);
        let record_key = RecordKey::new(&common::SECRET, &id.to_le_bytes(), key);
        let body = vec![id as u8; random.below(3_000) as usize];
        let record = Record {
            initialize: &body,
            opener: &id.to_le_bytes(),
            uri: b"/",
            version: "x",
            capabilities: Capabilities::default(),
            owner,
            server_id: None,
        };
        let nonce = [random.next() as u8; 12];
        let used = |_| Some(now());
        match random.below(10) {
            0..=3 => {
                let sealed = record_key.seal(&record, nonce).unwrap();
                assert!(store.put(key, &sealed, now(), used));
            }
            4 => {
                store.remove(key);
            }
            5 | 6 => {
                let Some(kept) = store.get(key) else { continue };
                let claim = store.claim(key, Cause::Gone, kept.revivals, now());
                if let Claim::Mine(ticket) = claim {
                    let sealed = record_key.seal(&record.revived(b"new"), nonce).unwrap();
                    match random.below(3) {
                        0 => _ = store.failed(key, ticket, now()),
                        _ => _ = store.revived(key, ticket, &sealed, None, now(), used),
                    }
                }
            }
            _ => {
                let Some(mut kept) = store.get(key) else { continue };
                control.opened.fetch_add(1, Ordering::SeqCst);
                let is_right = record_key.open(&mut kept.sealed).is_some_and(|record| {
                    record.opener == id.to_le_bytes()
                        && record.initialize.iter().all(|byte| *byte == id as u8)
                        && record.server_id.is_some() == (kept.revivals > 0)
                });
                if !is_right {
                    control.wrong.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
}
