//! What lies where in a region, for any number of bytes.
//!
//! ```text
//! StoreHeader | ShardHead × shards | Slot × shards × slots | filter (u64) × shards × slots / 8
//!        | link (u32) × shards × chunks | Chunk × shards × chunks
//! ```

use core::sync::atomic::{AtomicU32, AtomicU64};

use super::doubt::Doubt;
use super::slot::Slot;
use crate::revive::pace::Pace;
use crate::table::memory::lock::RobustMutex;

/// "revivals" in ASCII.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"revivals");
/// Counted up when the meaning of any byte of the region changes.
pub(super) const FORMAT: u32 = 3;
/// Alignment of every part, in bytes.
pub(super) const ALIGN: usize = 128;
/// Room for several of the longest records.
pub(super) const MIN_SIZE: usize = 64 * 1024;
/// Bytes of region for each shard: a shard is searched from end to end.
const SHARD_SIZE: usize = 256 * 1024;
const MAX_SHARDS: u32 = 4096;
/// Places whose answers may be no evidence.
const MAX_DOUBTS: usize = 5;
/// Bytes of a chunk; a record takes as many as it needs.
pub(super) const CHUNK_SIZE: usize = 128;
pub(super) const CHUNK_WORDS: usize = CHUNK_SIZE / size_of::<u64>();
/// A shard has a slot for so many chunks: most records are not shorter.
const CHUNKS_PER_SLOT: usize = 3;
pub(super) const MAX_CHUNKS: usize = 4096;
/// Bits of the filter for each slot.
const FILTER_BITS: usize = 8;

/// Why a region holds no store. The texts complete what begins with the name of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The region is smaller than `Store::MIN_SIZE`.
    #[error("too small for the records of sessions")]
    TooSmall,
    /// The region does not begin at a multiple of `Store::ALIGN`.
    #[error("its memory is not aligned for the records of sessions")]
    Misaligned,
    /// There is no store in the region.
    #[error("its memory holds no records of sessions")]
    NotAStore,
    /// The store was written by a module that lays it out differently.
    #[error("its records of sessions were written in another format")]
    Format,
    /// The store's description of itself contradicts itself or the size of the region.
    #[error("its records of sessions are damaged")]
    Geometry,
    /// The system has no robust mutexes between processes; the error number.
    #[error("no robust mutex for the records of sessions (error {0})")]
    Lock(i32),
}

#[repr(C, align(128))]
pub(super) struct StoreHeader {
    /// Written last by `create`.
    pub(super) magic: AtomicU64,
    pub(super) format: AtomicU32,
    pub(super) shards: AtomicU32,
    /// Of each shard.
    pub(super) slots: AtomicU32,
    /// Of each shard.
    pub(super) chunks: AtomicU32,
    /// Bytes in use.
    pub(super) size: AtomicU64,
    pub(super) pace: Pace,
    pub(super) doubts: [Doubt; MAX_DOUBTS],
}

/// Written under the lock.
#[repr(C, align(128))]
pub(super) struct ShardHead {
    pub(super) lock: RobustMutex,
    /// The first free chunk, plus one; its link leads to the next.
    pub(super) free: AtomicU32,
    pub(super) free_count: AtomicU32,
    /// Records in the slots.
    pub(super) kept: AtomicU32,
    /// Records that made room for others.
    pub(super) evicted: AtomicU64,
    /// How often a holder of the lock has died.
    pub(super) deaths: AtomicU64,
}

#[repr(C, align(128))]
pub(super) struct Chunk(pub(super) [AtomicU64; CHUNK_WORDS]);

const _: () = assert!(size_of::<StoreHeader>() == ALIGN);
const _: () = assert!(size_of::<ShardHead>() == ALIGN);
const _: () = assert!(size_of::<Chunk>() == CHUNK_SIZE);

/// How much there is of each part, and where it begins (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) shards: u32,
    pub(super) slots: u32,
    pub(super) chunks: u32,
    pub(super) slots_at: usize,
    /// Words of the filter.
    pub(super) filter_words: usize,
    pub(super) filter_at: usize,
    pub(super) links_at: usize,
    pub(super) chunks_at: usize,
    pub(super) size: usize,
}

impl Geometry {
    /// None if a number is out of its range.
    pub(super) fn new(shards: u32, slots: u32, chunks: u32) -> Option<Geometry> {
        let in_range = (1..=MAX_SHARDS).contains(&shards)
            && (1..=MAX_CHUNKS as u32).contains(&chunks)
            && (1..=chunks).contains(&slots);
        if !in_range {
            return None;
        }
        let all = |count: u32| shards as usize * count as usize;
        let mut end = 0usize;
        let mut place = |count: usize, size: usize| -> Option<usize> {
            let start = end.checked_next_multiple_of(ALIGN)?;
            end = start.checked_add(count.checked_mul(size)?)?;
            Some(start)
        };
        place(1, size_of::<StoreHeader>())?;
        place(all(1), size_of::<ShardHead>())?;
        let slots_at = place(all(slots), size_of::<Slot>())?;
        // The bits of a shard begin with a word: no two shards write the same one.
        let filter_words = all((slots * FILTER_BITS as u32).div_ceil(u64::BITS));
        let filter_at = place(filter_words, size_of::<u64>())?;
        let links_at = place(all(chunks), size_of::<u32>())?;
        let chunks_at = place(all(chunks), size_of::<Chunk>())?;
        let size = end;
        Some(Geometry {
            shards,
            slots,
            chunks,
            slots_at,
            filter_words,
            filter_at,
            links_at,
            chunks_at,
            size,
        })
    }

    /// The geometry that uses `len` bytes best.
    pub(super) fn fitting(len: usize) -> Result<Geometry, StoreError> {
        if len < MIN_SIZE {
            return Err(StoreError::TooSmall);
        }
        let shards = (len / SHARD_SIZE).clamp(1, MAX_SHARDS as usize);
        let group =
            CHUNKS_PER_SLOT * (CHUNK_SIZE + size_of::<u32>()) + size_of::<Slot>() + FILTER_BITS / 8;
        // There may be a gap behind each part, and a part of a word behind each filter.
        let fixed = size_of::<StoreHeader>()
            + 4 * ALIGN
            + shards * (size_of::<ShardHead>() + size_of::<u64>());
        let groups = len.saturating_sub(fixed) / shards / group;
        let slots = groups.min(MAX_CHUNKS / CHUNKS_PER_SLOT);
        Geometry::new(shards as u32, slots as u32, (slots * CHUNKS_PER_SLOT) as u32)
            .filter(|geometry| geometry.size <= len)
            .ok_or(StoreError::TooSmall)
    }
}
