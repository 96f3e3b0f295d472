//! The buckets that a session may live in, by its fingerprint alone.

use core::iter;

use super::region::Region;

/// Pairs of buckets that a session may live in. The summaries of a pair share a cache line.
pub(crate) const PAIRS: usize = 5;
const PAIR: u32 = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) fingerprint: u64,
    /// The home bucket: its number in the whole table, as for all others, which are in its shard.
    pub(crate) home: u32,
    /// The first buckets of the other pairs. Two may be the same, or that of the home.
    others: [u32; PAIRS - 1],
}

impl Place {
    pub(crate) fn new(region: &Region, fingerprint: u64) -> Place {
        let (home, others) = (Self::home(region, fingerprint), Self::others(region, fingerprint));
        Place { fingerprint, home, others }
    }

    /// The buckets of each pair, the home and its neighbour first.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = [u32; 2]> + '_ {
        iter::once(self.home).chain(self.others).map(|bucket| [bucket, neighbour(bucket)])
    }

    /// The buckets of the other pairs.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = u32> + '_ {
        self.pairs().skip(1).flatten()
    }

    /// Whether a bucket is the home or its neighbour.
    pub(crate) fn is_with_home(&self, bucket: u32) -> bool {
        are_pair(self.home, bucket)
    }

    /// The shard of a session: by the upper half of its fingerprint.
    #[inline]
    pub(crate) fn shard(region: &Region, fingerprint: u64) -> u32 {
        scale((fingerprint >> 32) as u32, region.shard_count())
    }

    /// The home bucket of a session: by the same bits, so that it lies in that shard. (Bits 0 to 2 choose
    /// the hint, bits 8 to 15 are the tag, bit 16 chooses the line.)
    #[inline]
    pub(crate) fn home(region: &Region, fingerprint: u64) -> u32 {
        scale((fingerprint >> 32) as u32, region.bucket_count())
    }

    /// The other pairs of a session: by bits 32 to 63 of the fingerprint's products with odd numbers,
    /// which depend on all lower bits.
    fn others(region: &Region, fingerprint: u64) -> [u32; PAIRS - 1] {
        /// 2^64 divided by the golden ratio, and by the square roots of 2, 3 and 5.
        const FACTORS: [u64; PAIRS - 1] = [
            0x9e37_79b9_7f4a_7c15,
            0xb504_f333_f9de_6485,
            0x93cd_3a2c_8198_e269,
            0x727c_9716_ffb7_64d5,
        ];
        let buckets = region.buckets_per_shard();
        let first = Self::shard(region, fingerprint) * buckets;
        FACTORS.map(|factor| {
            let bits = (fingerprint.wrapping_mul(factor) >> 32) as u32;
            first + PAIR * scale(bits, buckets / PAIR)
        })
    }
}

/// The other bucket of a pair: shards begin with an even number.
#[inline]
pub(crate) fn neighbour(bucket: u32) -> u32 {
    bucket ^ 1
}

/// Whether two buckets are a pair, or the same.
pub(crate) fn are_pair(one: u32, other: u32) -> bool {
    one / PAIR == other / PAIR
}

/// Scales 32 uniform bits to a number below `count`.
#[inline]
fn scale(bits: u32, count: u32) -> u32 {
    ((u64::from(bits) * u64::from(count)) >> 32) as u32
}
