//! Three ways to keep a million sessions, measured in turns of 20,000 lookups by CPU time, so that noise
//! of the machine affects all: `cargo bench -p affinity --bench latency`. Another number:
//! SESSIONS=10000000.
//!
//! *One after the other*: the next id depends on the last result, as with requests, which have tens of
//! thousands of instructions between two lookups. *Overlapped*: the processor begins the next lookups
//! while it waits for memory, as in a loop without other work. A miss can only be measured this way: the
//! processor predicts its result.

mod common;

use std::hint::black_box;

use affinity::table::{Kind, Tick};
use common::{ids, sizes, HashMap, Id, Ours, Random, Sessions, Tree, LIMITS, NOW};

const TURN: usize = 20_000;
const ROUNDS: usize = 41;

fn main() {
    // `cargo test --benches` measures nothing.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let sessions = sizes().pop().unwrap();
    let (there, absent) = (ids(sessions, 1), ids(sessions, 2));
    let (ours, map, tree): (Ours, HashMap, Tree) = (filled(&there), filled(&there), filled(&there));
    let mut contest = Contest::default();
    let mut turns = 0;
    for _ in 0..ROUNDS {
        for way in Way::ALL {
            // The next ids each time: those of the last turn are still in the caches.
            let start = turns * TURN % sessions;
            let ids = if way == Way::Miss { &absent } else { &there };
            let ids = &ids[start..start + TURN];
            let now = Tick(NOW.0 + turns as u32);
            contest.measure(way, &ours, ids, now);
            contest.measure(way, &map, ids, now);
            contest.measure(way, &tree, ids, now);
            turns += 1;
        }
    }
    contest.print(sessions);
    instructions(&ours, &there[0], &absent[0]);
}

/// The cost of a request in instructions, which other programs do not change.
fn instructions(ours: &Ours, there: &Id, absent: &Id) {
    let table = &ours.table;
    let later = Tick(NOW.0 + 1);
    let key = |id: &Id| table.key(Kind::Session, black_box(id), black_box(b""));
    let (known, unknown) = (key(there), key(absent));
    println!("instructions in user space:");
    for (name, count) in [
        ("key of 36 bytes", count(|| key(there))),
        ("visit in the tick of the last use", count(|| table.visit(known, NOW, &LIMITS))),
        ("visit in a later tick", count(|| table.visit(known, later, &LIMITS))),
        ("visit of no session", count(|| table.visit(unknown, NOW, &LIMITS))),
    ] {
        println!("  {name:<48} {count:>6}");
    }
}

/// Instructions of `work`, counted by single steps in a child, without those of the call.
fn count<T>(work: impl Fn() -> T) -> u64 {
    steps(|| drop(black_box(black_box(&work)()))) - steps(|| ())
}

/// Instructions of a child that calls `work` and exits.
#[inline(never)]
fn steps(work: impl Fn()) -> u64 {
    // SAFETY: this process has one thread; the child is traced by its parent, which waits for it to
    // stop before each step, and leaves without the parent's exit handlers.
    unsafe {
        let child = libc::fork();
        assert_ne!(child, -1, "fork");
        if child == 0 {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
            work();
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        let mut steps = 0;
        while libc::WIFSTOPPED(status) {
            libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0);
            libc::waitpid(child, &mut status, 0);
            steps += 1;
        }
        steps
    }
}

/// In another order than that of the lookups.
fn filled<S: Sessions>(ids: &[Id]) -> S {
    let sessions = S::new(ids.len());
    let mut order: Vec<usize> = (0..ids.len()).collect();
    let mut random = Random(3);
    for last in (1..order.len()).rev() {
        order.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
    order.iter().for_each(|&index| sessions.create(&ids[index]));
    sessions
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Hit,
    HitAndTouch,
    HitOverlapped,
    Miss,
}

impl Way {
    const ALL: [Way; 4] = [Way::Hit, Way::HitAndTouch, Way::HitOverlapped, Way::Miss];

    fn name(self) -> &'static str {
        match self {
            Way::Hit => "hit, one after the other",
            Way::HitAndTouch => "hit and touch, one after the other",
            Way::HitOverlapped => "hit, overlapped",
            Way::Miss => "miss, overlapped",
        }
    }
}

/// Nanoseconds for each lookup, by what was done and with what.
#[derive(Default)]
struct Contest(Vec<(String, Vec<f64>)>);

impl Contest {
    fn measure<S: Sessions>(&mut self, way: Way, sessions: &S, ids: &[Id], now: Tick) {
        let began = cpu_nanoseconds();
        match way {
            Way::Hit => chained(ids, |id| sessions.lookup(id)),
            Way::HitAndTouch => chained(ids, |id| sessions.hit(id, now)),
            Way::HitOverlapped | Way::Miss => ids.iter().for_each(|id| {
                black_box(sessions.lookup(id));
            }),
        }
        let each = (cpu_nanoseconds() - began) as f64 / TURN as f64;
        let name = format!("{}: {}", way.name(), S::NAME);
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(each),
            None => self.0.push((name, vec![each])),
        }
    }

    fn print(&mut self, sessions: usize) {
        println!(
            "{sessions} sessions, nanoseconds of CPU for each lookup, {ROUNDS} rounds of {TURN}:"
        );
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, times) in &mut self.0 {
            times.sort_by(f64::total_cmp);
            let at = |percent: usize| times[(times.len() - 1) * percent / 100];
            println!(
                "  {name:<48} median {:>6.0}  (10 % {:.0}, 90 % {:.0})",
                at(50),
                at(10),
                at(90)
            );
        }
    }
}

/// Each lookup waits for the result of the last.
fn chained(ids: &[Id], lookup: impl Fn(&Id) -> Option<u16>) {
    let mut next = 0;
    while let Some(id) = ids.get(next) {
        // No server has so high a number, but the processor must wait for the result.
        next += 1 + usize::from(lookup(id).unwrap_or(0) >> 15);
    }
}

fn cpu_nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
