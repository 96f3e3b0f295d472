//! The table between processes that are killed: hundreds of SIGKILLs at random moments (thousands with
//! KILLS=n), and at the instructions of each kind of change, one after the other (at some of them; at
//! each and every one of up to 5,000 with EVERY_INSTRUCTION=1). `harness = false`: the parent must be
//! single-threaded to fork.

mod common;

use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use affinity::table::{Existing, HandOn, Key, Kind, Limits, ServerId, Span, Table, Tick};
use common::{Mapping, Random};

fn main() {
    let started = Instant::now();
    a_death_at_any_instruction_leaves_the_table_whole();
    successors_know_what_killed_workers_have_done();
    writers_killed_at_random_block_nobody();
    println!("processes: all well after {:.1} s", started.elapsed().as_secs_f32());
}

/// No expiry: lookups see all that is in the table.
const ENDLESS: Limits = Limits { timeout: Span(i32::MAX as u32), lifetime: None };

// ---- killed at random ----

const IDS: u64 = 1000;
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

fn writers_killed_at_random_block_nobody() {
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
        table.forget(key);
        assert_eq!(table.lookup(key, now(), &ENDLESS), None, "a second session of one key");
    }
    assert_eq!(table.stats().live, 0);
    for server in table.servers() {
        assert_eq!(table.server_stats(server).unwrap().live, 0);
    }
}

/// The table, and the one that came before it, which has all sessions and does not change.
struct Tables {
    table: Table,
    former: Table,
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
            change(tables, control, &mut random, id, key);
        }
        control.beats[number].fetch_add(1, Ordering::Relaxed);
    }
}

fn change(tables: &Tables, control: &Control, random: &mut Random, id: u64, key: Key) {
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
                control.refused.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let existing = if random.below(2) == 0 { Existing::Keep } else { Existing::Move };
            let ttl = (random.below(4) == 0).then_some(Span(2));
            table.bind(key, server, ttl, now(), limits, existing);
        }
        70..=84 => {
            table.forget(key);
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
        table.forget(key(table, id));
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

// ---- killed at random, in a superseded table and its successor ----

/// Memory shared with the children beside the tables.
#[repr(C)]
struct Handover {
    /// The session that an old worker deals with next.
    next: AtomicU64,
    /// Of each session: an old worker has finished with it.
    done: [AtomicBool; IDS as usize],
    /// Lookups that did not see that.
    wrong: AtomicU64,
    stop: AtomicBool,
}

/// Old workers forget and move sessions, and create some again and forget them again. New workers look up
/// and pass over the old table. The next lookup sees what an old worker has finished. In the end both
/// tables agree on each session, whichever process died at whichever moment.
fn successors_know_what_killed_workers_have_done() {
    const ROUNDS: usize = 10;
    let mut random = Random(std::process::id().into());
    let (mut deaths, mut kills) = (0, 0);
    for _ in 0..ROUNDS {
        let [memory, old_region, new_region] = [4096, 128 * 1024, 256 * 1024].map(Mapping::new);
        // SAFETY: zeroed shared memory, of which all fields are atomics.
        let handover: &Handover = unsafe { memory.start.cast().as_ref() };
        let (old, new) = (old_region.table(), new_region.table());
        let [other, one] = [1, 0].map(|number| old.intern(&address(number), now()).unwrap());
        for id in 0..IDS {
            old.bind(key(&old, id), one, None, now(), &ENDLESS, Existing::Keep);
        }
        old.supersede();
        new.import(&old, now(), &ENDLESS);
        let old_worker = || spawn(|| end_and_move(&old, [other, one], handover));
        let new_worker = |number: u64| spawn(move || follow(&old, &new, other, handover, number));
        let mut children = [old_worker(), old_worker(), new_worker(0), new_worker(1)];
        while handover.next.load(Ordering::SeqCst) < IDS {
            sleep_micros(random.below(300));
            let number = random.below(4) as usize;
            end(children[number]);
            children[number] =
                if number < 2 { old_worker() } else { new_worker(number as u64 - 2) };
            kills += 1;
        }
        handover.stop.store(true, Ordering::SeqCst);
        for child in children {
            assert_eq!(wait(child), Some(0), "a child failed");
        }
        assert_eq!(handover.wrong.load(Ordering::SeqCst), 0);
        let mut pass = HandOn::default();
        while old.hand_on_some(&mut pass, iter::once(&new), now(), &ENDLESS, 240) {}
        let mut counts = [0; 2];
        for id in 0..IDS {
            let key = key(&old, id);
            assert!(!old.is_ahead(key));
            let found = old.lookup(key, now(), &ENDLESS).map(|session| session.server.print);
            assert_eq!(look_up(&old, &new, key), found, "session {id}");
            counts[usize::from(found.is_some())] += 1;
        }
        assert!(counts.iter().all(|count| *count > IDS / 10), "{counts:?}");
        for table in [&old, &new] {
            // A new worker may have died with the lock.
            for id in 0..IDS {
                let server = table.servers().next().unwrap();
                table.bind(key(table, id), server, None, now(), &ENDLESS, Existing::Keep);
            }
            let stats = table.stats();
            assert_eq!((stats.live, stats.evicted, stats.expired), (IDS, 0, 0), "{stats:?}");
            let live = |server| table.server_stats(server).unwrap().live;
            assert_eq!(table.servers().map(live).sum::<u64>(), IDS);
            deaths += stats.deaths;
        }
    }
    println!("{kills} kills in {ROUNDS} successions, {deaths} of them inside a change");
    assert!(deaths > 0);
}

fn end_and_move(old: &Table, [other, one]: [ServerId; 2], handover: &Handover) {
    const CHANGES: usize = 100;
    while !handover.stop.load(Ordering::SeqCst) {
        let id = handover.next.fetch_add(1, Ordering::SeqCst);
        let Some(done) = handover.done.get(id as usize) else { break };
        let key = key(old, id);
        let bind = |server| old.bind(key, server, None, now(), &ENDLESS, Existing::Move);
        for _ in 0..CHANGES {
            match id % 4 {
                // The last word: forgotten.
                0 => {
                    bind(one);
                    assert!(old.forget(key));
                }
                // Moved.
                1 => {
                    bind(one);
                    bind(other);
                }
                // Created again.
                2 => {
                    assert!(old.forget(key));
                    bind(other);
                }
                _ => (),
            }
        }
        if id % 4 == 3 {
            continue;
        }
        done.store(true, Ordering::SeqCst);
    }
}

/// The print of a session's server as a new worker finds it.
fn look_up(old: &Table, new: &Table, key: Key) -> Option<u64> {
    if old.is_ahead(key) {
        old.hand_on(key, iter::once(new), now(), &ENDLESS);
    }
    let session = new.lookup(key, now(), &ENDLESS).or_else(|| {
        new.import_session(old, key, now(), &ENDLESS);
        new.lookup(key, now(), &ENDLESS)
    });
    Some(session?.server.print)
}

fn follow(old: &Table, new: &Table, other: ServerId, handover: &Handover, number: u64) {
    let mut random = Random(number);
    let mut pass = HandOn::default();
    while !handover.stop.load(Ordering::SeqCst) {
        if number == 0 {
            old.hand_on_some(&mut pass, iter::once(new), now(), &ENDLESS, 60);
        }
        let id = random.below(IDS);
        let was_done = handover.done[id as usize].load(Ordering::SeqCst);
        let key = key(new, id);
        let found = look_up(old, new, key);
        let expected = if id % 4 == 0 { None } else { Some(other.print) };
        if was_done && found != expected {
            handover.wrong.fetch_add(1, Ordering::SeqCst);
        }
    }
}

// ---- killed at each instruction ----

/// What a change needs, made ready before the instructions are counted.
struct Props {
    first: ServerId,
    second: ServerId,
    /// Of a session that is there and bound to the first server.
    known: Key,
    /// Of one that is not.
    new: Key,
    /// Another table, with a session of the new key and a server of its own.
    former: Table,
    /// Another one, superseded by this one: it has a tombstone of the known key, and has moved the
    /// session before that one to a server of its own.
    superseded: Table,
    /// Of that session.
    moved: Key,
}

struct Scene {
    name: &'static str,
    change: fn(&Table, &Props),
}

const SCENES: [Scene; 13] = [
    Scene { name: "create", change: |table, props| bind(table, props.new, props.first) },
    Scene { name: "move", change: |table, props| bind(table, props.known, props.second) },
    Scene { name: "forget", change: |table, props| assert!(table.forget(props.known)) },
    Scene {
        name: "replace an expired session of the same key",
        change: |table, props| {
            table.bind(props.known, props.first, None, Tick(5000), &TIGHT, Existing::Keep);
        },
    },
    Scene {
        name: "visit",
        change: |table, props| {
            table.visit(props.known, Tick(1000), &ENDLESS).unwrap();
        },
    },
    Scene {
        name: "import a session",
        change: |table, props| {
            assert!(table.import_session(&props.former, props.new, Tick(1000), &ENDLESS));
        },
    },
    Scene {
        name: "forget in a superseded table",
        change: |table, props| assert!(table.forget(props.known)),
    },
    Scene {
        name: "create over a tombstone in a superseded table",
        change: |table, props| bind(table, props.known, props.second),
    },
    Scene {
        name: "follow a session that was forgotten",
        change: |table, props| {
            props.superseded.hand_on(props.known, iter::once(table), Tick(1000), &ENDLESS);
        },
    },
    Scene {
        name: "follow a session that has moved",
        change: |table, props| {
            props.superseded.hand_on(props.moved, iter::once(table), Tick(1000), &ENDLESS);
        },
    },
    Scene {
        name: "create in a full table",
        change: |table, props| bind(table, props.new, props.second),
    },
    Scene { name: "sweep", change: |table, _| assert!(table.sweep(Tick(5000), &TIGHT, 6) > 0) },
    Scene {
        name: "recycle a server",
        change: |table, _| {
            table.intern(&[b'x'; 60], Tick(2000)).unwrap();
        },
    },
];

const TIGHT: Limits = Limits { timeout: Span(10), lifetime: None };

fn bind(table: &Table, key: Key, server: ServerId) {
    table.bind(key, server, None, Tick(1000), &ENDLESS, Existing::Move);
}

fn a_death_at_any_instruction_leaves_the_table_whole() {
    // Each death takes all the steps before it once more: without the variable, some are left out.
    let every = std::env::var("EVERY_INSTRUCTION").is_ok();
    const STEPS: u64 = 30_000;
    let [region, former, superseded] = [(); 3].map(|()| Mapping::new(Table::MIN_SIZE));
    let former = former.table();
    let server = former.intern(&address(2), Tick(900)).unwrap();
    bind(&former, key(&former, IDS_STEPPED - 1), server);
    for scene in &SCENES {
        let started = Instant::now();
        let (table, props) = prepare(&region, former, &superseded, scene.name);
        let length =
            step_and_kill(|| (scene.change)(&table, &props), u64::MAX).expect_err("it ends");
        let steps = if every && length < 5000 {
            u64::MAX
        } else if every {
            20 * STEPS
        } else {
            STEPS
        };
        let stride = (length * length / 2 / steps).max(1);
        let (mut steps, mut deaths) = (0u64, 0);
        loop {
            let (table, props) = prepare(&region, former, &superseded, scene.name);
            let before = found(&table);
            if step_and_kill(|| (scene.change)(&table, &props), steps).is_err() {
                break;
            }
            // Lookups do not wait for the repair.
            let between = found(&table);
            // The next change repairs; every shard (one) and the server list are locked once.
            let spare = table.intern(b"spare", Tick(3000)).expect("room for a server");
            let probe = key(&table, 9999);
            table.bind(probe, spare, None, Tick(1000), &ENDLESS, Existing::Keep);
            assert!(table.lookup(probe, Tick(1000), &ENDLESS).is_some());
            assert!(table.forget(probe));
            let after = found(&table);
            consistent(&table, &after, scene.name, steps);
            // One session differs at most (a full table evicts one more for each new one).
            let differing =
                (0..IDS_STEPPED).filter(|&id| before[id as usize] != after[id as usize]).count();
            let bound = if scene.name.contains("full") {
                3
            } else if scene.name == "sweep" {
                6
            } else {
                1
            };
            assert!(
                differing <= bound,
                "{}: {differing} sessions changed after {steps} steps",
                scene.name
            );
            for id in 0..IDS_STEPPED as usize {
                let known =
                    between[id] == before[id] || between[id] == after[id] || between[id].is_none();
                assert!(
                    known,
                    "{}: a lookup between death and repair saw a third thing",
                    scene.name
                );
            }
            if scene.name.starts_with("follow") {
                // The change is made once more, finished before or not.
                (scene.change)(&table, &props);
                (scene.change)(&table, &props);
                let print = |key| Some(table.lookup(key, Tick(1000), &ENDLESS)?.server.print);
                let is_forgotten = scene.name.contains("forgotten");
                let (key, end) = match is_forgotten {
                    true => (props.known, None),
                    false => (props.moved, Some(props.second.print)),
                };
                assert_eq!(print(key), end, "{}, killed after {steps} steps", scene.name);
                consistent(&table, &found(&table), scene.name, steps);
                consistent(&props.superseded, &found(&props.superseded), scene.name, steps);
            }
            deaths += table.stats().deaths + props.superseded.stats().deaths;
            steps += stride;
        }
        let (name, seconds) = (scene.name, started.elapsed().as_secs_f32());
        println!("{name}: {length} instructions, killed after every {stride}, {deaths} times inside ({seconds:.1} s)");
        // A visit takes no lock.
        let locks = !["recycle a server", "visit"].contains(&scene.name);
        assert!(deaths > 0 || !locks || stride > 30, "{}", scene.name);
    }
}

const IDS_STEPPED: u64 = 600;

/// A table with servers 0 and 1, and sessions 0.. bound to server 0.
fn prepare(region: &Mapping, former: Table, superseded: &Mapping, scene: &str) -> (Table, Props) {
    let table = region.table();
    let server = table.intern(&address(0), Tick(900)).unwrap();
    let second = table.intern(&address(1), Tick(900)).unwrap();
    let full = scene.contains("full");
    for id in 0..if full { 590 } else { 150 } {
        table.bind(
            key(&table, id),
            server,
            None,
            Tick(900 + id as u32 % 50),
            &ENDLESS,
            Existing::Keep,
        );
    }
    if scene == "recycle a server" {
        for number in 2..30 {
            table.intern(&address(number), Tick(1000 + number as u32)).unwrap();
        }
    }
    let [known, moved, new] = [3, 4, IDS_STEPPED - 1].map(|id| key(&table, id));
    let superseded = superseded.table();
    if scene.starts_with("follow") {
        let servers = [1, 0].map(|number| superseded.intern(&address(number), Tick(900)).unwrap());
        for (key, created) in [(known, 903), (moved, 904)] {
            let created = Tick(created);
            superseded.bind(key, servers[1], None, created, &ENDLESS, Existing::Keep);
        }
        superseded.supersede();
        assert!(superseded.forget(known));
        bind(&superseded, moved, servers[0]);
    }
    if scene.contains("superseded") {
        table.supersede();
    }
    if scene.contains("over a tombstone") {
        assert!(table.forget(known));
    }
    (table, Props { first: server, second, known, new, former, superseded, moved })
}

fn found(table: &Table) -> Vec<Option<u64>> {
    (0..IDS_STEPPED)
        .map(|id| Some(table.lookup(key(table, id), Tick(1000), &ENDLESS)?.server.print))
        .collect()
}

fn consistent(table: &Table, found: &[Option<u64>], scene: &str, steps: u64) {
    let stats = table.stats();
    let context = format!("{scene}, killed after {steps} steps: {stats:?}");
    assert_eq!(
        stats.created,
        stats.live + stats.expired + stats.evicted + stats.forgotten,
        "{context}"
    );
    assert_eq!(stats.live, found.iter().flatten().count() as u64, "{context}");
    let mut live = 0;
    for server in table.servers() {
        let server_stats = table.server_stats(server).unwrap();
        let there = found.iter().filter(|print| **print == Some(server.print)).count() as u64;
        assert_eq!(server_stats.live, there, "{context}");
        live += there;
    }
    assert_eq!(live, stats.live, "{context}");
}

/// Runs `change` in a child for `steps` instructions and kills it there. If it has finished
/// before: the number of instructions it took.
fn step_and_kill(change: impl FnOnce(), steps: u64) -> Result<(), u64> {
    let child = spawn(|| {
        // SAFETY: asks to be traced by the parent, which waits for the stop.
        unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
        }
        change();
    });
    let mut status = 0;
    // SAFETY: `child` is a child of this process, traced and stopped.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert!(libc::WIFSTOPPED(status), "no ptrace here");
    for step in 0..steps {
        // SAFETY: `child` is a child of this process, traced and stopped.
        unsafe {
            libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0);
            libc::waitpid(child, &mut status, 0);
        }
        if libc::WIFEXITED(status) {
            assert_eq!(libc::WEXITSTATUS(status), 0);
            return Err(step);
        }
    }
    end(child);
    Ok(())
}

// ---- processes ----

fn key(table: &Table, id: u64) -> Key {
    table.key(Kind::Session, &id.to_le_bytes(), b"")
}

fn address(number: u64) -> Vec<u8> {
    // Some take one cell of the server list, some two.
    let mut text = format!("server-{number}.example:8000");
    if number % 3 == 0 {
        text.push_str("/with-a-rather-long-tail-behind-it");
    }
    text.into_bytes()
}

fn now() -> Tick {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    // A tick is a millisecond here: a test has little time.
    Tick((time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000) as u32)
}

/// Forks a child that does `work` and exits.
fn spawn(work: impl FnOnce()) -> i32 {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => panic!("fork"),
        0 => {
            // A child of a test that has failed does not go on.
            // SAFETY: no memory is involved.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        child => child,
    }
}

fn end(child: i32) {
    // SAFETY: a child of this process that has not been waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    wait(child);
}

/// The exit status of a child; None if it was killed.
fn wait(child: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: a child of this process that has not been waited for.
    unsafe { libc::waitpid(child, &mut status, 0) };
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

fn sleep_micros(micros: u64) {
    std::thread::sleep(Duration::from_micros(micros));
}
