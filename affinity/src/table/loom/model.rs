//! Two buckets and their neighbour in loom's atomics, and lookups as the table does them.

use ::loom::sync::{Arc, Mutex};

use crate::table::memory::bucket::{Bucket, BucketBody, Buckets, Found};
use crate::table::memory::entry::{Entry, Meta};
use crate::table::memory::journal::{Action, Journal, JournalRecord, Memory};
use crate::table::memory::summary::Summary;
use crate::table::sync::{pause, AtomicU32, AtomicU64, Ordering};
use crate::time::Tick;

pub(super) const KEY: u64 = 0x1111;
pub(super) const OTHER: u64 = 0x2222;

pub(super) fn entry(fingerprint: u64, server: u16, time: u32) -> Entry {
    Entry { fingerprint, meta: Meta::new(server, None), used: Tick(time), created: Tick(time) }
}

/// Buckets of the model: a home, its neighbour, and one of another pair.
pub(super) const HOME: u32 = 0;
pub(super) const BESIDE: u32 = 1;
pub(super) const AWAY: u32 = 2;

/// Three buckets of one shard, its lock, and the prints of servers.
pub(super) struct Model {
    pub(super) summaries: [AtomicU64; 3],
    pub(super) bodies: [BucketBody; 3],
    pub(super) journal: Journal,
    pub(super) totals: [AtomicU64; 1],
    pub(super) counts: [AtomicU32; 4],
    pub(super) lock: Mutex<()>,
    pub(super) prints: [AtomicU64; 3],
}

impl Model {
    pub(super) fn new() -> Arc<Model> {
        Arc::new(Model {
            summaries: std::array::from_fn(|_| AtomicU64::new(0)),
            bodies: std::array::from_fn(|_| BucketBody::default()),
            journal: Journal::default(),
            totals: [AtomicU64::new(0)],
            counts: std::array::from_fn(|_| AtomicU32::new(0)),
            lock: Mutex::new(()),
            prints: std::array::from_fn(|index| AtomicU64::new(100 + index as u64)),
        })
    }

    pub(super) fn memory(&self) -> Memory<'_> {
        let buckets = Buckets { summaries: &self.summaries, bodies: &self.bodies };
        Memory { buckets, totals: &self.totals, counts: &self.counts }
    }

    pub(super) fn bucket(&self, index: u32) -> Bucket<'_> {
        self.memory().buckets.get(index).unwrap()
    }

    pub(super) fn summary(&self, bucket: u32) -> Summary {
        self.bucket(bucket).summary(Ordering::Relaxed)
    }

    pub(super) fn change(
        &self,
        action: Action,
        bucket: u32,
        slot: u32,
        entry: Entry,
    ) -> JournalRecord {
        let (mine, home) = (self.summary(bucket), self.summary(HOME));
        let (summary, home) = match action {
            Action::Insert => {
                (mine.with(slot, entry.fingerprint), home.with_displaced(entry.fingerprint))
            }
            _ => (mine.without(slot), home.without_displaced()),
        };
        JournalRecord {
            action,
            bucket,
            slot,
            version: self.bucket(bucket).slot(slot as usize).unwrap().version(Ordering::Relaxed)
                + 1,
            summary,
            home: (bucket == AWAY).then_some((HOME, home)),
            entry,
            total: Some((0, self.totals[0].load(Ordering::Relaxed) + 1)),
            counts: [None, None],
        }
    }

    pub(super) fn commit(&self, action: Action, bucket: u32, slot: u32, entry: Entry) {
        self.journal.commit(&self.change(action, bucket, slot, entry), self.memory());
    }

    pub(super) fn insert(&self, slot: u32, entry: Entry) {
        self.commit(Action::Insert, HOME, slot, entry);
    }

    pub(super) fn remove(&self, slot: u32, entry: Entry) {
        self.commit(Action::Remove, HOME, slot, entry);
    }

    /// As `Table::lookup`: the home bucket, then whichever holds the session.
    pub(super) fn lookup(&self, key: u64) -> Option<(Entry, u64)> {
        let beside = |meta: Meta| self.print_of(meta);
        let mut bucket = self.bucket(HOME);
        if let Found::Nothing(summary) = bucket.read(key, beside) {
            match self.bucket(BESIDE).read(key, beside) {
                Found::Entry(entry, print, _) => return Some((entry, print)),
                Found::Nothing(_) if !summary.may_be_elsewhere(key) => return None,
                Found::Nothing(_) | Found::Changed => {}
            }
        }
        loop {
            match bucket.read(key, beside) {
                Found::Entry(entry, print, _) => return Some((entry, print)),
                Found::Nothing(_) | Found::Changed => {
                    pause();
                    bucket = self.holder(key)?;
                }
            }
        }
    }

    /// As `Table::lookup_at_once`: the bodies of the home and of the bucket beside it.
    pub(super) fn lookup_at_once(&self, key: u64) -> Option<(Entry, u64)> {
        let beside = |meta: Meta| self.print_of(meta);
        let (entry, print, _) =
            [HOME, BESIDE].iter().find_map(|&index| self.bucket(index).read_body(key, beside))?;
        Some((entry, print))
    }

    /// As `Table::print_of`.
    pub(super) fn print_of(&self, meta: Meta) -> u64 {
        let print = self.prints.get(usize::from(meta.server()));
        print.map_or(0, |print| print.load(Ordering::Relaxed))
    }

    /// As `Table::holder`.
    pub(super) fn holder(&self, key: u64) -> Option<Bucket<'_>> {
        let holds = |bucket: &Bucket<'_>| bucket.position(key).is_some();
        let home = self.bucket(HOME);
        if holds(&home) {
            return Some(home);
        }
        let beside = Some(self.bucket(BESIDE)).filter(holds);
        beside.or_else(|| match home.summary(Ordering::Acquire).may_be_elsewhere(key) {
            true => Some(self.bucket(AWAY)).filter(holds),
            false => None,
        })
    }
}

impl Model {
    pub(super) fn touch(&self, now: Tick) {
        match self.bucket(0).read(KEY, |_| ()) {
            Found::Entry(entry, (), used) => used.touch(entry.used, now),
            _ => panic!("a session that nobody removes is there"),
        }
    }
}

/// Both ways to look up.
pub(super) const WAYS: [fn(&Model, u64) -> Option<(Entry, u64)>; 2] =
    [Model::lookup, Model::lookup_at_once];

pub(super) fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound =
        Some(std::env::var("BOUND").ok().and_then(|bound| bound.parse().ok()).unwrap_or(3));
    builder.max_branches = 10_000;
    builder.check(model);
}
