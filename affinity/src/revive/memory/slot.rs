//! A slot: what is known of a session without its id.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::table::memory::entry::TRIAL;
use crate::time::Tick;

/// Written under the lock of its shard. All of it may be read by who has the memory: nothing tells the id,
/// the client or its requests.
#[repr(C, align(64))]
pub(super) struct Slot {
    pub(super) fingerprint: AtomicU64,
    /// A `Place`: zero if the slot is free. Written last, when the record stands in its chunks.
    pub(super) place: AtomicU64,
    /// Tick of the session's begin.
    pub(super) created: AtomicU32,
    /// Tick of its last use, as far as it is known here.
    pub(super) used: AtomicU32,
    /// Of the last claim.
    pub(super) ticket: AtomicU32,
    /// Tick until which the claim holds.
    pub(super) deadline: AtomicU32,
    /// See `claim`.
    pub(super) state: AtomicU32,
    /// Tick until which no ping is asked, after an answer as that in `rests_after`; if `state` says so.
    pub(super) next_ping: AtomicU32,
    /// Tick until which no revival is tried, if `state` has failures.
    pub(super) rests_until: AtomicU32,
    /// The chunk with the ids of the server's requests, plus one.
    pub(super) requests: AtomicU32,
    /// An answer; see `claim`.
    pub(super) rests_after: AtomicU64,
    /// The answer to the ping that has led to the last revival; see `claim`.
    pub(super) lost_by: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// Where a record lies: first chunk, length, and how often the session was revived. One word, so that all of
/// it changes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) first: u32,
    /// In bytes.
    pub(super) len: u16,
    /// Zero before the first revival, and never again.
    pub(super) revivals: u16,
}

impl Place {
    pub(super) fn from_word(word: u64) -> Option<Place> {
        let first = (word as u32).checked_sub(1)?;
        Some(Place { first, len: (word >> 32) as u16, revivals: (word >> 48) as u16 })
    }

    pub(super) fn to_word(self) -> u64 {
        u64::from(self.first + 1) | u64::from(self.len) << 32 | u64::from(self.revivals) << 48
    }
}

/// The number of revivals after one more.
pub(super) fn one_more(revivals: u16) -> u16 {
    revivals.checked_add(1).unwrap_or(1)
}

/// The order in which records make room for others; the smallest goes first. As in the session table: first
/// the sessions that were never used later than `TRIAL` after their creation, the oldest first; then those
/// that have been idle the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(bool, u32);

impl Slot {
    pub(super) fn place(&self) -> Option<Place> {
        Place::from_word(self.place.load(Ordering::Acquire))
    }

    pub(super) fn set_place(&self, place: Option<Place>) {
        self.place.store(place.map_or(0, Place::to_word), Ordering::Release);
    }

    pub(super) fn is_of(&self, fingerprint: u64) -> bool {
        self.fingerprint.load(Ordering::Relaxed) == fingerprint && self.place().is_some()
    }

    pub(super) fn created(&self) -> Tick {
        Tick(self.created.load(Ordering::Relaxed))
    }

    pub(super) fn used(&self) -> Tick {
        Tick(self.used.load(Ordering::Relaxed))
    }

    /// A use that another process has noted later than `now` counts as one at this moment.
    pub(super) fn set_used(&self, used: Tick, now: Tick) {
        let used = if used.since(now).0 > 0 { now } else { used };
        self.used.store(used.0, Ordering::Relaxed);
    }

    pub(super) fn rank(&self, now: Tick) -> Rank {
        Slot::rank_of(self.created(), self.used(), now)
    }

    pub(super) fn rank_of(created: Tick, used: Tick, now: Tick) -> Rank {
        let is_in_use = used.since(created) > TRIAL;
        let time = if is_in_use { used } else { created };
        Rank(is_in_use, u32::MAX - now.since(time).0)
    }

    /// Prepares a free slot for a session.
    pub(super) fn begin(&self, fingerprint: u64, [created, used]: [Tick; 2]) {
        self.fingerprint.store(fingerprint, Ordering::Relaxed);
        self.created.store(created.0, Ordering::Relaxed);
        self.used.store(used.0, Ordering::Relaxed);
        self.state.store(0, Ordering::Relaxed);
        self.requests.store(0, Ordering::Relaxed);
        self.lost_by.store(0, Ordering::Relaxed);
        // Not the ticket: a claim on the session that was here before must not hold.
    }

    /// The session as another store keeps it.
    pub(super) fn copied(&self, place: Place, sealed: Vec<u8>) -> Copied {
        Copied {
            fingerprint: self.fingerprint.load(Ordering::Relaxed),
            sealed,
            created: self.created(),
            used: self.used(),
            revivals: place.revivals,
        }
    }
}

impl Copied {
    /// The same session by another clock, which shows `now` when the clock of its times shows `then`.
    pub(super) fn at(self, then: Tick, now: Tick) -> Copied {
        let at = |time: Tick| Tick(now.0.wrapping_sub(then.since(time).0));
        Copied { created: at(self.created), used: at(self.used), ..self }
    }
}

/// A session as another store had it.
pub(super) struct Copied {
    pub(super) fingerprint: u64,
    pub(super) sealed: Vec<u8>,
    pub(super) created: Tick,
    pub(super) used: Tick,
    pub(super) revivals: u16,
}
