//! How keys spread over buckets, which is hidden from the users of the table.

use core::ptr::NonNull;

use super::bind::Existing;
use super::handle::Table;
use super::hash::Algorithm;
use super::key::Kind;
use super::listen::change::End;
use super::memory::bucket::{line_of, preferred_line};
use super::memory::layout::TableError;
use super::memory::place::{Place, PAIRS};
use super::memory::region::Region;
use super::memory::summary::{Summary, SLOTS};
use crate::time::{Limits, Span, Tick};

const LIMITS: Limits = Limits { timeout: Span(1000), lifetime: None };

/// Memory of one process, aligned as a page.
fn region(len: usize) -> (NonNull<u8>, usize) {
    let layout = std::alloc::Layout::from_size_align(len, 4096).unwrap();
    // SAFETY: the size is not zero. (The memory is never freed: the process ends with the tests.)
    (NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).unwrap(), len)
}

/// A table with this hash.
fn table_with(algorithm: u32, secret: [u8; 16], len: usize) -> Result<Table, TableError> {
    let (start, len) = region(len);
    // SAFETY: `region` has allocated `len` bytes for this table alone.
    unsafe {
        Region::create(start, len, algorithm, secret)?;
        Table::attach(start, len)
    }
}

/// A zone may be older than the module that attaches to it, and its hash unknown to that module.
#[test]
fn a_table_says_which_hash_it_uses() {
    let secret = *b"0123456789abcdef";
    let best = table_with(Algorithm::best() as u32, secret, 1 << 16).unwrap();
    let sip = table_with(Algorithm::SipHash as u32, secret, 1 << 16).unwrap();
    assert_eq!(table_with(77, secret, 1 << 16).unwrap_err(), TableError::Format);

    let server = sip.intern(b"a:1", Tick(1)).unwrap();
    let key = sip.key(Kind::Session, b"id", b"");
    sip.bind(key, server, None, Tick(1), &LIMITS, Existing::Keep);
    assert_eq!(sip.lookup(key, Tick(1), &LIMITS).unwrap().server, server);
    if Algorithm::best() != Algorithm::SipHash {
        assert_ne!(best.key(Kind::Session, b"id", b""), key);
        assert_eq!(best.import(&sip, Tick(1), &LIMITS), 0);
    }
}

/// A million similar ids, chosen without the secret, fill the buckets as evenly as chance does:
/// chi-square of homes, and of all candidates.
#[test]
fn ids_chosen_without_the_secret_spread_evenly() {
    const IDS: u64 = 1_000_000;
    for (algorithm, secret) in [
        (Algorithm::best(), *b"0123456789abcdef"),
        (Algorithm::best(), [0; 16]),
        (Algorithm::SipHash, *b"0123456789abcdef"),
    ] {
        let table = table_with(algorithm as u32, secret, 32 << 20).unwrap();
        let buckets = table.region.buckets().len();
        let mut homes = vec![0u32; buckets];
        let mut candidates = vec![0u32; buckets / 2];
        let mut hints = [0u32; Summary::HINTS as usize];
        for number in 0..IDS {
            let id = format!("session-{number:028}");
            let fingerprint = table.key(Kind::Session, id.as_bytes(), b"").fingerprint();
            let place = Place::new(&table.region, fingerprint);
            homes[place.home as usize] += 1;
            place.pairs().for_each(|[bucket, _]| candidates[bucket as usize / 2] += 1);
            hints[(fingerprint % Summary::HINTS) as usize] += 1;
        }
        for (name, counts, total) in [
            ("homes", &homes[..], IDS),
            ("candidates", &candidates, PAIRS as u64 * IDS),
            ("hints", &hints, IDS),
        ] {
            let expected = total as f64 / counts.len() as f64;
            let square: f64 =
                counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
            let freedom = (counts.len() - 1) as f64;
            let deviation = (square - freedom) / (2.0 * freedom).sqrt();
            println!("{name}: chi-square {square:.0} for {freedom} degrees of freedom: {deviation:+.2} sigma");
            assert!(deviation < 5.0, "{name} are uneven");
        }
    }
}

/// A session is in one of five pairs of buckets. At the nominal load most are in the pair of their home,
/// most of those at home in the line that is fetched first, and most misses end there.
#[test]
fn the_longest_probe_is_five_pairs() {
    let table = table_with(Algorithm::best() as u32, *b"0123456789abcdef", 4 << 20).unwrap();
    let server = table.intern(b"a:1", Tick(1)).unwrap();
    let sessions = 4 * 32_000u64;
    let (mut at_home, mut in_line, mut at_once) = (0, 0, 0);
    let mut probes = [0u64; PAIRS];
    let key = |number: u64| table.key(Kind::Session, &number.to_le_bytes(), b"");
    for number in 0..sessions {
        table.bind(key(number), server, None, Tick(1), &LIMITS, Existing::Keep);
    }
    for number in 0..sessions {
        let fingerprint = key(number).fingerprint();
        let place = Place::new(&table.region, fingerprint);
        let slot = |bucket: u32| table.region.buckets().get(bucket).unwrap().position(fingerprint);
        let holds = |bucket: u32| slot(bucket).is_some();
        let probe = place.pairs().position(|pair| pair.into_iter().any(holds));
        probes[probe.expect("a session lives in one of its five pairs")] += 1;
        if let Some(slot) = slot(place.home) {
            at_home += 1;
            in_line += u64::from(line_of(slot) == preferred_line(fingerprint));
        }
        at_once += u64::from(table.lookup_at_once(key(number), Tick(1), &LIMITS).is_some());
    }
    let hinted = (sessions..2 * sessions)
        .filter(|&number| {
            let fingerprint = key(number).fingerprint();
            let home = Place::home(&table.region, fingerprint);
            let home = table.region.buckets().get(home).unwrap();
            home.summary(super::sync::Ordering::Relaxed).may_be_elsewhere(fingerprint)
        })
        .count();
    println!("{at_home} at home, {in_line} in their line; by pair {probes:?}");
    assert_eq!(at_once, probes[0]);
    println!("{hinted} of {sessions} misses read more");
    assert!(at_home > sessions * 6 / 7);
    assert!(in_line > at_home * 9 / 10);
    assert!(probes[0] > sessions * 15 / 16);
    assert!((hinted as u64) < sessions / 24);

    // When all sessions have been removed, so have tags and hints.
    for number in 0..sessions {
        assert!(table.forget(key(number), End::Forgotten));
    }
    for bucket in table.region.buckets().iter() {
        assert_eq!(bucket.summary(super::sync::Ordering::Relaxed), Summary(0));
        assert_eq!(bucket.slots().filter(|slot| slot.fingerprint() == 0).count(), SLOTS);
    }
}

/// Readers of a bucket beside its writer, on real threads: what loom explores on a model. It is the one
/// test of the table that Miri can run (Miri has neither mmap nor robust mutexes).
#[test]
fn a_bucket_is_read_whole_while_it_is_written() {
    use super::memory::bucket::{BucketBody, Buckets, Found};
    use super::memory::entry::{Entry, Meta};
    use super::memory::journal::{Action, Journal, JournalRecord, Memory};
    use super::sync::{AtomicU32, AtomicU64, Ordering};

    const KEY: u64 = 77;
    let rounds = if cfg!(miri) { 40 } else { 200_000 };
    let entry = |round: u32| Entry {
        fingerprint: KEY,
        meta: Meta::new((round % 1000) as u16, None),
        used: Tick(round),
        created: Tick(round),
    };
    let (summaries, bodies) = ([AtomicU64::new(0)], [BucketBody::default()]);
    let buckets = Buckets { summaries: &summaries, bodies: &bodies };
    let bucket = buckets.get(0).unwrap();
    let journal = Journal::default();
    let totals: [AtomicU64; 0] = [];
    let counts: [AtomicU32; 0] = [];
    let memory = Memory { buckets, totals: &totals, counts: &counts };
    let commit = |action, entry: Entry| {
        // Two slots of one line, and one of the other.
        let slot = [0, 2, 1][entry.created.0 as usize % 3];
        let version = bucket.slot(slot).unwrap().version(Ordering::Relaxed) + 1;
        let slot = slot as u32;
        let summary = match action {
            Action::Insert => Summary(0).with(slot, KEY),
            _ => Summary(0),
        };
        let (home, total, counts) = (None, None, [None, None]);
        let at = 0;
        let change = JournalRecord {
            action,
            bucket: at,
            slot,
            version,
            summary,
            home,
            entry,
            total,
            counts,
        };
        journal.commit(&change, memory);
    };
    commit(Action::Insert, entry(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                for _ in 0..rounds {
                    let found = bucket.read(KEY, |meta| meta.server());
                    if let Found::Entry(found, _, used) = found {
                        used.touch(found.used, Tick(0));
                        let round = found.created.0;
                        assert_eq!(u32::from(found.meta.server()), round % 1000);
                        assert!(round >= last, "time runs forward");
                        last = round;
                    }
                }
            });
        }
        for round in 1..rounds {
            commit(Action::Remove, entry(round - 1));
            commit(Action::Insert, entry(round));
        }
    });
}

/// As after a death of all processes, or of the machine: no thread has the id in the locks.
#[test]
fn a_table_revives_with_every_lock_held() {
    let (start, len) = region(1 << 20);
    let now = Tick(1);
    // SAFETY: `region` has allocated `len` bytes for this table alone.
    let table = unsafe { Table::create(start, len, *b"0123456789abcdef") }.unwrap();
    let bind = |table: &Table, number: u32| {
        let server = table.intern(b"a:1", now).unwrap();
        let key = table.key(Kind::Session, &number.to_le_bytes(), b"");
        table.bind(key, server, None, now, &LIMITS, Existing::Keep);
        key
    };
    let keys: Vec<_> = (0..900).map(|number| bind(&table, number)).collect();
    let list = core::ptr::from_ref(&table.region.header().servers_lock);
    let shards = table.region.shards().iter().map(|shard| core::ptr::from_ref(&shard.lock));
    for lock in shards.chain([list]) {
        // SAFETY: the first word of a mutex is its owner, and no thread uses it.
        unsafe { lock.cast::<u32>().cast_mut().write(0x3fff_fff0) };
    }
    // SAFETY: nobody uses the region.
    let table = unsafe { Table::reopen(start, len) }.unwrap();
    bind(&table, 900);
    assert!(table.intern(b"b:1", now).is_some());
    assert!(keys.iter().all(|&key| table.lookup(key, now, &LIMITS).is_some()));
    assert_eq!(table.stats().live, 901);
}

#[test]
fn a_table_of_the_format_before_is_restored_and_not_attached_to() {
    let (start, len) = region(1 << 20);
    let now = Tick(1);
    // SAFETY: `region` has allocated `len` bytes for this table alone.
    let table = unsafe { Table::create(start, len, *b"0123456789abcdef") }.unwrap();
    let server = table.intern(b"a:1", now).unwrap();
    for number in 0..900u32 {
        let key = table.key(Kind::Session, &number.to_le_bytes(), b"");
        table.bind(key, server, None, now, &LIMITS, Existing::Keep);
    }
    write_format_before(&table);
    // SAFETY: the same memory, which nobody else uses.
    unsafe {
        assert_eq!(Table::attach(start, len).unwrap_err(), TableError::Format);
        let old = Table::reopen(start, len).unwrap();
        let copy = table_with(Algorithm::best() as u32, old.secret(), 1 << 20).unwrap();
        assert_eq!(copy.restore(&old, now, now, &LIMITS).taken, 900);
    }
}

/// Rewrites a table as format 7 has it: sessions without sums.
fn write_format_before(table: &Table) {
    use super::memory::entry::Meta;
    for slot in table.region.buckets().iter().flat_map(|bucket| bucket.slots()) {
        slot.rebind(Meta(slot.entry(1).meta.0 & ((1 << 29) - 1)));
    }
    table.region.header().format.store(7, core::sync::atomic::Ordering::Relaxed);
}
