//! The memory of the records.

use std::collections::HashMap;
use std::ptr::NonNull;

use affinity::revive::{Cause, Claim, Owner, StoreError, MAX_SEALED};
use affinity::table::{End, Existing, Limits, Span};
use proptest::prelude::*;

use super::*;

/// Ticks from the begin of a session to a use that shows it to be in use.
const MINUTE: u32 = 60_000u32.div_ceil(64) + 1;

fn bytes_of(number: u64, len: usize) -> Vec<u8> {
    let mut random = Random(number);
    (0..len).map(|_| random.next() as u8).collect()
}

fn id(number: u64) -> String {
    format!("session-{number}")
}

#[test]
fn a_record_is_kept_replaced_and_removed() {
    let (keys, mapping) = (Keys::fresh(), Mapping::new(Store::MIN_SIZE));
    let store = mapping.store();
    let free = store.stats().free;
    let key = keys.key("a");
    assert!(store.get(key).is_none() && !store.remove(key));
    for len in [1, 127, 128, 129, 400, MAX_SEALED, 3] {
        let bytes = bytes_of(len as u64, len);
        assert!(store.put(key, &bytes, Tick(5), all_used(Tick(5))));
        let kept = store.get(key).unwrap();
        assert!(kept.sealed == bytes && kept.revivals == 0, "{len} bytes");
        assert_eq!(store.stats().kept, 1);
        assert_eq!(store.stats().free, free - len.next_multiple_of(128) as u64);
    }
    // SAFETY: the store that `mapping` holds, as long as this test uses it.
    let attached = unsafe { Store::attach(mapping.start, mapping.len) }.unwrap();
    assert_eq!(attached.get(key).unwrap().sealed, bytes_of(3, 3));
    assert!(attached.remove(key) && !store.remove(key) && store.get(key).is_none());
    assert_eq!((store.stats().kept, store.stats().free), (0, free));
    assert!(!store.put(key, b"", Tick(5), all_used(Tick(5))));
    assert!(!store.put(key, &[0; 65_536], Tick(5), all_used(Tick(5))));
}

#[test]
fn a_megabyte_holds_as_many_sessions_as_is_named() {
    let keys = Keys::fresh();
    for (megabytes, len, expected) in [(1, 384, 2_200), (16, 384, 36_000), (16, 640, 21_700)] {
        let mapping = Mapping::new(megabytes << 20);
        let store = mapping.store();
        let bytes = vec![1; len];
        // The shards do not fill evenly.
        for number in 0..expected * 5 / 4 {
            assert!(store.put(keys.key(&id(number)), &bytes, Tick(1), all_used(Tick(1))));
        }
        let stats = store.stats();
        println!("{megabytes} MB, records of {len} bytes: {stats:?}");
        assert!(stats.kept >= expected, "{stats:?}");
    }
}

#[test]
fn a_flood_of_new_sessions_takes_nothing_from_those_in_use() {
    let (keys, mapping) = (Keys::fresh(), Mapping::new(Store::MIN_SIZE));
    let store = mapping.store();
    let bytes = vec![1; 384];
    let in_use: Vec<(Key, Tick)> =
        (0..60).map(|number| (keys.key(&id(number)), Tick(2 * MINUTE))).collect();
    for (key, _) in &in_use {
        assert!(store.put(*key, &bytes, Tick(0), all_used(Tick(0))));
    }
    let now = Tick(2 * MINUTE);
    let mut known = in_use.clone();
    for number in 1_000..3_000 {
        known.push((keys.key(&id(number)), now));
        assert!(store.put(known[known.len() - 1].0, &bytes, now, used_of(&known)));
    }
    assert!(store.stats().evicted > 1_500);
    assert!(in_use.iter().all(|(key, _)| store.get(*key).is_some()));
    // The latest of the others.
    assert!(store.get(keys.key(&id(2_999))).is_some() && store.get(keys.key(&id(1_000))).is_none());
}

#[test]
fn the_session_table_says_which_sessions_are_in_use() {
    const LIMITS: Limits = Limits { timeout: Span(100_000), lifetime: None };
    let [tables, mapping] = [1 << 20, Store::MIN_SIZE].map(Mapping::new);
    let (table, store) = (tables.table(), mapping.store());
    let server = table.intern(b"a", Tick(0)).unwrap();
    let key = |number: u64| table.key(Kind::Session, &number.to_le_bytes(), b"");
    let begin = |number, now| {
        table.bind(key(number), server, None, now, &LIMITS, Existing::Keep);
        let used = |key| Some(table.lookup(key, now, &LIMITS)?.used);
        assert!(store.put(key(number), &[1; 384], now, used));
    };
    (0..100).for_each(|number| begin(number, Tick(0)));
    let now = Tick(2 * MINUTE);
    let (in_use, ended) = (0..50, 50..60);
    in_use.clone().for_each(|number| assert!(table.touch(key(number), now)));
    ended.clone().for_each(|number| assert!(table.forget(key(number), End::Deleted)));
    (1_000..2_000).for_each(|number| begin(number, now));
    assert!(in_use.into_iter().all(|number| store.get(key(number)).is_some()));
    assert!(ended.into_iter().all(|number| store.get(key(number)).is_none()));
}

#[test]
fn a_session_that_has_ended_makes_room_before_an_older_one_that_lives() {
    let (keys, mapping) = (Keys::fresh(), Mapping::new(Store::MIN_SIZE));
    let store = mapping.store();
    let all: Vec<(Key, Tick)> =
        (0..130).map(|number| (keys.key(&id(number)), Tick(number as u32))).collect();
    for (key, created) in &all {
        assert!(store.put(*key, &[1; 384], *created, used_of(&all)));
    }
    // All are idle since then: those of the first half that have ended make room for as many new ones.
    let live: Vec<(Key, Tick)> =
        all.iter().enumerate().filter(|(number, _)| number % 2 == 1).map(|(_, one)| *one).collect();
    let now = Tick(2 * MINUTE);
    for number in 0..40 {
        assert!(store.put(keys.key(&format!("new-{number}")), &[1; 384], now, |key| {
            let is_new = (0..40).any(|number| keys.key(&format!("new-{number}")) == key);
            used_of(&live)(key).map(|used| Tick(used.0 + MINUTE)).or(is_new.then_some(now))
        }));
    }
    assert!(live.iter().all(|(key, _)| store.get(*key).is_some()));
    assert_eq!(store.stats().evicted, 0);
}

/// A store that knows all: which sessions there are, and who goes first.
struct Model {
    kept: HashMap<u64, Vec<u8>>,
    created: HashMap<u64, u32>,
    used: HashMap<u64, u32>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(u64, usize),
    Use(u64),
    End(u64),
    Pass(u32),
}

fn some_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0u64..60, 200usize..3000).prop_map(|(number, len)| Change::Put(number, len)),
        3 => (0u64..60).prop_map(Change::Use),
        1 => (0u64..60).prop_map(Change::End),
        2 => (1u32..400).prop_map(Change::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn records_make_room_in_the_order_of_the_promises(
        changes in proptest::collection::vec(some_change(), 1..300),
    ) {
        let (keys, mapping) = (Keys::fresh(), Mapping::new(Store::MIN_SIZE));
        let store = mapping.store();
        let mut model =
            Model { kept: HashMap::new(), created: HashMap::new(), used: HashMap::new() };
        let mut now = 0;
        for (step, change) in changes.into_iter().enumerate() {
            // No two sessions of one age.
            now += 1;
            match change {
                Change::Pass(ticks) => now += ticks,
                Change::Use(number) => {
                    model.used.entry(number).and_modify(|used| *used = now);
                }
                Change::End(number) => {
                    model.used.remove(&number);
                }
                Change::Put(number, len) => {
                    let bytes = bytes_of(step as u64, len);
                    model.created.insert(number, now);
                    model.used.insert(number, now);
                    let known: Vec<(Key, Tick)> = model
                        .used
                        .iter()
                        .map(|(number, used)| (keys.key(&id(*number)), Tick(*used)))
                        .collect();
                    prop_assert!(store.put(keys.key(&id(number)), &bytes, Tick(now), used_of(&known)));
                    model.kept.insert(number, bytes);
                    check(&mut model, &store, &keys, number)?;
                }
            }
        }
    }
}

/// What is kept is whole. What is missing, while its session lives, would have gone before all that is kept.
fn check(model: &mut Model, store: &Store, keys: &Keys, new: u64) -> Result<(), TestCaseError> {
    let rank = |number: &u64| {
        let (created, used) = (model.created[number], *model.used.get(number)?);
        let is_in_use = used - created >= MINUTE;
        Some((is_in_use, if is_in_use { used } else { created }))
    };
    let mut gone = Vec::new();
    for (number, bytes) in &model.kept {
        match store.get(keys.key(&id(*number))) {
            Some(kept) => prop_assert!(kept.sealed == *bytes),
            None => gone.push(*number),
        }
    }
    prop_assert!(!gone.contains(&new));
    let stays = model.kept.keys().filter(|number| !gone.contains(number) && **number != new);
    let first = stays.filter_map(rank).min();
    for number in &gone {
        if let (Some(gone), Some(first)) = (rank(number), first) {
            prop_assert!(gone < first, "{number}: {gone:?}, {first:?}");
        }
    }
    gone.iter().for_each(|number| drop(model.kept.remove(number)));
    Ok(())
}

#[test]
fn the_records_of_sessions_that_have_ended_go_first_and_by_a_sweep() {
    let (keys, mapping) = (Keys::fresh(), Mapping::new(1 << 20));
    let store = mapping.store();
    let all: Vec<(Key, Tick)> = (0..400).map(|number| (keys.key(&id(number)), Tick(1))).collect();
    for (key, _) in &all {
        assert!(store.put(*key, &[1; 300], Tick(1), all_used(Tick(1))));
    }
    let (live, ended) = all.split_at(150);
    let mut next = 0;
    let removed: usize = (0..4).map(|_| store.sweep(&mut next, used_of(live))).sum();
    assert_eq!((removed, next, store.stats().kept), (250, 4, 150));
    assert!(live.iter().all(|(key, _)| store.get(*key).is_some()));
    assert!(ended.iter().all(|(key, _)| store.get(*key).is_none()));
    assert_eq!(store.sweep(&mut next, used_of(live)), 0);
}

#[test]
fn all_that_fits_is_copied_to_a_store_of_another_size() {
    let keys = Keys::fresh();
    let (small, large) = (Mapping::new(Store::MIN_SIZE), Mapping::new(1 << 20));
    let (from, to) = (small.store(), large.store());
    let known: Vec<(Key, Tick)> =
        (0..100).map(|number| (keys.key(&id(number)), Tick(MINUTE * 2 + number as u32))).collect();
    for (number, (key, _)) in known.iter().enumerate() {
        assert!(from.put(*key, &bytes_of(number as u64, 300), Tick(1), used_of(&known)));
    }
    let Claim::Mine(ticket) = from.claim(known[7].0, Cause::Gone, 0, Tick(5)) else { panic!() };
    let revived = from.revived(known[7].0, ticket, b"revived", None, Tick(5), used_of(&known));
    assert_eq!(revived, Some(1));
    let now = Tick(MINUTE * 3);
    assert_eq!(to.import(&from, now, now, used_of(&known)), 100);
    assert_eq!(to.import(&from, now, now, used_of(&known)), 0);
    for (number, (key, _)) in known.iter().enumerate() {
        let expected = match number {
            7 => (b"revived".to_vec(), 1),
            number => (bytes_of(number as u64, 300), 0),
        };
        let kept = to.get(*key).unwrap();
        assert!((kept.sealed, kept.revivals) == expected);
    }
    assert!(to.is_revived(known[7].0));
    // What has to make room in the small one is what was idle the longest.
    let smaller = Mapping::new(Store::MIN_SIZE);
    let back = smaller.store();
    assert!(back.put(keys.key("new"), &vec![1; MAX_SEALED], now, used_of(&known)));
    let copied = back.import(&to, now, now, used_of(&known));
    assert!(copied >= 100);
    let missing = known.iter().filter(|(key, _)| back.get(*key).is_none()).count();
    let first = known.iter().take(missing).filter(|(key, _)| back.get(*key).is_none()).count();
    assert_eq!(missing, first);
    let one = Mapping::new(Store::MIN_SIZE);
    let one = one.store();
    assert!(one.import_record(&to, known[3].0, now, used_of(&known)));
    assert!(!one.import_record(&to, known[3].0, now, used_of(&known)));
    assert!(!one.import_record(&to, keys.key("unknown"), now, used_of(&known)));
    assert_eq!(one.get(known[3].0).unwrap().sealed, bytes_of(3, 300));
}

#[test]
fn a_region_that_holds_no_store_is_refused() {
    let mapping = Mapping::new(Store::MIN_SIZE);
    // SAFETY: zeroed memory of its own, and then a store in it.
    let attach = |start: NonNull<u8>, len| unsafe { Store::attach(start, len) }.err();
    assert_eq!(attach(mapping.start, mapping.len), Some(StoreError::NotAStore));
    assert_eq!(attach(mapping.start, mapping.len - 1), Some(StoreError::TooSmall));
    mapping.store();
    assert_eq!(attach(mapping.start, mapping.len), None);
    // SAFETY: within the mapping.
    let inside = unsafe { mapping.start.add(64) };
    assert_eq!(attach(inside, mapping.len), Some(StoreError::Misaligned));
    for (at, error) in [(8, StoreError::Format), (12, StoreError::Geometry)] {
        mapping.store();
        // SAFETY: a word of the header, which only this test uses.
        unsafe { mapping.start.add(at).cast::<u32>().write(999) };
        assert_eq!(attach(mapping.start, mapping.len), Some(error));
    }
    // SAFETY: too short for a store: nothing is written.
    let created = unsafe { Store::create(mapping.start, Store::MIN_SIZE - 1) };
    assert_eq!(created.err(), Some(StoreError::TooSmall));
}

#[test]
fn any_size_is_used_well() {
    for len in (Store::MIN_SIZE..3 << 20).step_by(52_001) {
        let mapping = Mapping::new(len);
        let free = mapping.store().stats().free as usize;
        assert!(free > len * 3 / 4, "{free} of {len} bytes");
    }
}

#[test]
fn a_store_that_nobody_uses_is_opened_again_with_new_locks_and_all_its_free_memory() {
    let (keys, mapping) = (Keys::fresh(), Mapping::new(Store::MIN_SIZE));
    let store = mapping.store();
    let free = store.stats().free;
    let (first, second) = (keys.key("a"), keys.key("b"));
    assert!(store.put(first, &bytes_of(1, 300), Tick(5), all_used(Tick(5))));
    assert!(store.put(second, &bytes_of(2, 300), Tick(5), all_used(Tick(5))));
    let Claim::Mine(ticket) = store.claim(first, Cause::Gone, 0, Tick(5)) else { panic!() };
    assert_eq!(store.revived(first, ticket, b"new", None, Tick(5), all_used(Tick(5))), Some(1));
    let left = store.stats();
    // A process that died in the middle of a change has left another count and list of free chunks, and a lock that is
    // held: its shard's head, all but zeros, is behind the header.
    // SAFETY: within the mapping, which no other thread uses.
    unsafe { mapping.start.add(128).write_bytes(0x5a, 64 + 8) };
    // SAFETY: the store that `mapping` holds, as long as this test uses it; nobody else uses it.
    let opened = unsafe { Store::reopen(mapping.start, mapping.len) }.unwrap();
    assert_eq!(opened.stats(), left);
    assert_eq!(opened.get(second).unwrap().sealed, bytes_of(2, 300));
    let kept = opened.get(first).unwrap();
    assert!((kept.sealed.as_slice(), kept.revivals) == (b"new", 1) && opened.is_revived(first));
    assert!(opened.remove(first) && opened.remove(second));
    assert_eq!(opened.stats().free, free);
}

#[test]
fn records_of_another_boot_keep_their_age() {
    let keys = Keys::fresh();
    let (old, new) = (Mapping::new(Store::MIN_SIZE), Mapping::new(Store::MIN_SIZE));
    let (from, to) = (old.store(), new.store());
    // By the clock of the other boot: three minutes ago, and just now.
    let then = Tick(1_000_000);
    let [aged, fresh] = ["aged", "fresh"].map(|name| keys.key(name));
    assert!(from.put(fresh, &[1; 384], then, all_used(then)));
    assert!(from.put(aged, &[1; 384], Tick(then.0 - 3 * MINUTE), all_used(then)));
    let now = Tick(500);
    assert_eq!(to.import(&from, then, now, all_used(now)), 2);
    // Both were used never later than a minute after they began: the older one makes room first.
    let mut number = 0;
    while to.get(aged).is_some() {
        assert!(to.get(fresh).is_some(), "the younger one was given away first");
        number += 1;
        assert!(to.put(keys.key(&id(number)), &[1; 384], now, |_| None));
    }
}

#[test]
fn places_whose_answers_are_no_evidence_are_known_to_all_processes() {
    let (keys, mapping) = (Keys::fresh(), Mapping::new(Store::MIN_SIZE));
    let store = mapping.store();
    // SAFETY: the store that `mapping` holds, as long as this test uses it.
    let other = unsafe { Store::attach(mapping.start, mapping.len) }.unwrap();
    let places: Vec<Key> = (0..20).map(|number| keys.key(&id(number))).collect();
    let owner = |name: &[u8]| Owner::of(&[0; 16], &[], core::iter::empty(), name);
    let owners = [b"a", b"b", b"c", b"d"].map(|name| owner(name));
    let minute = |minute: u32| Tick(1_000 + minute * MINUTE);
    // Three owners within ten minutes.
    let (place, doubt) =
        (places[0], |owner: usize, at| store.distrust(places[0], owners[owner], minute(at)));
    assert!(!doubt(0, 0) && !doubt(0, 1) && !doubt(1, 2) && !doubt(0, 3) && !doubt(1, 4));
    assert!(!other.distrusts(place, minute(4)));
    assert!(doubt(2, 5) && other.distrusts(place, minute(5)) && !doubt(3, 5));
    assert!(!other.distrusts(places[1], minute(5)));
    // It ends by itself.
    assert!(other.distrusts(place, minute(14)) && !other.distrusts(place, minute(16)));
    assert!(!doubt(0, 16) && !doubt(1, 17) && !doubt(2, 27) && !doubt(3, 28));
    assert!(
        !other.distrusts(place, minute(28)) && doubt(0, 28) && other.distrusts(place, minute(28))
    );
    let doubt_all = |place| {
        owners.iter().take(3).for_each(|owner| _ = store.distrust(place, *owner, minute(28)))
    };
    for place in &places {
        doubt_all(*place);
        assert!(other.distrusts(*place, minute(28)));
    }
    assert_eq!(places.iter().filter(|place| other.distrusts(**place, minute(28))).count(), 5);
    other.trust_all();
    assert!(!places.iter().any(|place| store.distrusts(*place, minute(28))));
}
