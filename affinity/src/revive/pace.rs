//! How many revivals begin in a second: a leaky bucket in one word of shared memory.

use core::sync::atomic::{AtomicU64, Ordering};

/// How many revivals of the sessions of one memory begin in a second.
pub const PER_SECOND: u64 = 200;

/// So many begin at once after a pause.
const BURST: u64 = 100;

const MICROS: u64 = 1_000_000;
const INTERVAL: u64 = MICROS / PER_SECOND;

/// How far the clocks of two processes are apart at most: each reads its own once in a turn of its event loop.
const AHEAD: u64 = 60 * MICROS;

/// The pace of all processes that share the value. Zeros are a pace after a pause.
#[repr(transparent)]
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the bucket is empty, in microseconds of monotonic time.
    empty_at: AtomicU64,
}

impl Pace {
    /// Whether a revival may begin at a moment of monotonic time. Otherwise the milliseconds until it may.
    pub(super) fn take(&self, now_millis: u64) -> Result<(), u64> {
        let now = now_millis.saturating_mul(1_000);
        let mut empty_at = self.empty_at.load(Ordering::Relaxed);
        loop {
            // A full bucket. The clocks of other processes may be ahead of this one; a moment far in the future is of
            // another boot.
            let latest = now.saturating_add(BURST * INTERVAL);
            let far = latest.saturating_add(AHEAD);
            let begins = match empty_at {
                later if later > far => now,
                other => other.max(now),
            };
            let next = begins.saturating_add(INTERVAL);
            if next > latest {
                return Err((next - latest).div_ceil(1_000));
            }
            let order = Ordering::Relaxed;
            match self.empty_at.compare_exchange_weak(empty_at, next, order, order) {
                Ok(_) => return Ok(()),
                Err(seen) => empty_at = seen,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_one_begins_in_each_interval() {
        let pace = Pace::default();
        let start = 1_000_000;
        for _ in 0..BURST {
            assert_eq!(pace.take(start), Ok(()));
        }
        assert_eq!(pace.take(start), Err(5));
        assert_eq!(pace.take(start + 4), Err(1));
        assert_eq!(pace.take(start + 5), Ok(()));
        assert_eq!(pace.take(start + 5), Err(5));
        let begun = (0..10_000).filter(|millis| pace.take(start + 5 + millis).is_ok()).count();
        assert_eq!(begun as u64, 10 * PER_SECOND - 1);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_block() {
        let pace = Pace::default();
        assert_eq!(pace.take(1_000_000_000), Ok(()));
        assert_eq!(pace.take(1_000), Ok(()));
    }

    #[test]
    fn processes_whose_clocks_differ_share_one_pace() {
        let (pace, start) = (Pace::default(), 1_000_000);
        let begun = (0..10_000u64)
            .flat_map(|millis| [start + millis, start + millis + 100])
            .filter(|now| pace.take(*now).is_ok())
            .count() as u64;
        let most = BURST + PER_SECOND * 101 / 10;
        assert!((most - 30..=most).contains(&begun), "{begun}");
        // The one that is behind waits longer.
        assert!(pace.take(start + 9_000).is_err());
    }
}
