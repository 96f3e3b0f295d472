//! Targets of `endpoint` events that are the same for every stream.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many targets are kept.
const ROOM: usize = 16;

/// The latest targets that two servers have announced, by the fingerprints of their keys. The keys are
/// made without what an id is bound to. The value lies in memory that all workers share.
///
/// There is no lock. If two workers note one target at the same time, it may take two places. If two
/// targets get one place, one of them is lost. Then that target is bound once more, and noted again
/// when another server announces it.
#[repr(C)]
#[derive(Debug, Default)]
pub struct SharedTargets {
    /// How many targets were noted, modulo 2^32.
    noted: AtomicU32,
    /// Zero for no target.
    prints: [AtomicU64; ROOM],
}

impl SharedTargets {
    /// Whether a target is kept here.
    pub fn has(&self, print: u64) -> bool {
        self.prints.iter().any(|noted| noted.load(Ordering::Relaxed) == print)
    }

    /// Keeps a target, in place of the one that was noted first.
    pub fn note(&self, print: u64) {
        if self.has(print) {
            return;
        }
        let place = self.noted.fetch_add(1, Ordering::Relaxed) as usize % ROOM;
        if let Some(noted) = self.prints.get(place) {
            noted.store(print, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_known_and_the_first_gives_way() {
        let shared = SharedTargets::default();
        let room = ROOM as u64;
        for print in 1..=room {
            assert!(!shared.has(print));
            shared.note(print);
            shared.note(print);
        }
        assert!((1..=room).all(|print| shared.has(print)));
        shared.note(room + 1);
        assert!(!shared.has(1));
        assert!((2..=room + 1).all(|print| shared.has(print)));
    }
}
