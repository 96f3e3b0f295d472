//! Where in a table a session may live, by its fingerprint alone.

use super::region::Region;

/// Buckets that a session may live in.
pub(super) const CANDIDATES: usize = 3;

#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) fingerprint: u64,
    /// Bucket numbers of the whole table, all in one shard; the first is the home. Two may be
    /// the same.
    pub(super) buckets: [u32; CANDIDATES],
}

impl Place {
    pub(super) fn new(region: &Region, fingerprint: u64) -> Place {
        let [second, third] = Self::others(region, fingerprint);
        Place { fingerprint, buckets: [Self::home(region, fingerprint), second, third] }
    }

    /// The shard of a session: by the first 16 bits of its fingerprint.
    #[inline]
    pub(super) fn shard(region: &Region, fingerprint: u64) -> u32 {
        ((fingerprint >> 48) as u32 * region.shard_count()) >> 16
    }

    /// The home bucket of a session: by the next 32 bits. (The last 4 choose the hint.)
    #[inline]
    pub(super) fn home(region: &Region, fingerprint: u64) -> u32 {
        Self::bucket(region, fingerprint, (fingerprint >> 16) as u32)
    }

    /// The other two buckets of a session: by the upper bits of the products with two odd numbers
    /// (2^64 divided by the golden ratio, and by the square root of 2), which depend on all bits.
    #[inline]
    pub(super) fn others(region: &Region, fingerprint: u64) -> [u32; CANDIDATES - 1] {
        [0x9e37_79b9_7f4a_7c15_u64, 0xb504_f333_f9de_6485].map(|factor| {
            Self::bucket(region, fingerprint, (fingerprint.wrapping_mul(factor) >> 32) as u32)
        })
    }

    /// Scales 32 uniform bits to a bucket of the session's shard.
    #[inline]
    fn bucket(region: &Region, fingerprint: u64, bits: u32) -> u32 {
        let buckets = region.buckets_per_shard();
        let within = (u64::from(bits) * u64::from(buckets)) >> 32;
        Self::shard(region, fingerprint) * buckets + within as u32
    }
}
