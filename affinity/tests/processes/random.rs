//! Processes that are killed at random moments.

use super::*;

/// More than the server list has room for: its slots are recycled all the time.
const ADDRESSES: u64 = 60;
const WRITERS: usize = 3;
const READERS: usize = 1;
/// Sometimes long enough for sessions to fill the table, sometimes short enough for all to expire,
/// however fast the machine is.
fn some_limits(random: &mut Random) -> Limits {
    Limits { timeout: Span(1 << random.below(9)), lifetime: Some(Span(600)) }
}

/// Memory shared with the children beside the table.
#[repr(C)]
struct Control {
    stop: AtomicBool,
    beats: [AtomicU64; WRITERS + READERS],
    /// Lookups that found a session.
    found: AtomicU64,
    /// Lookups that found a server that the id was never bound to.
    wrong: AtomicU64,
    refused: AtomicU64,
    retries_exhausted: AtomicU32,
}

pub fn writers_killed_at_random_block_nobody() {
    let kills: usize =
        std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(1500);
    let memory = Mapping::new(4096);
    // SAFETY: zeroed shared memory, of which all fields are atomics.
    let control: &Control = unsafe { memory.start.cast().as_ref() };
    // Small: full all the time, with evictions, displaced sessions and one shard's lock.
    let region = Mapping::new(Table::MIN_SIZE);
    let table = region.table();
    let prints: Vec<u64> =
        (0..ADDRESSES).map(|n| table.intern(&address(n), now()).unwrap().print).collect();
    let former_region = Mapping::new(256 * 1024);
    let former = former_region.table();
    for id in 0..IDS {
        let server = former.intern(&address(choices(id)[0]), now()).unwrap();
        former.bind(key(&former, id), server, None, now(), &ENDLESS, Existing::Keep);
    }
    let tables = Tables { table, former };

    let mut random = Random(std::process::id().into());
    let mut children: Vec<i32> = (0..WRITERS + READERS)
        .map(|number| spawn(|| work(&tables, control, number, &prints, number as u64)))
        .collect();
    let mut last_beats = vec![(0, Instant::now()); children.len()];
    for kill in 0..kills {
        sleep_micros(random.below(1500));
        let number = random.below(WRITERS as u64) as usize;
        end(children[number]);
        children[number] = spawn(|| work(&tables, control, number, &prints, random.next()));
        for (number, (beats, since)) in last_beats.iter_mut().enumerate() {
            let current = control.beats[number].load(Ordering::Relaxed);
            if current != *beats {
                (*beats, *since) = (current, Instant::now());
            }
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "process {number} is blocked after {kill} kills"
            );
        }
        assert_eq!(control.wrong.load(Ordering::Relaxed), 0);
        if kill % 500 == 499 {
            // No process has the time to finish a change.
            children.drain(..).for_each(end);
            check(&table, &prints);
            children = (0..WRITERS + READERS)
                .map(|number| spawn(|| work(&tables, control, number, &prints, random.next())))
                .collect();
        }
    }
    control.stop.store(true, Ordering::Relaxed);
    for child in children {
        assert_eq!(wait(child), Some(0), "a child failed");
    }
    check(&table, &prints);
    let beats: u64 = control.beats.iter().map(|beats| beats.load(Ordering::Relaxed)).sum();
    let found = control.found.load(Ordering::Relaxed);
    let stats = table.stats();
    println!(
        "{kills} kills, {} of them inside a change; {beats} operations, {found} hits; {stats:?}",
        stats.deaths
    );
    assert!(stats.deaths > kills as u64 / 100, "the kills have missed the changes");
    assert!(
        found > 1000
            && stats.evicted > 0
            && stats.expired > 0
            && stats.forgotten > 0
            && stats.moved > 0
    );
    for id in 0..IDS {
        let key = key(&table, id);
        table.forget(key, End::Forgotten);
        assert_eq!(table.lookup(key, now(), &ENDLESS), None, "a second session of one key");
    }
    assert_eq!(table.stats().live, 0);
    for server in table.servers() {
        assert_eq!(table.server_stats(server).unwrap().live, 0);
    }
}

/// The table, and the one that came before it, which has all sessions and does not change.
pub struct Tables {
    pub table: Table,
    pub former: Table,
}

/// The servers that an id may be bound to, by number of address.
fn choices(id: u64) -> [u64; 2] {
    [id % ADDRESSES, (id / 7) % ADDRESSES]
}

fn work(tables: &Tables, control: &Control, number: usize, prints: &[u64], seed: u64) {
    let table = &tables.table;
    let mut random = Random(seed);
    while !control.stop.load(Ordering::Relaxed) {
        let id = random.below(IDS);
        let key = key(table, id);
        if number >= WRITERS {
            let session = match random.below(16) {
                0 => table.visit(key, now(), &ENDLESS),
                1 => table.visit_at_once(key, now(), &ENDLESS),
                2..=7 => table.lookup_at_once(key, now(), &ENDLESS),
                _ => table.lookup(key, now(), &ENDLESS),
            };
            if let Some(session) = session {
                control.found.fetch_add(1, Ordering::Relaxed);
                if !choices(id)
                    .iter()
                    .any(|&choice| prints[choice as usize] == session.server.print)
                {
                    control.wrong.fetch_add(1, Ordering::Relaxed);
                }
            }
        } else {
            change(tables, &control.refused, &mut random, id, key);
        }
        control.beats[number].fetch_add(1, Ordering::Relaxed);
    }
}

/// A random change of a session. `refused` counts servers for which there was no room.
pub fn change(tables: &Tables, refused: &AtomicU64, random: &mut Random, id: u64, key: Key) {
    let table = &tables.table;
    let limits = &some_limits(random);
    match random.below(100) {
        0..=69 => {
            // Few servers at a time, so that the others can be recycled.
            let era = u64::from(now().0 / 30);
            let choice = choices(id)[random.below(2) as usize];
            if (choice + era) % 4 != 0 {
                table.sweep(now(), limits, 12);
                return;
            }
            let Some(server) = table.intern(&address(choice), now()) else {
                refused.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let existing = if random.below(2) == 0 { Existing::Keep } else { Existing::Move };
            let ttl = (random.below(4) == 0).then_some(Span(2));
            table.bind(key, server, ttl, now(), limits, existing);
        }
        70..=84 => {
            table.forget(key, End::Forgotten);
        }
        85..=89 => {
            table.touch(key, now());
        }
        90..=91 => {
            table.visit(key, now(), limits);
        }
        92..=94 => {
            table.import_session(&tables.former, key, now(), limits);
        }
        _ => {
            table.sweep(now(), limits, 60);
        }
    }
}

/// While no process works: the statistics add up, and agree with the lookups.
fn check(table: &Table, prints: &[u64]) {
    // The next holder repairs; make sure that there is one. (Ids that were never bound.)
    for id in IDS..IDS + 100 {
        let server = table.servers().next().expect("there are servers");
        table.bind(key(table, id), server, None, now(), &ENDLESS, Existing::Keep);
        table.forget(key(table, id), End::Forgotten);
    }
    let mut by_server = std::collections::HashMap::<ServerId, u64>::new();
    for id in 0..IDS {
        if let Some(session) = table.lookup(key(table, id), now(), &ENDLESS) {
            *by_server.entry(session.server).or_default() += 1;
            assert!(choices(id)
                .iter()
                .any(|&choice| prints[choice as usize] == session.server.print));
            let mut buffer = [0; Table::MAX_ADDRESS];
            let text = table
                .address(session.server, &mut buffer)
                .expect("a session's server is on the list");
            assert!(choices(id).iter().any(|&choice| address(choice) == text));
        }
    }
    let stats = table.stats();
    // A time to live can hide what is there: only then lookups find less.
    for id in 0..IDS {
        table.touch(key(table, id), now());
    }
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
        assert!(by_server.get(&server).copied().unwrap_or(0) <= stats.live);
        live += stats.live;
    }
    assert_eq!(live, stats.live);
    let there = (0..IDS).filter(|&id| table.touch(key(table, id), now())).count() as u64;
    assert_eq!(there, stats.live, "live sessions counted and found");
}
