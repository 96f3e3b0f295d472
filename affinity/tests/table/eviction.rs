//! The order in which a full table evicts sessions.

use super::*;

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
/// of its sessions; those of the next tick are all there, and those of some ticks ago are not. (But for
/// one of 12,000 such ticks, by chance: size and secrets are ones without it.)
#[test]
fn sessions_of_an_earlier_tick_are_evicted_first() {
    for secret in 0..200 {
        let mapping = Mapping::new(28 * 1024);
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
