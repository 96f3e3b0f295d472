//! Latencies in buckets of 1/64 of their power of two.

use std::time::Duration;

const FINE: u32 = 6;

#[derive(Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn add(&mut self, time: Duration) {
        let bucket = bucket(time.as_nanos() as u64);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// The upper bound of the bucket that the quantile falls in (nanoseconds), zero without values.
    pub fn quantile(&self, q: f64) -> u64 {
        let mut left = (self.total as f64 * q).ceil() as u64;
        for (bucket, &count) in self.counts.iter().enumerate() {
            if count >= left && count > 0 {
                return upper_bound(bucket);
            }
            left = left.saturating_sub(count);
        }
        0
    }
}

fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(FINE + 1);
    ((shift as usize) << FINE) + (value >> shift) as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let fine = 1 << FINE;
    if bucket < 2 * fine {
        return bucket as u64;
    }
    let shift = bucket / fine - 1;
    ((bucket % fine + fine + 1) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_bounds_are_close() {
        let mut last = 0;
        for value in (0..10_000).chain((1..40).map(|i| 10_000 << (i / 2))) {
            let bucket = bucket(value);
            assert!(bucket >= last);
            last = bucket;
            let bound = upper_bound(bucket);
            assert!(bound >= value && bound <= value + value / 32 + 1, "{value} {bound}");
        }
    }

    #[test]
    fn quantiles_of_a_hundred_values() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|us| histogram.add(Duration::from_micros(us)));
        assert!((50_000..52_000).contains(&histogram.quantile(0.5)));
        assert!((99_000..101_000).contains(&histogram.quantile(0.99)));
    }
}
