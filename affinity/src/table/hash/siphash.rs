//! SipHash-1-3.
//!
//! By hand: this one reads whole words of the text and keeps no buffer, which a general hasher needs. The
//! tests compare it with the crate `siphasher`. Source: Aumasson and Bernstein, "SipHash: a fast
//! short-input PRF" (2012), with one round a word and three at the end, as in Rust's standard library.

use super::domain::DOMAINS;

/// The key, and the states of hashes that have begun with a domain.
#[derive(Clone, Copy)]
pub(crate) struct SipHash {
    first: u64,
    second: u64,
    begun: [State; DOMAINS],
}

impl SipHash {
    pub(super) fn new(secret: [u8; 16]) -> SipHash {
        let secret = u128::from_le_bytes(secret);
        let (first, second) = (secret as u64, (secret >> u64::BITS) as u64);
        let begun = core::array::from_fn(|domain| State::begin(first, second, domain as u64));
        SipHash { first, second, begun }
    }

    /// The hash of the word `domain` and `text`.
    #[inline]
    pub(super) fn hash(&self, domain: u8, text: &[u8]) -> u64 {
        match self.begun.get(usize::from(domain)) {
            Some(begun) => begun.hash(text),
            None => self.hash_behind(u64::from(domain), text),
        }
    }

    /// The hash of a word, in little-endian bytes, and `text`.
    pub(super) fn hash_behind(&self, word: u64, text: &[u8]) -> u64 {
        State::begin(self.first, self.second, word).hash(text)
    }
}

/// A hash that has taken one word.
#[derive(Clone, Copy)]
struct State([u64; 4]);

impl State {
    fn begin(first: u64, second: u64, word: u64) -> State {
        let mut state = State([
            first ^ u64::from_be_bytes(*b"somepseu"),
            second ^ u64::from_be_bytes(*b"dorandom"),
            first ^ u64::from_be_bytes(*b"lygenera"),
            second ^ u64::from_be_bytes(*b"tedbytes"),
        ]);
        state.word(word);
        state
    }

    /// The hash of what has been taken and `text` behind it.
    #[inline]
    fn hash(mut self, text: &[u8]) -> u64 {
        let mut words = text.chunks_exact(size_of::<u64>());
        for word in &mut words {
            // A chunk of eight bytes always is one word.
            self.word(word.try_into().map_or(0, u64::from_le_bytes));
        }
        // The last word holds what is left, and the number of bytes modulo 256 on top.
        let len = text.len().wrapping_add(size_of::<u64>());
        let left = words.remainder();
        let last = match text.last_chunk() {
            // The last eight bytes, without those that have been taken already.
            Some(&word) => {
                let taken = size_of::<u64>() - left.len();
                // In two steps: all eight may have been taken.
                u64::from_le_bytes(word) >> u8::BITS >> (u8::BITS as usize * (taken - 1))
            }
            None => left.iter().rev().fold(0, |last, &byte| last << 8 | u64::from(byte)),
        };
        self.word((len as u64) << 56 | last);
        self.finish()
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline]
    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..3 {
            self.round();
        }
        self.0.iter().fold(0, |hash, word| hash ^ word)
    }

    #[inline]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_siphash_1_3() {
        let secret = core::array::from_fn(|index| index as u8 ^ 0xa5);
        let hasher = siphasher::sip::SipHasher13::new_with_key(&secret);
        let text: Vec<u8> = (0..=255u8).cycle().take(1000).collect();
        for len in (0..100).chain([247, 248, 249, 255, 256, 1000]) {
            let prefix = 0x0123_4567_89ab_cdef_u64 ^ len as u64;
            let mut whole = prefix.to_le_bytes().to_vec();
            whole.extend_from_slice(&text[..len]);
            let keyed = SipHash::new(secret);
            assert_eq!(keyed.hash_behind(prefix, &text[..len]), hasher.hash(&whole), "{len} bytes");
            let mut whole = vec![1, 0, 0, 0, 0, 0, 0, 0];
            whole.extend_from_slice(&text[..len]);
            assert_eq!(keyed.hash(1, &text[..len]), hasher.hash(&whole), "{len} bytes");
        }
    }
}
