//! Sessions of a table that nobody uses any more.

use super::*;

/// A table with sessions of two servers, used at `NOW` plus their number.
fn stored(mapping: &Mapping, sessions: u64) -> Table {
    let table = mapping.table();
    let servers = [b"a:1", b"b:1"].map(|address| table.intern(address, NOW).unwrap());
    for number in 0..sessions {
        create(&table, number, servers[number as usize % 2], Tick(NOW.0 + number as u32));
    }
    table
}

#[test]
fn times_go_on_by_another_clock() {
    let (old, new) = (Mapping::new(MEGABYTE), Mapping::new(MEGABYTE));
    let (table, copy) = (stored(&old, 2_000), new.table());
    // The last session was used one tick ago, of 1,000 that they live.
    let (then, now) = (Tick(NOW.0 + 2_000), Tick(77));
    let restored = copy.restore(&table, then, now, &LIMITS);
    assert_eq!(restored, Restored { taken: 1_000, expired: 1_000, ..Restored::default() });
    assert_eq!(restored.all(), 2_000);
    for number in 0..2_000u64 {
        let found = copy.lookup(key(&copy, number), now, &LIMITS);
        assert_eq!(found.is_some(), number >= 1_000);
        if let Some(session) = found {
            assert_eq!(now.since(session.used), Span(2_000 - number as u32));
            let mut address = [0; Table::MAX_ADDRESS];
            let expected = [b"a:1", b"b:1"][number as usize % 2];
            assert_eq!(copy.address(session.server, &mut address), Some(&expected[..]));
        }
    }
    adds_up(&copy);
}

#[test]
fn a_clock_that_was_set_back_makes_no_session_older_than_unused() {
    let (old, new) = (Mapping::new(MEGABYTE), Mapping::new(MEGABYTE));
    let (table, copy) = (stored(&old, 100), new.table());
    let now = Tick(50_000);
    let restored = copy.restore(&table, Tick(NOW.0 - 5_000), now, &LIMITS);
    assert_eq!(restored.taken, 100);
    let until = |ticks| Tick(now.0 + ticks);
    assert!(copy.lookup(key(&copy, 1), until(1_000), &LIMITS).is_some());
    assert!(copy.lookup(key(&copy, 1), until(1_001), &LIMITS).is_none());
}

#[test]
fn a_smaller_table_takes_what_fits() {
    let (old, new) = (Mapping::new(MEGABYTE), Mapping::new(MEGABYTE / 8));
    let (table, copy) = (stored(&old, 900), new.table());
    let now = Tick(NOW.0 + 900);
    assert_eq!(copy.restore(&table, now, now, &LIMITS).taken, 900);
    let tiny = Mapping::new(Table::MIN_SIZE);
    let copy = tiny.table();
    let restored = copy.restore(&table, now, now, &LIMITS);
    // Those that were evicted for later ones are not taken.
    assert!(copy.stats().evicted > 0);
    assert_eq!(restored.taken, copy.stats().live);
    assert_eq!(restored, Restored { left: 900 - restored.taken, ..restored });
    assert_eq!(restored.all(), 900);
    adds_up(&copy);
}

/// What the table has counted and does not have: its pages were damaged.
#[test]
fn sessions_of_damaged_pages_are_counted() {
    let (old, new) = (Mapping::new(MEGABYTE), Mapping::new(MEGABYTE));
    let (_, copy) = (stored(&old, 900), new.table());
    // SAFETY: nobody uses the old table now.
    let bytes = unsafe { core::slice::from_raw_parts_mut(old.start.as_ptr(), old.len) };
    bytes[old.len / 2..][..64 * 1024].fill(0);
    // SAFETY: mapped as long as the table is used; nobody else writes.
    let table = unsafe { Table::attach(old.start, old.len) }.unwrap();
    let now = Tick(NOW.0 + 900);
    let restored = copy.restore(&table, now, now, &LIMITS);
    assert!(restored.damaged > 10, "{restored:?}");
    assert_eq!(restored, Restored { taken: 900 - restored.damaged, ..restored });
    assert_eq!(restored.all(), 900);
}

/// No session of a damaged table gets another server than its own.
#[test]
fn damage_loses_sessions_and_misleads_none() {
    let mut random = Random(7);
    let (mut damaged, mut wrong) = (0, 0);
    for _ in 0..40 {
        let (old, new) = (Mapping::new(MEGABYTE), Mapping::new(MEGABYTE));
        let (_, copy) = (stored(&old, 900), new.table());
        let now = Tick(NOW.0 + 900);
        // SAFETY: nobody uses the old table now.
        let bytes = unsafe { core::slice::from_raw_parts_mut(old.start.as_ptr(), old.len) };
        for _ in 0..2_000 {
            // Behind what the header of a file covers.
            let at = 128 + random.next() as usize % (old.len - 128);
            bytes[at] ^= 1 << (random.next() % 8);
        }
        // SAFETY: mapped as long as the table is used; nobody else writes.
        let table = unsafe { Table::attach(old.start, old.len) }.unwrap();
        let restored = copy.restore(&table, now, now, &LIMITS);
        damaged += restored.damaged;
        for number in 0..900u64 {
            if let Some(session) = copy.lookup(key(&copy, number), now, &LIMITS) {
                let mut address = [0; Table::MAX_ADDRESS];
                let expected = [b"a:1", b"b:1"][number as usize % 2];
                wrong +=
                    usize::from(copy.address(session.server, &mut address) != Some(&expected[..]));
            }
        }
        adds_up(&copy);
    }
    assert!(damaged > 500, "{damaged}");
    assert_eq!(wrong, 0);
}
