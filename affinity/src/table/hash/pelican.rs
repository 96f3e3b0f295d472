//! Pelican, with the processor's own AES-128 (x86-64).
//!
//! The state begins as the encryption of zero. Each block of 16 bytes is added to it, followed by
//! four rounds of AES without a key, but for the last block, which is followed by a whole
//! encryption; half of the result is the hash. The first block holds a word that goes before the
//! text, the last one up to 15 bytes of text, a byte 0x80 and zeros. The tests compare it with one
//! made of the crate `aes`. Source: Daemen and Rijmen, "The Pelican MAC Function" (2005).
//!
//! By hand: we know of no crate with Pelican.
//!
//! # Safety
//! The unsafe functions here have one condition: (1) the processor has `aes` and `ssse3`. A [`Pelican`]
//! is the proof of it: `Pelican::new` makes one only where both have been detected.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "older compilers call these intrinsics unsafe, newer safe"
)]

use core::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_cvtsi128_si64,
    _mm_loadu_si128, _mm_set_epi64x, _mm_setzero_si128, _mm_shuffle_epi32, _mm_shuffle_epi8,
    _mm_slli_si128, _mm_xor_si128,
};

use super::domain::DOMAINS;

const BLOCK: usize = 16;
/// Rounds of AES-128.
const ROUNDS: usize = 10;

/// The expanded key, and the states of hashes that have begun with a domain. None exists where the
/// processor lacks the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Pelican {
    first: __m128i,
    rounds: [__m128i; ROUNDS - 1],
    last: __m128i,
    begun: [__m128i; DOMAINS],
}

impl Pelican {
    pub(super) fn new(secret: [u8; BLOCK]) -> Option<Pelican> {
        // SAFETY: 1. both have been detected.
        is_supported().then(|| unsafe { Pelican::expand(secret) })
    }

    /// The hash of the word `domain` and `text`.
    #[inline]
    pub(super) fn hash(&self, domain: u8, text: &[u8]) -> u64 {
        let Some(begun) = self.begun.get(usize::from(domain)) else {
            return self.hash_behind(u64::from(domain), text);
        };
        // SAFETY: 1. `new` has detected both, or there would be no `self`.
        unsafe { self.finish(begun, text) }
    }

    /// The hash of a word and `text`.
    pub(super) fn hash_behind(&self, word: u64, text: &[u8]) -> u64 {
        // SAFETY: 1. `new` has detected both, or there would be no `self`.
        unsafe { self.finish(&self.begin(word), text) }
    }

    /// # Safety
    /// 1. The processor has `aes` and `ssse3`.
    #[target_feature(enable = "aes,ssse3")]
    unsafe fn expand(secret: [u8; BLOCK]) -> Pelican {
        debug_assert!(is_supported(), "condition 1");
        let first = load(&secret);
        let mut keys = [first; ROUNDS + 1];
        keys[1] = next_key::<0x01>(keys[0]);
        keys[2] = next_key::<0x02>(keys[1]);
        keys[3] = next_key::<0x04>(keys[2]);
        keys[4] = next_key::<0x08>(keys[3]);
        keys[5] = next_key::<0x10>(keys[4]);
        keys[6] = next_key::<0x20>(keys[5]);
        keys[7] = next_key::<0x40>(keys[6]);
        keys[8] = next_key::<0x80>(keys[7]);
        keys[9] = next_key::<0x1b>(keys[8]);
        keys[10] = next_key::<0x36>(keys[9]);
        let [first, rounds @ .., last] = keys;
        let mut keyed = Pelican { first, rounds, last, begun: [first; DOMAINS] };
        for domain in 0..DOMAINS {
            keyed.begun[domain] = keyed.begin(domain as u64);
        }
        keyed
    }

    /// The state behind a first block with `word`.
    ///
    /// # Safety
    /// 1. The processor has `aes` and `ssse3`.
    #[target_feature(enable = "aes,ssse3")]
    unsafe fn begin(&self, word: u64) -> __m128i {
        let zero = self.encrypt(_mm_setzero_si128());
        mix(_mm_xor_si128(zero, _mm_set_epi64x(0, word as i64)))
    }

    /// The hash, from the state behind all blocks that are not of `text`.
    ///
    /// # Safety
    /// 1. The processor has `aes` and `ssse3`.
    #[target_feature(enable = "aes,ssse3")]
    unsafe fn finish(&self, begun: &__m128i, text: &[u8]) -> u64 {
        debug_assert!(is_supported(), "condition 1");
        let mut state = *begun;
        let mut rest = text;
        while let Some((block, behind)) = rest.split_first_chunk() {
            state = mix(_mm_xor_si128(state, load(block)));
            rest = behind;
        }
        let last = self.encrypt(_mm_xor_si128(state, last_block(text)));
        _mm_cvtsi128_si64(last) as u64
    }

    /// # Safety
    /// 1. The processor has `aes` and `ssse3`.
    #[inline]
    #[target_feature(enable = "aes,ssse3")]
    unsafe fn encrypt(&self, block: __m128i) -> __m128i {
        let mut state = _mm_xor_si128(block, self.first);
        for &key in &self.rounds {
            state = _mm_aesenc_si128(state, key);
        }
        _mm_aesenclast_si128(state, self.last)
    }
}

/// Whether condition 1 holds.
fn is_supported() -> bool {
    !cfg!(miri) && is_x86_feature_detected!("aes") && is_x86_feature_detected!("ssse3")
}

/// The key of the next round of AES-128.
///
/// # Safety
/// 1. The processor has `aes` and `ssse3`.
#[inline]
#[target_feature(enable = "aes,ssse3")]
unsafe fn next_key<const RCON: i32>(key: __m128i) -> __m128i {
    let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<RCON>(key));
    // Each word of the key is the sum of all words up to it.
    let sums = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let sums = _mm_xor_si128(sums, _mm_slli_si128::<8>(sums));
    _mm_xor_si128(sums, word)
}

/// Four rounds of AES without a key.
///
/// # Safety
/// 1. The processor has `aes` and `ssse3`.
#[inline]
#[target_feature(enable = "aes,ssse3")]
unsafe fn mix(mut state: __m128i) -> __m128i {
    for _ in 0..4 {
        state = _mm_aesenc_si128(state, _mm_setzero_si128());
    }
    state
}

/// The bytes of `text` behind its last whole block, a byte 0x80 and zeros.
///
/// # Safety
/// 1. The processor has `aes` and `ssse3`.
#[inline]
#[target_feature(enable = "aes,ssse3")]
unsafe fn last_block(text: &[u8]) -> __m128i {
    /// The numbers 0 to 15, then 16 bytes that select nothing (0x80 gives zero). A window of it moves
    /// the last bytes of a block to its front.
    const KEEP: [u8; 2 * BLOCK] = {
        let mut bytes = [0x80; 2 * BLOCK];
        let mut index = 0;
        while index < BLOCK {
            bytes[index] = index as u8;
            index += 1;
        }
        bytes
    };
    /// 15 zeros, the byte 0x80, zeros. A window of it has 0x80 behind as many zeros as bytes are left.
    const END: [u8; 2 * BLOCK] = {
        let mut bytes = [0; 2 * BLOCK];
        bytes[BLOCK - 1] = 0x80;
        bytes
    };
    let left = text.len() % BLOCK;
    let bytes = match text.last_chunk() {
        Some(end) => _mm_shuffle_epi8(load(end), window(&KEEP, BLOCK - left)),
        None => {
            let mut block = [0; BLOCK];
            for (byte, &from) in block.iter_mut().zip(text) {
                *byte = from;
            }
            load(&block)
        }
    };
    _mm_xor_si128(bytes, window(&END, BLOCK - 1 - left))
}

/// The block that begins at byte `start`, which is 16 at most.
///
/// # Safety
/// 1. The processor has `aes` and `ssse3`.
#[inline]
#[target_feature(enable = "aes,ssse3")]
unsafe fn window(bytes: &[u8; 2 * BLOCK], start: usize) -> __m128i {
    let block = bytes.get(start..).and_then(|bytes| bytes.first_chunk());
    load(block.unwrap_or(&[0; BLOCK]))
}

/// # Safety
/// 1. The processor has `aes` and `ssse3`.
#[inline]
#[target_feature(enable = "aes,ssse3")]
unsafe fn load(block: &[u8; BLOCK]) -> __m128i {
    _mm_loadu_si128(block.as_ptr().cast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::cipher::{BlockEncrypt, KeyInit};
    use aes::{hazmat, Aes128, Block};

    /// The same from the crate's parts, block by block.
    fn model(secret: [u8; BLOCK], word: u64, text: &[u8]) -> u64 {
        let cipher = Aes128::new(&secret.into());
        let mut message = vec![0; BLOCK];
        message[..8].copy_from_slice(&word.to_le_bytes());
        message.extend_from_slice(text);
        message.push(0x80);
        message.resize(message.len().next_multiple_of(BLOCK), 0);
        let mut state = Block::default();
        cipher.encrypt_block(&mut state);
        for (number, block) in message.chunks(BLOCK).enumerate() {
            if number > 0 {
                (0..4).for_each(|_| hazmat::cipher_round(&mut state, &Block::default()));
            }
            state.iter_mut().zip(block).for_each(|(byte, added)| *byte ^= added);
        }
        cipher.encrypt_block(&mut state);
        u64::from_le_bytes(state[..8].try_into().unwrap())
    }

    #[test]
    fn is_pelican() {
        let secret = *b"\0\x01\x02\x03\xff\xfe\x80\x7f01234567";
        let Some(keyed) = Pelican::new(secret) else {
            eprintln!("skipped: this processor has no AES");
            return;
        };
        let text: Vec<u8> = (0..=255u8).cycle().take(1000).collect();
        for len in (0..100).chain([127, 128, 129, 255, 256, 1000]) {
            let text = &text[1000 - len..];
            for word in 0..DOMAINS as u8 + 1 {
                assert_eq!(keyed.hash(word, text), model(secret, word.into(), text), "{len} bytes");
            }
            let word = 0xf123_4567_89ab_cdef ^ len as u64;
            assert_eq!(keyed.hash_behind(word, text), model(secret, word, text), "{len} bytes");
        }
    }
}
