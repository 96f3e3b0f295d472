//! The hash that a table uses, with its key.

use core::num::NonZeroU64;

#[cfg(target_arch = "x86_64")]
use super::pelican;
use super::siphash;

/// The hash of a table: `TableHeader::algorithm` of its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Algorithm {
    SipHash = 1,
    Pelican = 2,
}

impl Algorithm {
    /// The fastest one here.
    pub(crate) fn best() -> Algorithm {
        match Hasher::new(Algorithm::Pelican, [0; 16]) {
            Some(_) => Algorithm::Pelican,
            None => Algorithm::SipHash,
        }
    }

    pub(crate) fn from_number(number: u64) -> Option<Algorithm> {
        [Algorithm::SipHash, Algorithm::Pelican]
            .into_iter()
            .find(|algorithm| *algorithm as u64 == number)
    }
}

/// A hash function with its key.
#[derive(Clone, Copy)]
pub(crate) enum Hasher {
    SipHash(siphash::SipHash),
    #[cfg(target_arch = "x86_64")]
    Pelican(pelican::Pelican),
}

impl Hasher {
    /// None if this processor lacks its instructions.
    pub(crate) fn new(algorithm: Algorithm, secret: [u8; 16]) -> Option<Hasher> {
        match algorithm {
            Algorithm::SipHash => Some(Hasher::SipHash(siphash::SipHash::new(secret))),
            #[cfg(target_arch = "x86_64")]
            Algorithm::Pelican => pelican::Pelican::new(secret).map(Hasher::Pelican),
            #[cfg(not(target_arch = "x86_64"))]
            Algorithm::Pelican => None,
        }
    }

    /// The hash of `domain`, below [`DOMAINS`](super::DOMAINS), `bind` and `text`; never zero. The hashed
    /// text begins with one word: `domain`, or the hash of `domain` and `bind`. So two different triples
    /// are never hashed as the same text.
    #[inline(always)]
    pub(crate) fn hash(&self, domain: u8, text: &[u8], bind: &[u8]) -> NonZeroU64 {
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
        /// Set in the first word of a hash of `bind`.
        const BIND: u64 = 1 << 8;
        let behind = |word: u64, text: &[u8]| match self {
            Hasher::SipHash(keyed) => keyed.hash_behind(word, text),
            #[cfg(target_arch = "x86_64")]
            Hasher::Pelican(keyed) => keyed.hash_behind(word, text),
        };
        behind(behind(BIND | u64::from(domain), bind), text)
    }
}
