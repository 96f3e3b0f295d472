//! Where in a table a session may live, by its fingerprint alone.

use super::region::Region;

/// Buckets that a session may live in.
pub(super) const CANDIDATES: usize = 5;

#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) fingerprint: u64,
    /// Bucket numbers of the whole table, all in one shard; the first is the home. Two may be
    /// the same.
    pub(super) buckets: [u32; CANDIDATES],
}

impl Place {
    pub(super) fn new(region: &Region, fingerprint: u64) -> Place {
        let [second, third, fourth, fifth] = Self::others(region, fingerprint);
        let home = Self::home(region, fingerprint);
        Place { fingerprint, buckets: [home, second, third, fourth, fifth] }
    }

    /// The shard of a session: by the upper half of its fingerprint.
    #[inline]
    pub(super) fn shard(region: &Region, fingerprint: u64) -> u32 {
        scale((fingerprint >> 32) as u32, region.shard_count())
    }

    /// The home bucket of a session: by the same bits, so that it lies in that shard. (The last 3
    /// bits choose the hint, bits 8 to 15 are the tag.)
    #[inline]
    pub(super) fn home(region: &Region, fingerprint: u64) -> u32 {
        scale((fingerprint >> 32) as u32, region.bucket_count())
    }

    /// The other buckets of a session: by the upper bits of its products with odd numbers, which
    /// depend on all bits.
    #[inline]
    pub(super) fn others(region: &Region, fingerprint: u64) -> [u32; CANDIDATES - 1] {
        /// 2^64 divided by the golden ratio, and by the square roots of 2, 3 and 5.
        const FACTORS: [u64; CANDIDATES - 1] = [
            0x9e37_79b9_7f4a_7c15,
            0xb504_f333_f9de_6485,
            0x93cd_3a2c_8198_e269,
            0x727c_9716_ffb7_64d5,
        ];
        let buckets = region.buckets_per_shard();
        let first = Self::shard(region, fingerprint) * buckets;
        FACTORS
            .map(|factor| first + scale((fingerprint.wrapping_mul(factor) >> 32) as u32, buckets))
    }
}

/// Scales 32 uniform bits to a number below `count`.
#[inline]
fn scale(bits: u32, count: u32) -> u32 {
    ((u64::from(bits) * u64::from(count)) >> 32) as u32
}
