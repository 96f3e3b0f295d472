//! A million sessions, three ways to keep them, measured in turns of 20,000 lookups by CPU time, so
//! that a noisy machine is noisy to all: `cargo bench -p affinity --bench latency`.
//!
//! *One after the other*: which id is next depends on the last result, as with requests, which have
//! ten thousands of instructions between two lookups. *Overlapped*: the processor runs ahead into
//! the next lookups while it waits for memory, as it does in a loop that does nothing else.

mod common;

use std::hint::black_box;

use common::{ids, HashMap, Id, Ours, Random, Sessions, Tree};

const SESSIONS: usize = 1_000_000;
const TURN: usize = 20_000;
const ROUNDS: usize = 41;

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (there, absent) = (ids(SESSIONS, 1), ids(SESSIONS, 2));
    let (ours, map, tree): (Ours, HashMap, Tree) = (filled(&there), filled(&there), filled(&there));
    let mut contest = Contest::default();
    for round in 0..ROUNDS {
        let start = round * TURN % (SESSIONS - TURN);
        let (there, absent) = (&there[start..start + TURN], &absent[start..start + TURN]);
        contest.turn(&ours, there, absent);
        contest.turn(&map, there, absent);
        contest.turn(&tree, there, absent);
    }
    contest.print();
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

/// Nanoseconds for each lookup, by what was done and with what.
#[derive(Default)]
struct Contest(Vec<(String, Vec<f64>)>);

impl Contest {
    fn turn<S: Sessions>(&mut self, sessions: &S, there: &[Id], absent: &[Id]) {
        self.measure::<S>("hit, one after the other", || chained(there, |id| sessions.lookup(id)));
        self.measure::<S>("hit and touch, one after the other", || {
            chained(there, |id| sessions.hit(id))
        });
        self.measure::<S>("miss, one after the other", || {
            chained(absent, |id| sessions.lookup(id))
        });
        self.measure::<S>("hit, overlapped", || {
            there.iter().for_each(|id| {
                black_box(sessions.lookup(id));
            });
        });
        self.measure::<S>("miss, overlapped", || {
            absent.iter().for_each(|id| {
                black_box(sessions.lookup(id));
            });
        });
    }

    fn measure<S: Sessions>(&mut self, what: &str, work: impl FnOnce()) {
        let began = cpu_nanoseconds();
        work();
        let each = (cpu_nanoseconds() - began) as f64 / TURN as f64;
        let name = format!("{what}: {}", S::NAME);
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(each),
            None => self.0.push((name, vec![each])),
        }
    }

    fn print(&mut self) {
        println!(
            "{SESSIONS} sessions, nanoseconds of CPU for each lookup, {ROUNDS} rounds of {TURN}:"
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
        // No server has so high a number, but only the result tells.
        next += 1 + usize::from(lookup(id).unwrap_or(0) >> 15);
    }
}

fn cpu_nanoseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
