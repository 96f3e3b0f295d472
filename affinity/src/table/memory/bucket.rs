//! A bucket: two cache lines of three sessions each, read without a lock, and a summary elsewhere.
//!
//! Everything here may be called by any process at any time, except what says "writer": that needs
//! the lock of the bucket's shard. `mod.rs` argues why that is enough.

use super::sync::{fence, pause, AtomicU32, AtomicU64, Ordering};
use crate::time::{Limits, Span, Tick};

/// Sessions in a bucket.
pub(crate) const SLOTS: usize = LINES * LINE_SLOTS;
/// Cache lines of a bucket.
const LINES: usize = 2;
/// Sessions in a cache line.
const LINE_SLOTS: usize = 3;
/// What a session does this long after its creation proves nothing about its further use.
const OPENING: Span = Span::from_millis(1_000);
/// A session that is used later than that after its creation is in use.
const TRIAL: Span = Span::from_millis(60_000);

/// A bucket of the table.
#[derive(Clone, Copy)]
pub(crate) struct Bucket<'a> {
    pub(crate) summary: &'a AtomicU64,
    pub(crate) body: &'a Body,
}

/// All buckets of a table.
#[derive(Clone, Copy)]
pub(crate) struct Buckets<'a> {
    pub(crate) summaries: &'a [AtomicU64],
    pub(crate) bodies: &'a [Body],
}

impl<'a> Buckets<'a> {
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<Bucket<'a>> {
        let index = index as usize;
        Some(Bucket { summary: self.summaries.get(index)?, body: self.bodies.get(index)? })
    }

    /// Asks the processor for what `read_body` will read in two buckets, of which this is the first.
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

/// Where the sessions of a bucket lie: those with an even slot in its first line.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), repr(C, align(128)))]
pub(crate) struct Body {
    lines: [Line; LINES],
}

/// Three sessions, each of which can be read without another line.
#[derive(Debug, Default)]
#[cfg_attr(not(loom), repr(C))]
struct Line {
    fingerprints: [AtomicU64; LINE_SLOTS],
    /// Counted up when a session has left its slot or its server. It is the same again after 2^32
    /// such changes, all of which a reader would have to sleep through between two loads.
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
const _: () = assert!(size_of::<Line>() == 64 && size_of::<Body>() == 128);

/// What a bucket holds, in short. Most lookups that find nothing read those of a pair and no more.
///
/// Bytes 0 to 5: a tag of each slot's fingerprint, 0 if the slot is free. Byte 6: number of sessions
/// that have their home here but live in another pair. Byte 7: one hint for each eighth of the
/// fingerprints, set if any of those sessions belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary(pub(crate) u64);

impl Summary {
    const DISPLACED_SHIFT: u32 = 48;
    const HINT_SHIFT: u32 = 56;
    const DISPLACED_MASK: u64 = 0xff << Self::DISPLACED_SHIFT;
    /// Number of hints.
    pub(crate) const HINTS: u64 = 8;
    /// One in the byte of each tag.
    const ONES: u64 = 0x0101_0101_0101;

    /// The slots with the tag of `fingerprint`: it may be in one of them.
    #[inline]
    pub(crate) fn alike(self, fingerprint: u64) -> Slots {
        Slots::zero(self.0 ^ (Self::ONES * Self::tag(fingerprint)))
    }

    fn free(self) -> impl Iterator<Item = usize> {
        let tags = self.0.to_le_bytes();
        (0..SLOTS).filter(move |&slot| tags.get(slot) == Some(&0))
    }

    /// Number of slots in use.
    pub(crate) fn load(self) -> usize {
        SLOTS - self.free().count()
    }

    fn displaced(self) -> u8 {
        (self.0 >> Self::DISPLACED_SHIFT) as u8
    }

    /// Whether a session that has its home here and is not in this pair may be in another one.
    #[inline]
    pub(crate) fn may_be_elsewhere(self, fingerprint: u64) -> bool {
        self.0 & Self::hint(fingerprint) != 0
    }

    /// A session is put into `slot`.
    pub(crate) fn with(self, slot: u32, fingerprint: u64) -> Summary {
        Summary(self.without(slot).0 | Self::tag(fingerprint) << (slot * u8::BITS))
    }

    /// The session in `slot` is taken away.
    pub(crate) fn without(self, slot: u32) -> Summary {
        Summary(self.0 & !(0xff << (slot * u8::BITS)))
    }

    /// One more session of this home lives elsewhere. A count that has reached its maximum stays
    /// there, and the hints with it: lookups get slower, never wrong.
    pub(crate) fn with_displaced(self, fingerprint: u64) -> Summary {
        let counted = self.count(self.displaced().saturating_add(1));
        Summary(counted.0 | Self::hint(fingerprint))
    }

    /// One session less of this home lives elsewhere; with the last one the hints go.
    pub(crate) fn without_displaced(self) -> Summary {
        match self.displaced() {
            u8::MAX => self,
            0 | 1 => Summary(self.0 & !(u64::MAX << Self::DISPLACED_SHIFT)),
            more => self.count(more - 1),
        }
    }

    fn count(self, displaced: u8) -> Summary {
        Summary(self.0 & !Self::DISPLACED_MASK | u64::from(displaced) << Self::DISPLACED_SHIFT)
    }

    fn hint(fingerprint: u64) -> u64 {
        1 << (u64::from(Self::HINT_SHIFT) + fingerprint % Self::HINTS)
    }

    fn tag(fingerprint: u64) -> u64 {
        (fingerprint >> 8 & 0xff).max(1)
    }
}

/// Numbers of slots, the lowest first. Above one that is right there may be some that are not.
pub(crate) struct Slots(u64);

impl Slots {
    /// Those whose byte of `word` is zero. A byte of 1 above a zero byte is taken for one.
    #[inline]
    fn zero(word: u64) -> Slots {
        let highest = Summary::ONES << (u8::BITS - 1);
        Slots(word.wrapping_sub(Summary::ONES) & !word & highest)
    }

    #[inline]
    pub(crate) fn none(&self) -> bool {
        self.0 == 0
    }
}

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let first = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (first < u64::BITS).then_some((first / u8::BITS) as usize)
    }
}

/// Server and time to live in one word, so that both change in one store. Bits 0..16: index of
/// the server. Bits 16..28: time to live, a float of 5 bits of exponent and 7 of mantissa that
/// was rounded up; 0 is none. Bit 28: the session has moved, and the table's successors have not
/// been told (`succession.rs`). The rest is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta(pub(crate) u32);

impl Meta {
    const TTL_SHIFT: u32 = 16;
    const TTL_MASK: u32 = 0xfff << Self::TTL_SHIFT;
    const MANTISSA_BITS: u32 = 7;
    const MOVED: u32 = 1 << 28;
    /// Set in the number of a tombstone's server, which is on no list then: readers find no print.
    const ENDED: u16 = 1 << 15;

    pub(crate) fn new(server: u16, ttl: Option<Span>) -> Meta {
        let ttl = ttl.map_or(0, Self::encode);
        Meta(u32::from(server) | ttl << Self::TTL_SHIFT)
    }

    #[inline]
    pub(crate) fn server(self) -> u16 {
        self.0 as u16
    }

    #[inline]
    pub(crate) fn ttl(self) -> Option<Span> {
        // The usual case, and what a request pays for.
        match self.0 & Self::TTL_MASK {
            0 => None,
            code => Some(Self::decode(code >> Self::TTL_SHIFT)),
        }
    }

    #[cold]
    fn decode(code: u32) -> Span {
        let mantissa = u64::from(code & ((1 << Self::MANTISSA_BITS) - 1));
        let ticks = match code >> Self::MANTISSA_BITS & 0x1f {
            0 => mantissa,
            exponent => (mantissa | 1 << Self::MANTISSA_BITS) << (exponent - 1),
        };
        Span(ticks.min(i32::MAX as u64) as u32)
    }

    pub(crate) fn with_server(self, server: u16) -> Meta {
        Meta(self.0 & !0xffff | u32::from(server))
    }

    pub(crate) fn is_moved(self) -> bool {
        self.0 & Self::MOVED != 0
    }

    pub(crate) fn with_moved(self, moved: bool) -> Meta {
        Meta(self.0 & !Self::MOVED | if moved { Self::MOVED } else { 0 })
    }

    /// Whether the session has been forgotten, and its slot is kept for the table's successors.
    pub(crate) fn is_tombstone(self) -> bool {
        self.server() & Self::ENDED != 0
    }

    /// The server that the session of a tombstone had.
    pub(crate) fn former_server(self) -> u16 {
        self.server() & !Self::ENDED
    }

    /// The tombstone of the session. It keeps the time to live, and expires as the session would; the
    /// mark of a move that was not handed on stays as well.
    pub(crate) fn tombstone(self) -> Meta {
        self.with_server(self.server() | Self::ENDED)
    }

    /// The smallest code that decodes to no less than `span`, which counts as one tick at least.
    fn encode(span: Span) -> u32 {
        let ticks = span.0.max(1);
        if ticks < 1 << Self::MANTISSA_BITS {
            return ticks;
        }
        let shift = 31 - Self::MANTISSA_BITS - ticks.leading_zeros();
        // 128..=256: a mantissa of 256 carries into the exponent, which is what it means.
        let mantissa = u64::from(ticks).div_ceil(1 << shift) as u32;
        ((shift + 1) << Self::MANTISSA_BITS) + mantissa - (1 << Self::MANTISSA_BITS)
    }
}

/// A session as read from a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) fingerprint: u64,
    pub(crate) meta: Meta,
    pub(crate) used: Tick,
    pub(crate) created: Tick,
}

impl Entry {
    /// Whether the session has ended. A time to live stands in place of the idle timeout.
    #[inline]
    pub(crate) fn expired(&self, now: Tick, limits: &Limits) -> bool {
        let age = || now.since(self.created);
        limits.lifetime.is_some_and(|lifetime| age() > lifetime)
            || match self.meta.ttl() {
                Some(ttl) => age() > ttl,
                None => now.since(self.used) > limits.timeout,
            }
    }

    /// How soon the session makes room for a new one; the largest goes first. In this order:
    /// 1. what has ended;
    /// 2. a session that was never used later than `TRIAL` after its creation, so that a flood of
    ///    new sessions drives out itself and not the sessions in use;
    /// 3. any other.
    ///
    /// Among its like, the session that has been idle the longest goes first: a new session that
    /// is in use outlives its trial in a flood of others. An MCP client sends two requests at
    /// once; on trial, one that was used no later than `OPENING` after its creation counts as idle
    /// for four times as long.
    pub(crate) fn staleness(&self, now: Tick, timeout: Span) -> u64 {
        const ENDED: u64 = 1 << 63;
        const ON_TRIAL: u64 = 1 << 62;
        let idle = now.since(self.used);
        let ended = match self.meta.ttl() {
            Some(ttl) => now.since(self.created) > ttl,
            None => idle > timeout,
        };
        let idle_ticks = u64::from(idle.0);
        match self.used.since(self.created) {
            _ if ended => ENDED | idle_ticks,
            in_use if in_use <= OPENING => ON_TRIAL | (idle_ticks * 4),
            in_use if in_use <= TRIAL => ON_TRIAL | idle_ticks,
            _ => idle_ticks,
        }
    }
}

impl Entry {
    /// Whether the session was created in a later tick than `other`, a session of the same key.
    pub(crate) fn is_later_than(&self, other: &Entry) -> bool {
        self.created.since(other.created) > Span(0)
    }

    /// The entry with the largest value makes room for a new session: tombstones first.
    pub(crate) fn precedence(&self, now: Tick, timeout: Span) -> (bool, u64) {
        (self.meta.is_tombstone(), self.staleness(now, timeout))
    }
}

/// What a lookup in one bucket gives.
pub(crate) enum Found<'a, T> {
    /// The session, what the caller read beside it at the same moment, and its time of last use.
    Entry(Entry, T, Used<'a>),
    /// There is no such session in this bucket; the summary, for its hints.
    Nothing(Summary),
    /// A writer has changed the session's line meanwhile: look again.
    Changed,
}

/// The line of a slot.
#[inline]
pub(crate) fn line_of(slot: usize) -> usize {
    slot % LINES
}

/// The line of its bucket that a session is put in while there is room.
#[inline]
pub(crate) fn preferred_line(fingerprint: u64) -> usize {
    (fingerprint >> 16) as usize % LINES
}

/// Asks the processor for a cache line.
#[inline]
fn prefetch<T>(at: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    // SAFETY: a prefetch has no effect but on the cache, whatever the address.
    unsafe {
        use core::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(at).cast());
    }
    let _ = at;
}

impl<'a> Bucket<'a> {
    /// Asks the processor for what says whether a session is here.
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

    /// Reads the session of `fingerprint` as `read` does, but without the summary: mostly no more than
    /// one line. `None` if it is not here, or a writer has changed its line meanwhile.
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

    /// Reads the session of `fingerprint`. `beside` is called with the entry's meta and may read
    /// what belongs to it (the server's print): its result is returned only if the entry has not
    /// changed meanwhile.
    #[inline]
    pub(crate) fn read<T>(&self, fingerprint: u64, beside: impl Fn(Meta) -> T) -> Found<'a, T> {
        let summary = self.summary(Ordering::Acquire);
        let alike = summary.alike(fingerprint);
        if alike.none() {
            return Found::Nothing(summary);
        }
        // A processor that foresees this runs ahead, and has the line come before it has the
        // summary.
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

    /// Reads slot `index` whatever it holds, as `read` does.
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

    /// Writer: the index of a free slot, in the line where readers of `fingerprint` look first, if
    /// there is one.
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

    /// Writer: Release, so that a tag or a hint stands before the session it points to is
    /// published, and goes after the session has gone.
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

    /// Whether no session has left the line since `version` was read, so that all that has been
    /// read in between belongs together.
    #[inline]
    fn unchanged(&self, version: u32) -> bool {
        // Pairs with the Release of whoever stored what was read.
        fence(Ordering::Acquire);
        self.version(Ordering::Relaxed) == version
    }

    /// Zero if the slot is free. Acquire: a fingerprint is published after the rest of its slot.
    #[inline]
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint.load(Ordering::Acquire)
    }

    /// What the slot says beside its fingerprint; a whole only under the lock, or if the line's
    /// version confirms it.
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
        // A reader that sees any of the stores below sees, too, that what was here before has
        // left: the version.
        fence(Ordering::Release);
        self.meta.store(entry.meta.0, Ordering::Relaxed);
        self.used.store(entry.used.0, Ordering::Relaxed);
        self.created.store(entry.created.0, Ordering::Relaxed);
        self.fingerprint.store(entry.fingerprint, Ordering::Release);
    }

    /// Writer: gives the session another server or time to live in one store. Counts the bucket's
    /// version up afterwards.
    pub(crate) fn rebind(&self, meta: Meta) {
        self.meta.store(meta.0, Ordering::Release);
    }

    /// Writer: the session is no more. Counts the line's version up afterwards.
    pub(crate) fn clear(&self) {
        self.fingerprint.store(0, Ordering::Release);
    }
}

/// The time of last use of a session, in its slot.
#[derive(Clone, Copy)]
pub(crate) struct Used<'a>(&'a AtomicU32);

impl Used<'_> {
    /// Moves the time of last use, which was read from here, forward to `now`; never back, whoever
    /// owns the slot meanwhile.
    #[inline]
    pub(crate) fn touch(&self, used: Tick, now: Tick) {
        if now.since(used) > Span(0) {
            // A failure means that somebody else has just used the slot: as good as our store.
            let _ = self.0.compare_exchange(used.0, now.0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
