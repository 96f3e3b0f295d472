//! The keyed hash of ids and addresses, which every request pays for.
//!
//! It stands for what it was made of, and whoever has not got the key can neither foretell nor
//! steer it: a message authentication code. Where the processor has instructions for AES it is
//! [Pelican](pelican), elsewhere [SipHash-1-3](siphash), which takes nearly twice as many
//! instructions for a UUID (the bench `latency` counts them). A region says which one its table
//! uses.

use core::num::NonZeroU64;

#[cfg(target_arch = "x86_64")]
mod pelican;
mod siphash;

/// Which hash a table uses: `Header::algorithm` of its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Algorithm {
    SipHash = 1,
    Pelican = 2,
}

impl Algorithm {
    /// The fastest one here.
    pub(super) fn best() -> Algorithm {
        match Hasher::new(Algorithm::Pelican, [0; 16]) {
            Some(_) => Algorithm::Pelican,
            None => Algorithm::SipHash,
        }
    }

    pub(super) fn from_number(number: u64) -> Option<Algorithm> {
        [Algorithm::SipHash, Algorithm::Pelican]
            .into_iter()
            .find(|algorithm| *algorithm as u64 == number)
    }
}

/// Number of domains.
pub(super) const DOMAINS: usize = 4;

/// A hash function with its key.
#[derive(Clone, Copy)]
pub(super) enum Hasher {
    SipHash(siphash::Keyed),
    #[cfg(target_arch = "x86_64")]
    Pelican(pelican::Keyed),
}

impl Hasher {
    /// None if this processor cannot do it.
    pub(super) fn new(algorithm: Algorithm, secret: [u8; 16]) -> Option<Hasher> {
        match algorithm {
            Algorithm::SipHash => Some(Hasher::SipHash(siphash::Keyed::new(secret))),
            #[cfg(target_arch = "x86_64")]
            Algorithm::Pelican => pelican::Keyed::new(secret).map(Hasher::Pelican),
            #[cfg(not(target_arch = "x86_64"))]
            Algorithm::Pelican => None,
        }
    }

    /// The hash of `domain`, below `DOMAINS`, `bind` and `text`; never zero. What is hashed begins
    /// with one word: `domain`, or the hash of `domain` and `bind`, so that no two triples give the
    /// same.
    #[inline(always)]
    pub(super) fn hash(&self, domain: u8, text: &[u8], bind: &[u8]) -> NonZeroU64 {
        let hash = match bind {
            [] => match self {
                Hasher::SipHash(keyed) => keyed.hash(domain, text),
                #[cfg(target_arch = "x86_64")]
                Hasher::Pelican(keyed) => keyed.hash(domain, text),
            },
            bind => self.hash_bound(domain, text, bind),
        };
        NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
    }

    #[cold]
    fn hash_bound(&self, domain: u8, text: &[u8], bind: &[u8]) -> u64 {
        /// Set beside the domain of a value that texts are bound to.
        const BIND: u64 = 1 << 8;
        let behind = |word: u64, text: &[u8]| match self {
            Hasher::SipHash(keyed) => keyed.hash_behind(word, text),
            #[cfg(target_arch = "x86_64")]
            Hasher::Pelican(keyed) => keyed.hash_behind(word, text),
        };
        behind(behind(BIND | u64::from(domain), bind), text)
    }
}
