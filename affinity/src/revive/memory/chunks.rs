//! The chunks of a shard: a list of free ones, and chains of those in use. Its lock is held.

use core::sync::atomic::{AtomicU32, Ordering};

use super::layout::{Chunk, ShardHead, CHUNK_SIZE, MAX_CHUNKS};

const WORD: usize = size_of::<u64>();

#[derive(Clone, Copy)]
pub(super) struct Chunks<'a> {
    pub(super) head: &'a ShardHead,
    /// Of each chunk in a chain or in the list of free ones: the next one, plus one.
    pub(super) links: &'a [AtomicU32],
    pub(super) chunks: &'a [Chunk],
}

/// A set of chunks.
pub(super) struct Marks([u64; MAX_CHUNKS / u64::BITS as usize]);

impl Marks {
    pub(super) fn new() -> Marks {
        Marks([0; MAX_CHUNKS / u64::BITS as usize])
    }

    /// Adds a chunk; false if it was there.
    fn add(&mut self, chunk: u32) -> bool {
        let bit = 1 << (chunk % u64::BITS);
        match self.0.get_mut((chunk / u64::BITS) as usize) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    fn has(&self, chunk: u32) -> bool {
        self.0
            .get((chunk / u64::BITS) as usize)
            .is_some_and(|word| word >> (chunk % u64::BITS) & 1 != 0)
    }
}

/// Chunks that `len` bytes take.
pub(super) fn chunks_for(len: usize) -> usize {
    len.div_ceil(CHUNK_SIZE)
}

impl<'a> Chunks<'a> {
    pub(super) fn free_count(&self) -> usize {
        self.head.free_count.load(Ordering::Relaxed) as usize
    }

    /// Takes one chunk.
    pub(super) fn take(&self) -> Option<u32> {
        let first = self.head.free.load(Ordering::Relaxed).checked_sub(1)?;
        let next = self.links.get(first as usize)?.load(Ordering::Relaxed);
        self.head.free.store(next, Ordering::Relaxed);
        self.count(-1);
        self.set_link(first, 0);
        Some(first)
    }

    /// Writes `bytes` into chunks that it takes. None, and nothing taken, if there are not enough.
    pub(super) fn write(&self, bytes: &[u8]) -> Option<u32> {
        if bytes.is_empty() || self.free_count() < chunks_for(bytes.len()) {
            return None;
        }
        // From the end: each chunk is linked to one that is written.
        let mut next = 0;
        for part in bytes.chunks(CHUNK_SIZE).rev() {
            let chunk = self.take()?;
            let words = &self.chunks.get(chunk as usize)?.0;
            for (word, bytes) in words.iter().zip(part.chunks(WORD)) {
                let mut value = [0; WORD];
                value.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                word.store(u64::from_le_bytes(value), Ordering::Relaxed);
            }
            self.set_link(chunk, next);
            next = chunk + 1;
        }
        next.checked_sub(1)
    }

    /// The bytes of a chain. None if there is no memory for them, or the chain is damaged.
    pub(super) fn read(&self, first: u32, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(chunks_for(len) * CHUNK_SIZE).ok()?;
        for chunk in self.chain(first, len) {
            for word in &self.chunks.get(chunk as usize)?.0 {
                bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
            }
        }
        let is_whole = bytes.len() >= len;
        bytes.truncate(len);
        is_whole.then_some(bytes)
    }

    /// Gives a chain back.
    pub(super) fn give_back(&self, first: u32, len: usize) {
        // The link of a chunk is read before the chunk is given back.
        self.chain(first, len).for_each(|chunk| self.give_back_one(chunk));
    }

    pub(super) fn give_back_one(&self, chunk: u32) {
        self.set_link(chunk, self.head.free.load(Ordering::Relaxed));
        self.head.free.store(chunk + 1, Ordering::Relaxed);
        self.count(1);
    }

    /// Marks the chunks of a chain that holds `len` bytes; false if it is damaged.
    pub(super) fn mark(&self, first: u32, len: usize, marks: &mut Marks) -> bool {
        let is_there = |chunk: &u32| (*chunk as usize) < self.chunks.len();
        let mut count = 0;
        for chunk in self.chain(first, len).take_while(is_there) {
            if !marks.add(chunk) {
                return false;
            }
            count += 1;
        }
        count == chunks_for(len)
    }

    /// Makes a new list of all chunks that are not marked.
    pub(super) fn rebuild(&self, marks: &Marks) {
        self.head.free.store(0, Ordering::Relaxed);
        self.head.free_count.store(0, Ordering::Relaxed);
        let all = 0..self.chunks.len() as u32;
        all.rev().filter(|chunk| !marks.has(*chunk)).for_each(|chunk| self.give_back_one(chunk));
    }

    pub(super) fn words(&self, chunk: u32) -> Option<&'a Chunk> {
        self.chunks.get(chunk as usize)
    }

    fn chain(&self, first: u32, len: usize) -> impl Iterator<Item = u32> + 'a {
        let links = self.links;
        let mut next = Some(first);
        let step = move || {
            let chunk = next?;
            next = links.get(chunk as usize)?.load(Ordering::Relaxed).checked_sub(1);
            Some(chunk)
        };
        core::iter::from_fn(step).take(chunks_for(len))
    }

    fn set_link(&self, chunk: u32, next: u32) {
        if let Some(link) = self.links.get(chunk as usize) {
            link.store(next, Ordering::Relaxed);
        }
    }

    fn count(&self, change: i32) {
        let count = self.head.free_count.load(Ordering::Relaxed);
        self.head.free_count.store(count.wrapping_add_signed(change), Ordering::Relaxed);
    }
}
