//! The time between two connections to a server that fails.

/// Doubles the time with each failure. Half of it is random: many workers that have lost one server come back
/// at different times.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

/// The first time and the longest one, in milliseconds.
const FIRST: u64 = 100;
const LONGEST: u64 = 30_000;

impl Backoff {
    /// A connection has failed. Returns the milliseconds until the next one; `random` is any number.
    pub fn failed(&mut self, random: u32) -> u64 {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        half + u64::from(random) % (whole - half + 1)
    }

    /// A connection has succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shortest and longest time after so many failures.
    fn bounds(failures: u32) -> (u64, u64) {
        let times = (0..100_000).map(|random| Backoff { failures }.failed(random));
        (times.clone().min().unwrap(), times.max().unwrap())
    }

    #[test]
    fn the_time_doubles_up_to_a_limit_and_half_of_it_is_random() {
        assert_eq!(bounds(0), (50, 100));
        assert_eq!(bounds(1), (100, 200));
        assert_eq!(bounds(5), (1600, 3200));
        assert_eq!(bounds(9), (15_000, 30_000));
        assert_eq!(bounds(u32::MAX), (15_000, 30_000));
    }

    #[test]
    fn a_failure_is_counted_until_a_success() {
        let mut backoff = Backoff::default();
        let first: Vec<u64> = (0..4).map(|_| backoff.failed(0)).collect();
        assert_eq!(first, [50, 100, 200, 400]);
        backoff.succeeded();
        assert_eq!(backoff.failed(0), 50);
    }
}
