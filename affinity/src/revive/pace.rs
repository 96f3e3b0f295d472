//! How many revivals begin in a second: a leaky bucket in one word of shared memory.

use core::sync::atomic::{AtomicU64, Ordering};

/// How many revivals of the sessions of one memory begin in a second.
pub const PER_SECOND: u64 = 200;

/// So many begin at once after a pause.
const BURST: u64 = 100;

const MICROS: u64 = 1_000_000;
const INTERVAL: u64 = MICROS / PER_SECOND;

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
            // A full bucket. A moment further in the future is of a clock of another boot.
            let latest = now.saturating_add(BURST * INTERVAL);
            let begins = match empty_at {
                later if later > latest => now,
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
}
