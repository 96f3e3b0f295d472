//! The session table beside two others, in one process: `cargo bench -p affinity --bench table`.
//! Sizes: 1k, 100k and 1M sessions; others with SESSIONS="1000 10000000".

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use affinity::table::Tick;
use common::{ids, sizes, HashMap, Id, Ours, Random, Sessions, Tree, NOW};
use criterion::measurement::WallTime;
use criterion::{
    criterion_group, criterion_main, BenchmarkGroup, BenchmarkId, Criterion, Throughput,
};

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500));
    group
}

/// Calls `operation` with one id after the other, from the beginning again at the end.
fn around(bencher: &mut criterion::Bencher<'_>, ids: &[Id], mut operation: impl FnMut(&Id)) {
    let mut next = 0;
    bencher.iter(|| {
        operation(&ids[next]);
        next += 1;
        if next == ids.len() {
            next = 0;
        }
    });
}

fn filled<S: Sessions>(ids: &[Id]) -> S {
    let sessions = S::new(ids.len());
    // In another order than that of the lookups, which would otherwise read memory in sequence.
    let mut order: Vec<usize> = (0..ids.len()).collect();
    let mut random = Random(3);
    for last in (1..order.len()).rev() {
        order.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
    order.iter().for_each(|&index| sessions.create(&ids[index]));
    sessions
}

fn lookups_of<S: Sessions>(criterion: &mut Criterion, count: usize, there: &[Id], absent: &[Id]) {
    let sessions: S = filled(there);
    let mut bench = |name: &str, operation: &mut dyn FnMut(&Id), ids: &[Id]| {
        let mut group = group(criterion, name);
        group.bench_function(BenchmarkId::new(S::NAME, count), |bencher| {
            around(bencher, ids, &mut *operation)
        });
        group.finish();
    };
    bench("hit", &mut |id| assert!(black_box(sessions.lookup(id)).is_some()), there);
    // Time goes on, so that there is something to store.
    let mut calls = 0u32;
    let mut now = move || {
        calls = calls.wrapping_add(1);
        Tick(NOW.0 + calls / 1024)
    };
    bench("hit and touch", &mut |id| assert!(black_box(sessions.hit(id, now())).is_some()), there);
    bench("miss", &mut |id| assert!(black_box(sessions.lookup(id)).is_none()), absent);
    // 95 hits, then five sessions end and five begin.
    let (mut turn, mut gone) = (0u32, 0usize);
    bench(
        "mixed 95 to 5",
        &mut |id| {
            turn += 1;
            if turn % 20 == 0 {
                gone = (gone + 1) % there.len();
                sessions.forget(&there[gone]);
                sessions.create(&there[gone]);
            } else {
                black_box(sessions.hit(id, now()));
            }
        },
        there,
    );
}

fn lookups(criterion: &mut Criterion) {
    for count in sizes() {
        let (there, absent) = (ids(count, 1), ids(count, 2));
        lookups_of::<HashMap>(criterion, count, &there, &absent);
        lookups_of::<Tree>(criterion, count, &there, &absent);
        lookups_of::<Ours>(criterion, count, &there, &absent);
    }
}

fn creation_of<S: Sessions>(criterion: &mut Criterion, count: usize, ids: &[Id]) {
    let sessions: S = filled(ids);
    let mut group = group(criterion, "create");
    group.bench_function(BenchmarkId::new(S::NAME, count), |bencher| {
        // A tenth at a time is removed, outside of the measurement, and created again.
        bencher.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            let mut left = iterations as usize;
            let mut start = 0;
            while left > 0 {
                let batch = left.min(ids.len() / 10);
                let range = &ids[start..start + batch];
                range.iter().for_each(|id| {
                    sessions.forget(id);
                });
                let began = Instant::now();
                range.iter().for_each(|id| sessions.create(id));
                elapsed += began.elapsed();
                left -= batch;
                start = (start + batch) % (ids.len() - ids.len() / 10);
            }
            elapsed
        });
    });
    group.finish();
}

fn full_creation_of<S: Sessions>(criterion: &mut Criterion, count: usize) {
    let sessions = S::new(count);
    // More than the table has room for, and never the same id again.
    let mut seed = 100;
    let mut fresh = ids(count * 2, seed);
    fresh.iter().for_each(|id| sessions.create(id));
    let mut group = group(criterion, "create in a full table");
    group.bench_function(BenchmarkId::new(S::NAME, count), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            let mut left = iterations as usize;
            while left > 0 {
                seed += 1;
                fresh = ids(left.min(100_000), seed);
                let began = Instant::now();
                fresh.iter().for_each(|id| sessions.create(id));
                elapsed += began.elapsed();
                left -= fresh.len();
            }
            elapsed
        });
    });
    group.finish();
}

fn creation(criterion: &mut Criterion) {
    for count in sizes() {
        let ids = ids(count, 1);
        creation_of::<HashMap>(criterion, count, &ids);
        creation_of::<Tree>(criterion, count, &ids);
        creation_of::<Ours>(criterion, count, &ids);
        full_creation_of::<Tree>(criterion, count);
        full_creation_of::<Ours>(criterion, count);
    }
}

criterion_group!(benches, lookups, creation);
criterion_main!(benches);
