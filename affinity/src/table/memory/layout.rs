//! What lies where in a region, for any number of bytes.
//!
//! ```text
//! TableHeader | Shard × shards | BucketBody × shards × buckets | summary (u64) × shards × buckets
//!        | Cell × servers | RecordCell × servers | print (u64) × servers | hits (u64) × servers
//!        | Counts × shards × servers | Note × shards × notes
//! ```

use core::iter;

use super::bucket::BucketBody;
use super::cell::{Cell, RecordCell};
use super::journal::Journal;
use super::lock::RobustMutex;
use crate::table::listen::ring::{Note, RingHead};
use crate::table::sync::{AtomicU32, AtomicU64};

/// "sessions" in ASCII.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"sessions");
/// Counted up when the meaning of any byte of the region changes.
pub(crate) const FORMAT: u32 = 8;
/// The formats before, which [`Table::reopen`](crate::table::Table::reopen) reads. In format 7 the sessions
/// have no sums (`Meta::sealed`).
pub(crate) const OLDER_FORMATS: [u32; 1] = [FORMAT_WITHOUT_SUMS];
pub(crate) const FORMAT_WITHOUT_SUMS: u32 = 7;
/// Alignment of every part, in bytes.
pub(crate) const ALIGN: usize = 128;
pub(crate) const MIN_SIZE: usize = 8 * 1024;
pub(crate) const MAX_SHARDS: u32 = 16;
/// Bytes of region for each shard.
const SHARD_SIZE: usize = 256 * 1024;
/// Shards of a small region, if there are `SMALL_SHARD_SIZE` bytes for each.
const FEW_SHARDS: usize = 4;
const SMALL_SHARD_SIZE: usize = 16 * 1024;
const MIN_SERVERS: u32 = 16;
const MAX_SERVERS: u32 = 4096;
/// The server list and its counters take at most one part in so many of the region.
const SERVERS_SHARE: usize = 13;
/// A ring of notes has one for so many buckets of its shard, within these bounds.
const BUCKETS_PER_NOTE: u32 = 8;
const MIN_NOTES: u32 = 16;
const MAX_NOTES: u32 = 4096;
/// Counters of a server in a shard.
pub(crate) const COUNTERS: usize = 6;

/// Counters of a shard, in `Shard::totals`, and of a server in a shard, in `Region::counts`.
/// A counter has the same index in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    Created = 0,
    Expired = 1,
    Evicted = 2,
    Forgotten = 3,
    /// A session came from another server. In a shard: sessions moved.
    MovedIn = 4,
    /// A session went to another server.
    MovedOut = 5,
}

/// Index of a server's counter in `Region::counts`.
pub(crate) fn count_index(server: u16, counter: Counter) -> u32 {
    u32::from(server) * COUNTERS as u32 + counter as u32
}

/// Bytes of the [`TableHeader`] that never change: those before `retired_hits`.
pub(crate) const IDENTITY: usize = core::mem::offset_of!(TableHeader, retired_hits);

/// Why a region holds no table. The texts complete what begins with the name of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The region is smaller than `Table::MIN_SIZE`.
    #[error("too small for a session table")]
    TooSmall,
    /// The region is larger than 2^32 buckets.
    #[error("too large for a session table")]
    TooLarge,
    /// The region does not begin at a multiple of `Table::ALIGN`.
    #[error("its memory is not aligned for a session table")]
    Misaligned,
    /// There is no table in the region.
    #[error("its memory holds no session table")]
    NotATable,
    /// The table was written by a module that lays it out differently, or on a processor that has
    /// more instructions.
    #[error("its session table was written in another format, or for another processor")]
    Format,
    /// The table's description of itself contradicts itself or the size of the region.
    #[error("its session table is damaged")]
    Geometry,
    /// The system has no robust mutexes between processes; the error number.
    #[error("no robust mutex for a session table (error {0})")]
    Lock(i32),
}

#[repr(C, align(128))]
pub(crate) struct TableHeader {
    /// Written last by `create`.
    pub(crate) magic: AtomicU64,
    pub(crate) format: AtomicU32,
    pub(crate) shards: AtomicU32,
    /// Buckets in each shard.
    pub(crate) buckets: AtomicU32,
    pub(crate) servers: AtomicU32,
    /// Bytes in use.
    pub(crate) size: AtomicU64,
    pub(crate) secret: [AtomicU64; 2],
    /// The hash that the secret is for: a `hash::Algorithm`.
    pub(crate) algorithm: AtomicU64,
    /// Hits of servers whose slots have been recycled.
    pub(crate) retired_hits: AtomicU64,
    reserved: [AtomicU64; 7],
    /// Bucket, modulo their number, where the next sweep begins.
    pub(crate) cursor: AtomicU64,
    /// Guards the server list.
    pub(crate) servers_lock: RobustMutex,
}

#[repr(C, align(128))]
pub(crate) struct Shard {
    pub(crate) lock: RobustMutex,
    /// By `Counter`; written under the lock.
    pub(crate) totals: [AtomicU64; COUNTERS],
    /// Not zero if another table has taken over from this one. Written under the lock.
    pub(crate) superseded: AtomicU64,
    /// The value of `news` up to which the successors have repeated all changes.
    pub(crate) handed_on: AtomicU64,
    /// Written under the lock.
    pub(crate) journal: Journal,
    /// How often a holder of the lock has died; written under the lock.
    pub(crate) deaths: AtomicU64,
    /// For listeners: where the shard's notes are written.
    pub(crate) ring: RingHead,
    /// Requests whose id was not found; counted without the lock, on a cache line of its own.
    pub(crate) unknown: Padded,
}

/// A counter on cache lines of its own.
#[repr(C, align(128))]
pub(crate) struct Padded(pub(crate) AtomicU64);

const _: () = assert!(size_of::<TableHeader>() == 256);
const _: () = assert!(size_of::<Shard>() == 3 * ALIGN);

/// How many shards, buckets and servers there are, and where each part begins (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) shards: u32,
    /// Buckets in each shard, an even number, and in all: a bucket's number in the whole table is
    /// a u32.
    pub(crate) buckets: u32,
    pub(crate) all_buckets: u32,
    pub(crate) servers: u32,
    /// Notes of each shard.
    pub(crate) notes: u32,
    pub(crate) bodies_at: usize,
    pub(crate) summaries_at: usize,
    pub(crate) cells_at: usize,
    pub(crate) records_at: usize,
    pub(crate) prints_at: usize,
    pub(crate) hits_at: usize,
    pub(crate) counts_at: usize,
    pub(crate) notes_at: usize,
    pub(crate) size: usize,
}

impl Geometry {
    /// None if a number is out of its range or the size overflows.
    pub(crate) fn new(shards: u32, buckets: u32, servers: u32) -> Option<Geometry> {
        let in_range = (1..=MAX_SHARDS).contains(&shards)
            && buckets != 0
            && buckets % 2 == 0
            && (1..=MAX_SERVERS).contains(&servers);
        if !in_range {
            return None;
        }
        let all_buckets = shards.checked_mul(buckets)?;
        let mut end = 0usize;
        let mut place = |count: usize, size: usize| -> Option<usize> {
            let start = end.checked_next_multiple_of(ALIGN)?;
            end = start.checked_add(count.checked_mul(size)?)?;
            Some(start)
        };
        let (shards_len, servers_len) = (shards as usize, servers as usize);
        place(1, size_of::<TableHeader>())?;
        place(shards_len, size_of::<Shard>())?;
        let bodies_at = place(all_buckets as usize, size_of::<BucketBody>())?;
        let summaries_at = place(all_buckets as usize, size_of::<u64>())?;
        let cells_at = place(servers_len, size_of::<Cell>())?;
        let records_at = place(servers_len, size_of::<RecordCell>())?;
        let prints_at = place(servers_len, size_of::<u64>())?;
        let hits_at = place(servers_len, size_of::<u64>())?;
        let counts_at = place(shards_len * servers_len, COUNTERS * size_of::<u32>())?;
        let notes = (buckets / BUCKETS_PER_NOTE).clamp(MIN_NOTES, MAX_NOTES);
        let notes_at = place(shards_len * notes as usize, size_of::<Note>())?;
        let size = end;
        Some(Geometry {
            shards,
            buckets,
            all_buckets,
            servers,
            notes,
            bodies_at,
            summaries_at,
            cells_at,
            records_at,
            prints_at,
            hits_at,
            counts_at,
            notes_at,
            size,
        })
    }

    /// The geometry that uses `len` bytes best.
    pub(crate) fn fitting(len: usize) -> Result<Geometry, TableError> {
        let few = (len / SMALL_SHARD_SIZE).clamp(1, FEW_SHARDS);
        let shards = (len / SHARD_SIZE).clamp(few, MAX_SHARDS as usize) as u32;
        let server_size = size_of::<Cell>()
            + size_of::<RecordCell>()
            + 2 * size_of::<u64>()
            + shards as usize * COUNTERS * size_of::<u32>();
        let servers = (len / SERVERS_SHARE / server_size)
            .clamp(MIN_SERVERS as usize, MAX_SERVERS as usize) as u32;
        let smallest = Geometry::new(shards, 2, servers).ok_or(TableError::Geometry)?;
        let room = len.checked_sub(smallest.size).ok_or(TableError::TooSmall)?;
        // There may be a gap behind the summaries.
        let bucket_size = size_of::<BucketBody>()
            + size_of::<u64>()
            + size_of::<Note>() / BUCKETS_PER_NOTE as usize;
        let more = room.saturating_sub(ALIGN) / bucket_size / shards as usize;
        let buckets = u32::try_from(2 + (more & !1)).map_err(|_| TableError::TooLarge)?;
        Geometry::new(shards, buckets, servers)
            .filter(|geometry| geometry.size <= len)
            .ok_or(TableError::TooLarge)
    }
}

/// Cells of the server list in a region of `len` bytes.
pub(crate) fn cells_in(len: usize) -> usize {
    Geometry::fitting(len).map_or(0, |geometry| geometry.servers as usize)
}

/// A length (bytes) from which on the server list of a region has so many cells; `None` if no list has.
/// It is less than `STEP` bytes above the shortest such length.
pub(crate) fn len_with_cells(cells: usize) -> Option<usize> {
    const STEP: usize = 1024;
    if cells > MAX_SERVERS as usize {
        return None;
    }
    let has_room = |len: &usize| cells_in(*len) >= cells;
    // One more shard takes room from the list. From this length on no shard is added.
    let all_shards = MAX_SHARDS as usize * SHARD_SIZE;
    let longest = iter::successors(Some(all_shards), |len| Some(2 * len)).find(has_room)?;
    let shorter = |len: &usize| len.checked_sub(STEP).filter(|len| *len >= MIN_SIZE);
    iter::successors(Some(longest), shorter).take_while(has_room).last()
}
