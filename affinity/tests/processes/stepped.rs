//! Processes that are killed at each instruction of a change.

use super::common::watch::Watch;
use super::*;

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
    Scene {
        name: "forget",
        change: |table, props| assert!(table.forget(props.known, End::Forgotten)),
    },
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
        change: |table, props| assert!(table.forget(props.known, End::Forgotten)),
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

pub fn a_death_at_any_instruction_leaves_the_table_whole() {
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
        // Changes are noted from now on.
        Watch::new(&table);
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
            let mut watch = Watch::new(&table);
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
            assert!(table.forget(probe, End::Forgotten));
            let after = found(&table);
            consistent(&table, &after, scene.name, steps);
            all_is_heard(&mut watch, &table, scene.name, steps);
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
                all_is_heard(&mut watch, &table, scene.name, steps);
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
        assert!(superseded.forget(known, End::Forgotten));
        bind(&superseded, moved, servers[0]);
    }
    if scene.contains("superseded") {
        table.supersede();
    }
    if scene.contains("over a tombstone") {
        assert!(table.forget(known, End::Forgotten));
    }
    (table, Props { first: server, second, known, new, former, superseded, moved })
}

fn found(table: &Table) -> Vec<Option<u64>> {
    (0..IDS_STEPPED)
        .map(|id| Some(table.lookup(key(table, id), Tick(1000), &ENDLESS)?.server.print))
        .collect()
}

/// What was heard last of each session is what the table says.
fn all_is_heard(watch: &mut Watch, table: &Table, scene: &str, steps: u64) {
    watch.hear(table);
    let wrong = watch.wrong(table, (0..IDS_STEPPED).map(|id| key(table, id)));
    assert!(wrong.is_empty(), "{scene}: {wrong:?} is not heard, killed after {steps} steps");
    assert!(!watch.missed, "{scene}");
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
pub fn step_and_kill(change: impl FnOnce(), steps: u64) -> Result<(), u64> {
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
