//! A bucket: two cache lines of three sessions each, read without a lock, and a summary elsewhere.
//!
//! Any process may call these functions at any time, except those marked "Writer": their caller holds
//! the lock of the bucket's shard. `table/mod.rs` has the proof.

use super::entry::{Entry, Meta};
use super::summary::{Summary, SLOTS};
use crate::table::sync::{fence, pause, AtomicU32, AtomicU64, Ordering};
use crate::time::{Span, Tick};

/// Cache lines of a bucket.
const LINES: usize = 2;
/// Sessions in a cache line.
const LINE_SLOTS: usize = SLOTS / LINES;

const _: () = assert!(LINES * LINE_SLOTS == SLOTS);

/// A bucket of the table.
#[derive(Clone, Copy)]
pub(crate) struct Bucket<'a> {
    pub(crate) summary: &'a AtomicU64,
    pub(crate) body: &'a BucketBody,
}

/// All buckets of a table.
#[derive(Clone, Copy)]
pub(crate) struct Buckets<'a> {
    pub(crate) summaries: &'a [AtomicU64],
    pub(crate) bodies: &'a [BucketBody],
}

impl<'a> Buckets<'a> {
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<Bucket<'a>> {
        let index = index as usize;
        Some(Bucket { summary: self.summaries.get(index)?, body: self.bodies.get(index)? })
    }

    /// Prefetches what `read_body` reads in the bucket `first` and in the next one.
    #[inline]
    pub(crate) fn prefetch_bodies(&self, first: u32) {
        let first = first as usize;
        let bodies = self.bodies.get(first..first.saturating_add(2)).unwrap_or_default();
        bodies.iter().flat_map(|body| &body.lines).for_each(prefetch);
    }

    pub(crate) fn len(&self) -> usize {
        self.bodies.len()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Bucket<'a>> {
        self.summaries.iter().zip(self.bodies).map(|(summary, body)| Bucket { summary, body })
    }
}

/// The sessions of a bucket: those of even slots lie in the first line.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), repr(C, align(128)))]
pub(crate) struct BucketBody {
    lines: [Line; LINES],
}

/// Three sessions, each of which can be read without another line.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), repr(C))]
struct Line {
    fingerprints: [AtomicU64; LINE_SLOTS],
    /// Counted up when a session has left its slot or its server. It wraps after 2^32 such changes. A
    /// reader is wrong only if exactly that many happen between its two loads.
    version: AtomicU32,
    meta: [AtomicU32; LINE_SLOTS],
    used: [AtomicU32; LINE_SLOTS],
    created: [AtomicU32; LINE_SLOTS],
}

impl Line {
    #[inline(always)]
    fn slot(&self, index: usize) -> Option<Slot<'_>> {
        Some(Slot {
            version: &self.version,
            fingerprint: self.fingerprints.get(index)?,
            meta: self.meta.get(index)?,
            used: self.used.get(index)?,
            created: self.created.get(index)?,
        })
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Line>() == 64 && size_of::<BucketBody>() == 128);

/// The result of a lookup in one bucket.
pub(crate) enum Found<'a, T> {
    /// The session, the caller's value of the same moment, and its time of last use.
    Entry(Entry, T, Used<'a>),
    /// This bucket has no such session. The summary has the hints.
    Nothing(Summary),
    /// A writer has changed the session's line meanwhile: repeat the lookup.
    Changed,
}

/// The line of a slot.
#[inline]
pub(crate) fn line_of(slot: usize) -> usize {
    slot % LINES
}

/// The line of a bucket that a new session is put in, unless that line is full.
#[inline]
pub(crate) fn preferred_line(fingerprint: u64) -> usize {
    (fingerprint >> 16) as usize % LINES
}

/// Prefetches a cache line.
#[inline]
fn prefetch<T>(at: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    // SAFETY: a prefetch changes nothing but the cache, for any address.
    unsafe {
        use core::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(at).cast());
    }
    let _ = at;
}

impl<'a> Bucket<'a> {
    /// Prefetches the summary.
    #[inline]
    pub(crate) fn prefetch_summary(&self) {
        prefetch(self.summary);
    }

    #[inline]
    fn prefetch_line(&self, fingerprint: u64) {
        if let Some(line) = self.body.lines.get(preferred_line(fingerprint)) {
            prefetch(line);
        }
    }

    /// Reads the session of `fingerprint` as `read` does, but without the summary, and mostly in one
    /// line. `None` if the bucket has no such session, or a writer has changed its line meanwhile.
    #[inline(always)]
    pub(crate) fn read_body<T>(
        &self,
        fingerprint: u64,
        beside: impl Fn(Meta) -> T,
    ) -> Option<(Entry, T, Used<'a>)> {
        let is_it = |at: &AtomicU64| at.load(Ordering::Acquire) == fingerprint;
        let mut number = preferred_line(fingerprint);
        let mut line = self.body.lines.get(number)?;
        let mut version = line.version.load(Ordering::Acquire);
        let index = match line.fingerprints.iter().position(is_it) {
            Some(index) => index,
            None => {
                number = LINES - 1 - number;
                line = self.body.lines.get(number)?;
                version = line.version.load(Ordering::Acquire);
                line.fingerprints.iter().position(is_it)?
            }
        };
        let slot = line.slot(index)?;
        let entry = slot.entry(fingerprint);
        let value = beside(entry.meta);
        slot.unchanged(version).then_some((entry, value, Used(slot.used)))
    }

    /// Reads the session of `fingerprint`. `beside` is called with the entry's meta and reads what
    /// belongs to it (the server's print). Its result is returned only if the entry has not changed
    /// meanwhile.
    #[inline]
    pub(crate) fn read<T>(&self, fingerprint: u64, beside: impl Fn(Meta) -> T) -> Found<'a, T> {
        let summary = self.summary(Ordering::Acquire);
        let alike = summary.alike(fingerprint);
        if alike.none() {
            return Found::Nothing(summary);
        }
        // A processor that predicts this branch prefetches the line before it has the summary.
        self.prefetch_line(fingerprint);
        for index in alike {
            let Some(slot) = self.slot(index) else {
                break;
            };
            let version = slot.version(Ordering::Acquire);
            if slot.fingerprint() != fingerprint {
                continue;
            }
            let entry = slot.entry(fingerprint);
            let value = beside(entry.meta);
            return match slot.unchanged(version) {
                true => Found::Entry(entry, value, Used(slot.used)),
                false => Found::Changed,
            };
        }
        Found::Nothing(summary)
    }

    /// Reads slot `index` as `read` does, for any fingerprint.
    pub(crate) fn read_slot<T>(
        &self,
        index: usize,
        beside: impl Fn(Meta) -> T,
    ) -> Option<(Entry, T)> {
        let slot = self.slot(index)?;
        loop {
            let version = slot.version(Ordering::Acquire);
            let fingerprint = slot.fingerprint();
            if fingerprint == 0 {
                return None;
            }
            let entry = slot.entry(fingerprint);
            let value = beside(entry.meta);
            if slot.unchanged(version) {
                return Some((entry, value));
            }
            pause();
        }
    }

    /// The index of the slot that holds `fingerprint` now.
    pub(crate) fn position(&self, fingerprint: u64) -> Option<usize> {
        let alike = self.summary(Ordering::Acquire).alike(fingerprint);
        let mut alike = alike.filter_map(|index| Some((index, self.slot(index)?)));
        alike.find(|(_, slot)| slot.fingerprint() == fingerprint).map(|(index, _)| index)
    }

    /// Writer: the index of a free slot, if there is one; preferably in the line that readers of
    /// `fingerprint` read first.
    pub(crate) fn free(&self, fingerprint: u64) -> Option<usize> {
        let elsewhere = |slot: &usize| line_of(*slot) != preferred_line(fingerprint);
        self.summary(Ordering::Relaxed).free().min_by_key(elsewhere)
    }

    #[inline]
    pub(crate) fn slot(&self, index: usize) -> Option<Slot<'a>> {
        self.body.lines.get(line_of(index))?.slot(index / LINES)
    }

    pub(crate) fn slots(self) -> impl Iterator<Item = Slot<'a>> {
        (0..SLOTS).filter_map(move |index| self.slot(index))
    }

    #[inline]
    pub(crate) fn summary(&self, ordering: Ordering) -> Summary {
        Summary(self.summary.load(ordering))
    }

    /// Writer. Release: a tag or a hint is stored before its session is published, and removed after
    /// the session has been removed.
    pub(crate) fn store_summary(&self, summary: Summary) {
        self.summary.store(summary.0, Ordering::Release);
    }
}

/// One slot of a bucket.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'a> {
    /// Of its line.
    version: &'a AtomicU32,
    fingerprint: &'a AtomicU64,
    meta: &'a AtomicU32,
    used: &'a AtomicU32,
    created: &'a AtomicU32,
}

impl Slot<'_> {
    #[inline]
    pub(crate) fn version(&self, ordering: Ordering) -> u32 {
        self.version.load(ordering)
    }

    /// Writer.
    pub(crate) fn store_version(&self, version: u32) {
        self.version.store(version, Ordering::Release);
    }

    /// Whether no session has left the line since `version` was read. Then all that was read in
    /// between belongs together.
    #[inline]
    fn unchanged(&self, version: u32) -> bool {
        // Pairs with the Release of the writer that stored what was read.
        fence(Ordering::Acquire);
        self.version(Ordering::Relaxed) == version
    }

    /// The slot's fingerprint, zero if the slot is free. Acquire: a fingerprint is published after the
    /// rest of its slot.
    #[inline]
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint.load(Ordering::Acquire)
    }

    /// The slot's words beside its fingerprint. They belong together only under the lock, or if
    /// `unchanged` says so.
    #[inline]
    pub(crate) fn entry(&self, fingerprint: u64) -> Entry {
        Entry {
            fingerprint,
            meta: Meta(self.meta.load(Ordering::Relaxed)),
            used: Tick(self.used.load(Ordering::Relaxed)),
            created: Tick(self.created.load(Ordering::Relaxed)),
        }
    }

    /// Writer: fills a free slot.
    pub(crate) fn publish(&self, entry: &Entry) {
        // A reader that sees any of the stores below also sees the version that was stored when the
        // session before left the slot.
        fence(Ordering::Release);
        self.meta.store(entry.meta.0, Ordering::Relaxed);
        self.used.store(entry.used.0, Ordering::Relaxed);
        self.created.store(entry.created.0, Ordering::Relaxed);
        self.fingerprint.store(entry.fingerprint, Ordering::Release);
    }

    /// Writer: gives the session another server or time to live in one store. The caller counts up the
    /// line's version afterwards.
    pub(crate) fn rebind(&self, meta: Meta) {
        self.meta.store(meta.0, Ordering::Release);
    }

    /// Writer: removes the session. The caller counts up the line's version afterwards.
    pub(crate) fn clear(&self) {
        self.fingerprint.store(0, Ordering::Release);
    }
}

/// The time of last use of a session, in its slot.
#[derive(Clone, Copy)]
pub(crate) struct Used<'a>(&'a AtomicU32);

impl Used<'_> {
    /// Moves the time of last use forward to `now`, never back. `used` is what was read from here. The
    /// slot may hold another session by now.
    #[inline]
    pub(crate) fn touch(&self, used: Tick, now: Tick) {
        if now.since(used) > Span(0) {
            // On failure another process has just moved the time forward, or a writer has filled the
            // slot again: nothing is left to do.
            let _ = self.0.compare_exchange(used.0, now.0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
