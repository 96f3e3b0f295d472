//! Places whose answers are no evidence of lost sessions.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::revive::owner::Owner;
use crate::time::{Span, Tick};

/// How long owners are counted together, and how long the answers then are no evidence.
const WINDOW: Span = Span::from_millis(600_000);

/// Bits of `Doubt::state` above the tick at which it began: two owners, and whether there was a third one.
const OWNER_BITS: u32 = 15;
const OWNER_MASK: u64 = (1 << OWNER_BITS) - 1;
const FIRST_SHIFT: u32 = 32;
const SECOND_SHIFT: u32 = FIRST_SHIFT + OWNER_BITS;
const IS_SURE: u64 = 1 << (SECOND_SHIFT + OWNER_BITS);

/// One place, and the owners whose new sessions have refused a ping there as the old ones did. Zeros are free.
#[repr(C)]
pub(super) struct Doubt {
    /// The fingerprint of the place.
    pub(super) place: AtomicU64,
    state: AtomicU64,
}

impl Doubt {
    pub(super) fn is_of(&self, place: u64) -> bool {
        self.place.load(Ordering::Relaxed) == place
    }

    pub(super) fn is_sure(&self, now: Tick) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state & IS_SURE != 0 && is_recent(state, now)
    }

    /// Adds an owner. True if the answers are no evidence from now on.
    pub(super) fn add(&self, place: u64, owner: Owner, now: Tick) -> bool {
        let is_other = self.place.swap(place, Ordering::Relaxed) != place;
        let owner = (u64::from(u16::from_le_bytes([owner.0[0], owner.0[1]])) & OWNER_MASK).max(1);
        let begun = u64::from(now.0) | owner << FIRST_SHIFT;
        let order = Ordering::Relaxed;
        let add = |state: u64| {
            if is_other || state == 0 || !is_recent(state, now) {
                return Some(begun);
            }
            let known = [state >> FIRST_SHIFT & OWNER_MASK, state >> SECOND_SHIFT & OWNER_MASK];
            match known {
                _ if state & IS_SURE != 0 || known.contains(&owner) => None,
                [_, 0] => Some(state | owner << SECOND_SHIFT),
                // The time begins again.
                _ => Some(u64::from(now.0) | IS_SURE),
            }
        };
        let before = self.state.fetch_update(order, order, add);
        before.is_ok() && self.is_sure(now)
    }

    pub(super) fn clear(&self) {
        self.place.store(0, Ordering::Relaxed);
        self.state.store(0, Ordering::Relaxed);
    }
}

fn is_recent(state: u64, now: Tick) -> bool {
    now.since(Tick(state as u32)) <= WINDOW
}
