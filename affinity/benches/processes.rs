//! The table between processes: throughput of one and of two, and how long single operations take
//! while a million sessions expire. Two minutes:
//! `cargo bench -p affinity --bench processes`.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use affinity::table::{Existing, Kind, Limits, Span, Tick};
use common::{ids, shared, sizes, Id, Ours, Random, Sessions, LIMITS, NOW};

fn main() {
    // `cargo test --benches` measures nothing.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    for count in sizes() {
        let ids = ids(count, 1);
        let sessions = Ours::new(count);
        ids.iter().for_each(|id| sessions.create(id));
        for (name, writes) in [("lookups only", 0), ("5 % writes", 5)] {
            throughput(name, writes, &sessions, &ids);
        }
        if count >= 1_000_000 {
            expire_all(&sessions, &ids);
        }
    }
}

fn verdict(holds: bool) -> &'static str {
    if holds {
        "holds"
    } else {
        "does not hold"
    }
}

/// Shared by the processes.
#[repr(C)]
struct Control {
    go: AtomicBool,
    stop: AtomicBool,
    ready: AtomicU64,
    workers: [Worker; 4],
}

/// On cache lines of its own.
#[repr(C, align(128))]
struct Worker {
    operations: AtomicU64,
    /// CPU time taken, in nanoseconds.
    cpu: AtomicU64,
}

/// Millions of operations a second: by wall time, in which other programs run, too, and by CPU time,
/// which does not include waiting.
#[derive(Clone, Copy)]
struct Speed {
    wall: f64,
    cpu: f64,
}

/// Rounds of one and of two processes, in turns; medians.
fn throughput(name: &str, writes: u64, sessions: &Ours, ids: &[Id]) {
    const ROUNDS: usize = 9;
    let rounds: Vec<(Speed, Speed)> = (0..ROUNDS)
        .map(|_| (speed(1, writes, sessions, ids), speed(2, writes, sessions, ids)))
        .collect();
    for (clock, of) in
        [("wall", (|speed| speed.wall) as fn(Speed) -> f64), ("CPU", |speed| speed.cpu)]
    {
        let sorted = |values: &mut dyn Iterator<Item = f64>| {
            let mut values: Vec<f64> = values.collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let one = sorted(&mut rounds.iter().map(|round| of(round.0)))[ROUNDS / 2];
        let two = sorted(&mut rounds.iter().map(|round| of(round.1)))[ROUNDS / 2];
        let ratios = sorted(&mut rounds.iter().map(|round| of(round.1) / of(round.0)));
        println!(
            "{} sessions, {name}, {clock} time: one process {one:.2} M/s, two {two:.2} M/s, median of \
             rounds {:.2} times ({:.2} to {:.2}); at least 1.8: {}",
            ids.len(),
            ratios[ROUNDS / 2],
            ratios[0],
            ratios[ROUNDS - 1],
            verdict(ratios[ROUNDS / 2] >= 1.8),
        );
    }
}

fn speed(processes: usize, writes: u64, sessions: &Ours, ids: &[Id]) -> Speed {
    let memory = shared(4096);
    // SAFETY: zeroed shared memory, of which all fields are atomics.
    let control: &Control = unsafe { memory.cast().as_ref() };
    let children: Vec<i32> = (0..processes)
        .map(|number| spawn(|| hammer(control, number, writes, sessions, ids)))
        .collect();
    while control.ready.load(Ordering::Acquire) < processes as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let began = Instant::now();
    control.go.store(true, Ordering::Release);
    std::thread::sleep(Duration::from_millis(400));
    control.stop.store(true, Ordering::Release);
    let seconds = began.elapsed().as_secs_f64();
    children.into_iter().for_each(wait);
    let workers = control.workers.iter().take(processes);
    let operations = |worker: &Worker| worker.operations.load(Ordering::Relaxed) as f64;
    Speed {
        wall: workers.clone().map(operations).sum::<f64>() / seconds / 1e6,
        cpu: workers
            .map(|worker| operations(worker) * 1e3 / worker.cpu.load(Ordering::Relaxed) as f64)
            .sum(),
    }
}

fn hammer(control: &Control, number: usize, writes: u64, sessions: &Ours, ids: &[Id]) {
    let mut random = Random(number as u64 + 77);
    let mut next = ids.len() / 2 * number;
    // The pages are the parent's: touch what will be used before the clock starts.
    let warm: u64 = ids.iter().step_by(16).map(|id| u64::from(id[0])).sum();
    std::hint::black_box(warm);
    for id in ids.iter().step_by(3) {
        std::hint::black_box(sessions.lookup(id));
    }
    control.ready.fetch_add(1, Ordering::Release);
    while !control.go.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
    let began = clock(libc::CLOCK_THREAD_CPUTIME_ID);
    let mut operations = 0u64;
    while !control.stop.load(Ordering::Relaxed) {
        // Time goes on, so that hits have something to store.
        let now = Tick(NOW.0 + (operations >> 10) as u32);
        for _ in 0..32 {
            next = if next + 1 >= ids.len() { 0 } else { next + 1 };
            if random.next() % 100 < writes {
                sessions.forget(&ids[next]);
                sessions.create(&ids[next]);
            } else {
                std::hint::black_box(sessions.hit(&ids[next], now));
            }
        }
        operations += 32;
    }
    let worker = &control.workers[number];
    worker.cpu.store(clock(libc::CLOCK_THREAD_CPUTIME_ID) - began, Ordering::Relaxed);
    worker.operations.store(operations, Ordering::Relaxed);
}

/// All sessions expire at one moment. One process sweeps them away in steps of 240 slots, as a worker
/// does, creates sessions and looks others up in between, and measures each operation; another one
/// looks up all the time. CPU time beside wall time: another process may have used the processor.
fn expire_all(sessions: &Ours, ids: &[Id]) {
    // Hits have moved the last use of some beyond `NOW`.
    let late = Tick(NOW.0 + 2 * LIMITS.timeout.0);
    let table = &sessions.table;
    let memory = shared(4096);
    // SAFETY: zeroed shared memory, of which all fields are atomics.
    let control: &Control = unsafe { memory.cast().as_ref() };
    let reader = spawn(|| {
        let mut times = Histogram::new("lookup by another process");
        let mut next = 0;
        while !control.stop.load(Ordering::Relaxed) {
            next = (next + 7919) % ids.len();
            times.measure(|| sessions.lookup(&ids[next]));
        }
        times.print();
    });
    let fresh = common::ids(300_000, 5);
    let mut fresh = fresh.iter().cycle();
    let mut sweeps = Histogram::new("sweep of 240 slots");
    let mut creations = Histogram::new("creation meanwhile");
    let mut lookups = Histogram::new("lookup meanwhile");
    // The noise of the machine itself: to compare the outliers of the others with.
    let mut arithmetic = Histogram::new("arithmetic for about as long as a sweep");
    let mut random = Random(9);
    let before = table.stats();
    let mut removed = 0;
    let short = Limits { timeout: Span(LIMITS.timeout.0), lifetime: None };
    while removed < before.live as usize {
        removed += sweeps.measure(|| table.sweep(late, &short, 240));
        let id = fresh.next().unwrap();
        let key = table.key(Kind::Session, id, b"");
        creations.measure(|| table.bind(key, sessions.server, None, late, &short, Existing::Keep));
        lookups.measure(|| table.lookup(key, late, &short));
        arithmetic.measure(|| (0..12_000).fold(0, |sum: u64, _| sum.wrapping_add(random.next())));
        let stats = table.stats();
        if stats.expired >= before.expired + before.live {
            break;
        }
    }
    control.stop.store(true, Ordering::Relaxed);
    println!("{} sessions expire at once ({} at the end):", before.live, table.stats().live);
    wait(reader);
    [sweeps, creations, lookups, arithmetic].iter().for_each(Histogram::print);
}

/// Numbers of operations by time taken, in classes of powers of two of nanoseconds.
struct Histogram {
    name: &'static str,
    classes: [u64; 40],
    longest: u64,
    longest_cpu: u64,
    /// Operations that took more than `BOUND`.
    long: u64,
}

impl Histogram {
    /// The longest time that an operation should take, in nanoseconds.
    const BOUND: u64 = 100_000;

    fn new(name: &'static str) -> Histogram {
        Histogram { name, classes: [0; 40], longest: 0, longest_cpu: 0, long: 0 }
    }

    fn measure<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let (wall, cpu) = (clock(libc::CLOCK_MONOTONIC), clock(libc::CLOCK_THREAD_CPUTIME_ID));
        let result = std::hint::black_box(operation());
        let cpu = clock(libc::CLOCK_THREAD_CPUTIME_ID) - cpu;
        let wall = clock(libc::CLOCK_MONOTONIC) - wall;
        self.longest = self.longest.max(wall);
        self.longest_cpu = self.longest_cpu.max(cpu);
        self.long += u64::from(cpu > Self::BOUND);
        self.classes[(64 - cpu.leading_zeros() as usize).min(39)] += 1;
        result
    }

    fn print(&self) {
        let total: u64 = self.classes.iter().sum();
        let (longest, cpu) = (self.longest as f64 / 1e3, self.longest_cpu as f64 / 1e3);
        println!(
            "  {}: {total} times, {} of them took more than 100 µs of CPU; longest {cpu:.1} µs, \
             {longest:.1} µs of wall clock",
            self.name, self.long,
        );
        for (class, &count) in self.classes.iter().enumerate().filter(|(_, count)| **count > 0) {
            println!("    below {:>9.3} µs: {count:>9}", (1u64 << class) as f64 / 1e3);
        }
    }
}

fn clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Forks a child that does `work` and exits.
fn spawn(work: impl FnOnce()) -> i32 {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => panic!("fork"),
        0 => {
            work();
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        child => child,
    }
}

fn wait(child: i32) {
    let mut status = 0;
    // SAFETY: a child of this process that has not been waited for.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
}
