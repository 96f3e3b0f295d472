//! The flat memory of a table: what lies where. The only file that turns addresses into
//! references.
//!
//! ```text
//! Header | Shard × shards | Body × shards × buckets | summary (u64) × shards × buckets
//!        | Cell × servers | RecordCell × servers | print (u64) × servers | hits (u64) × servers
//!        | Counts × shards × servers
//! ```

use core::iter;
use core::ptr::NonNull;

use super::bucket::{Body, Buckets, SLOTS};
use super::cell::{Cell, RecordCell};
use super::journal::Journal;
use super::lock::RobustMutex;
use super::sync::{AtomicU32, AtomicU64, Ordering};

/// "sessions" in ASCII.
const MAGIC: u64 = u64::from_le_bytes(*b"sessions");
/// Counted up when the meaning of any byte of the region changes.
const FORMAT: u32 = 6;

/// Alignment of every part, in bytes.
pub(crate) const ALIGN: usize = 128;
pub(crate) const MIN_SIZE: usize = 8 * 1024;
const MAX_SHARDS: u32 = 16;
/// Bytes of region for each shard.
const SHARD_SIZE: usize = 256 * 1024;
/// A small region has so many shards, if there are so many bytes for each.
const FEW_SHARDS: usize = 4;
const SMALL_SHARD_SIZE: usize = 16 * 1024;
const MIN_SERVERS: u32 = 16;
const MAX_SERVERS: u32 = 4096;
/// The server list and its counters may take this fraction of the region.
const SERVERS_SHARE: usize = 13;

/// Counters of a shard, in `Shard::totals`, and of a server in a shard, in `Region::counts`.
/// What has an index in both is counted in both.
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

/// Counters of a server in a shard.
pub(crate) const COUNTERS: usize = 6;

/// Why a region holds no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The region is smaller than `Table::MIN_SIZE`.
    TooSmall,
    /// The region is larger than 2^32 buckets.
    TooLarge,
    /// The region does not begin at a multiple of `Table::ALIGN`.
    Misaligned,
    /// There is no table in the region.
    NotATable,
    /// The table was written by a module that lays it out differently, or on a processor that can
    /// do more.
    Format,
    /// The table's description of itself contradicts itself or the size of the region.
    Geometry,
    /// The system has no robust mutexes between processes; the error number.
    Lock(i32),
}

#[repr(C, align(128))]
pub(crate) struct Header {
    /// Written last by `create`.
    magic: AtomicU64,
    format: AtomicU32,
    shards: AtomicU32,
    /// Buckets in each shard.
    buckets: AtomicU32,
    servers: AtomicU32,
    /// Bytes in use.
    size: AtomicU64,
    secret: [AtomicU64; 2],
    /// Which hash the secret is for: a `hash::Algorithm`.
    algorithm: AtomicU64,
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
    /// Not zero: another table has taken over from this one. Written under the lock.
    pub(crate) superseded: AtomicU64,
    /// The `news` that the successors have.
    pub(crate) handed_on: AtomicU64,
    /// Written under the lock.
    pub(crate) journal: Journal,
    /// Times that a holder of the lock died; written under the lock.
    pub(crate) deaths: AtomicU64,
    /// Requests whose id was not found; counted without the lock, on a cache line of its own.
    pub(crate) unknown: Lonely,
}

/// A counter that shares its cache lines with nothing.
#[repr(C, align(128))]
pub(crate) struct Lonely(pub(crate) AtomicU64);

/// How many of each there are, and where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    shards: u32,
    /// Buckets in each shard, an even number, and in all: a bucket's number in the whole table is
    /// a u32.
    buckets: u32,
    all_buckets: u32,
    servers: u32,
    bodies_at: usize,
    summaries_at: usize,
    cells_at: usize,
    records_at: usize,
    prints_at: usize,
    hits_at: usize,
    counts_at: usize,
    size: usize,
}

impl Geometry {
    /// None if a number is out of its range or the size cannot be counted.
    fn new(shards: u32, buckets: u32, servers: u32) -> Option<Geometry> {
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
        place(1, size_of::<Header>())?;
        place(shards_len, size_of::<Shard>())?;
        let bodies_at = place(all_buckets as usize, size_of::<Body>())?;
        let summaries_at = place(all_buckets as usize, size_of::<u64>())?;
        let cells_at = place(servers_len, size_of::<Cell>())?;
        let records_at = place(servers_len, size_of::<RecordCell>())?;
        let prints_at = place(servers_len, size_of::<u64>())?;
        let hits_at = place(servers_len, size_of::<u64>())?;
        let counts_at = place(shards_len * servers_len, COUNTERS * size_of::<u32>())?;
        let size = end;
        Some(Geometry {
            shards,
            buckets,
            all_buckets,
            servers,
            bodies_at,
            summaries_at,
            cells_at,
            records_at,
            prints_at,
            hits_at,
            counts_at,
            size,
        })
    }

    /// The best use of `len` bytes.
    fn fitting(len: usize) -> Result<Geometry, Error> {
        let few = (len / SMALL_SHARD_SIZE).clamp(1, FEW_SHARDS);
        let shards = (len / SHARD_SIZE).clamp(few, MAX_SHARDS as usize) as u32;
        let server_size = size_of::<Cell>()
            + size_of::<RecordCell>()
            + 2 * size_of::<u64>()
            + shards as usize * COUNTERS * size_of::<u32>();
        let servers = (len / SERVERS_SHARE / server_size)
            .clamp(MIN_SERVERS as usize, MAX_SERVERS as usize) as u32;
        let smallest = Geometry::new(shards, 2, servers).ok_or(Error::Geometry)?;
        let room = len.checked_sub(smallest.size).ok_or(Error::TooSmall)?;
        // Behind the summaries there may be a gap.
        let bucket_size = size_of::<Body>() + size_of::<u64>();
        let more = room.saturating_sub(ALIGN) / bucket_size / shards as usize;
        let buckets = u32::try_from(2 + (more & !1)).map_err(|_| Error::TooLarge)?;
        Geometry::new(shards, buckets, servers)
            .filter(|geometry| geometry.size <= len)
            .ok_or(Error::TooLarge)
    }
}

/// Cells of the server list in a region of `len` bytes.
pub(crate) fn cells_in(len: usize) -> usize {
    Geometry::fitting(len).map_or(0, |geometry| geometry.servers as usize)
}

/// Length of a region in which, as in any longer one, the server list has so many cells; `None` if
/// no list has. Less than `STEP` bytes above the shortest.
pub(crate) fn len_with_cells(cells: usize) -> Option<usize> {
    const STEP: usize = 1024;
    if cells > MAX_SERVERS as usize {
        return None;
    }
    let has_room = |len: &usize| cells_in(*len) >= cells;
    // Another shard takes room from the list. From here on there is none.
    let all_shards = MAX_SHARDS as usize * SHARD_SIZE;
    let longest = iter::successors(Some(all_shards), |len| Some(2 * len)).find(has_room)?;
    let shorter = |len: &usize| len.checked_sub(STEP).filter(|len| *len >= MIN_SIZE);
    iter::successors(Some(longest), shorter).take_while(has_room).last()
}

/// A mapped region that holds a table. A copy of the geometry is kept beside the address: what
/// the region's header says is believed once, after it has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    base: NonNull<u8>,
    geometry: Geometry,
}

// SAFETY: all memory behind `base` is atomics and process-shared mutexes, made to be used by many
// threads of many processes at once.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Lays out an empty table. Writes the header and the locks only: memory that is fresh from
    /// the kernel costs nothing until it is used.
    ///
    /// # Safety
    /// `base` is the start of `len` readable and writable bytes that stay mapped while this
    /// region or a copy of it is used, and that nobody else uses until this returns. All of them
    /// are zero.
    pub(crate) unsafe fn create(
        base: NonNull<u8>,
        len: usize,
        algorithm: u32,
        secret: [u8; 16],
    ) -> Result<Region, Error> {
        check_place(base, len)?;
        let geometry = Geometry::fitting(len)?;
        // Zeroes are an empty table.
        let region = Region { base, geometry };
        debug_assert!(region.is_zero(), "the memory of a new table is zero");
        let header = region.header();
        header.format.store(FORMAT, Ordering::Relaxed);
        header.shards.store(geometry.shards, Ordering::Relaxed);
        header.buckets.store(geometry.buckets, Ordering::Relaxed);
        header.servers.store(geometry.servers, Ordering::Relaxed);
        header.size.store(geometry.size as u64, Ordering::Relaxed);
        header.algorithm.store(algorithm.into(), Ordering::Relaxed);
        let secret = u128::from_le_bytes(secret);
        let [low, high] = &header.secret;
        low.store(secret as u64, Ordering::Relaxed);
        high.store((secret >> u64::BITS) as u64, Ordering::Relaxed);
        // SAFETY: by the caller's word nobody uses the region yet.
        unsafe { region.init_locks() }.map_err(Error::Lock)?;
        header.magic.store(MAGIC, Ordering::Release);
        Ok(region)
    }

    /// Finds the table in a region. Whatever the region's bytes are, no use of the result goes
    /// out of it.
    ///
    /// # Safety
    /// `base` is the start of `len` readable and writable bytes that stay mapped while this
    /// region or a copy of it is used. If they hold a table, `create` made it and only this
    /// module wrote to it since.
    pub(crate) unsafe fn attach(base: NonNull<u8>, len: usize) -> Result<Region, Error> {
        check_place(base, len)?;
        // SAFETY: `MIN_SIZE` bytes and more are mapped, and `base` is aligned (checked).
        let header = unsafe { base.cast::<Header>().as_ref() };
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(Error::NotATable);
        }
        if header.format.load(Ordering::Relaxed) != FORMAT {
            return Err(Error::Format);
        }
        let geometry = Geometry::new(
            header.shards.load(Ordering::Relaxed),
            header.buckets.load(Ordering::Relaxed),
            header.servers.load(Ordering::Relaxed),
        )
        .filter(|geometry| {
            geometry.size <= len && header.size.load(Ordering::Relaxed) == geometry.size as u64
        })
        .ok_or(Error::Geometry)?;
        Ok(Region { base, geometry })
    }

    /// Whether all bytes are zero.
    fn is_zero(&self) -> bool {
        // SAFETY: the geometry's parts, and so these words, lie within the region.
        let words: &[AtomicU64] = unsafe { self.slice(0, self.geometry.size / 8) };
        words.iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }

    /// # Safety
    /// Nobody uses the region.
    pub(crate) unsafe fn init_locks(&self) -> Result<(), i32> {
        // SAFETY: the caller's word.
        unsafe { self.header().servers_lock.init() }?;
        // SAFETY: the caller's word.
        self.shards().iter().try_for_each(|shard| unsafe { shard.lock.init() })
    }

    pub(crate) fn algorithm(&self) -> u64 {
        self.header().algorithm.load(Ordering::Relaxed)
    }

    pub(crate) fn secret(&self) -> [u8; 16] {
        let [low, high] = self.header().secret.each_ref().map(|word| word.load(Ordering::Relaxed));
        (u128::from(low) | u128::from(high) << u64::BITS).to_le_bytes()
    }

    /// Buckets in each shard.
    #[inline]
    pub(crate) fn buckets_per_shard(&self) -> u32 {
        self.geometry.buckets
    }

    /// Buckets in all shards.
    #[inline]
    pub(crate) fn bucket_count(&self) -> u32 {
        self.geometry.all_buckets
    }

    #[inline]
    pub(crate) fn shard_count(&self) -> u32 {
        self.geometry.shards
    }

    /// Sessions that fit in.
    pub(crate) fn capacity(&self) -> u64 {
        self.buckets().len() as u64 * SLOTS as u64
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the header lies at the start of the region (`Geometry`), which is aligned.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    #[inline]
    pub(crate) fn shards(&self) -> &[Shard] {
        // SAFETY: `Geometry` has placed that many shards behind the header.
        unsafe { self.slice(size_of::<Header>(), self.geometry.shards as usize) }
    }

    /// All buckets, shard by shard.
    #[inline]
    pub(crate) fn buckets(&self) -> Buckets<'_> {
        let count = self.bucket_count() as usize;
        // SAFETY: `Geometry` has placed that many of both there.
        unsafe {
            Buckets {
                summaries: self.slice(self.geometry.summaries_at, count),
                bodies: self.slice(self.geometry.bodies_at, count),
            }
        }
    }

    #[inline]
    pub(crate) fn cells(&self) -> &[Cell] {
        // SAFETY: `Geometry` has placed that many cells there.
        unsafe { self.slice(self.geometry.cells_at, self.geometry.servers as usize) }
    }

    /// What is known of the servers, in the order of their cells.
    #[inline]
    pub(crate) fn records(&self) -> &[RecordCell] {
        // SAFETY: `Geometry` has placed that many records there.
        unsafe { self.slice(self.geometry.records_at, self.geometry.servers as usize) }
    }

    /// Prints of the servers' addresses; zero where no server begins.
    #[inline]
    pub(crate) fn prints(&self) -> &[AtomicU64] {
        // SAFETY: `Geometry` has placed that many prints there.
        unsafe { self.slice(self.geometry.prints_at, self.geometry.servers as usize) }
    }

    /// Requests sent to the servers of their sessions.
    #[inline]
    pub(crate) fn hits(&self) -> &[AtomicU64] {
        // SAFETY: `Geometry` has placed that many counters there.
        unsafe { self.slice(self.geometry.hits_at, self.geometry.servers as usize) }
    }

    /// The servers' counters in all shards: `COUNTERS` for each server of the first shard, then
    /// those of the second.
    fn all_counts(&self) -> &[AtomicU32] {
        let count = self.geometry.shards as usize * self.geometry.servers as usize * COUNTERS;
        // SAFETY: `Geometry` has placed that many counters there.
        unsafe { self.slice(self.geometry.counts_at, count) }
    }

    /// The servers' counters in one shard, `COUNTERS` for each server.
    pub(crate) fn counts(&self, shard: usize) -> &[AtomicU32] {
        let row = self.geometry.servers as usize * COUNTERS;
        self.all_counts().chunks_exact(row).nth(shard).unwrap_or_default()
    }

    /// # Safety
    /// `count` values of `T` lie at `offset`, a multiple of `ALIGN`, as `Geometry` says, and all
    /// bytes are valid for `T`, which allows changes by others (atomics).
    #[inline]
    unsafe fn slice<T>(&self, offset: usize, count: usize) -> &[T] {
        const { assert!(align_of::<T>() <= ALIGN) };
        // SAFETY: `create` or `attach` has checked that the geometry ends within the mapped
        // bytes, which stay mapped as their callers promised; the rest is the caller's word.
        unsafe { core::slice::from_raw_parts(self.base.add(offset).cast::<T>().as_ptr(), count) }
    }
}

fn check_place(base: NonNull<u8>, len: usize) -> Result<(), Error> {
    if base.as_ptr().addr() % ALIGN != 0 {
        return Err(Error::Misaligned);
    }
    if len < MIN_SIZE {
        return Err(Error::TooSmall);
    }
    Ok(())
}

/// Index of a server's counter in `Region::counts`.
pub(crate) fn count_index(server: u16, counter: Counter) -> u32 {
    u32::from(server) * COUNTERS as u32 + counter as u32
}

const _: () = assert!(size_of::<Header>() == 256);
const _: () = assert!(size_of::<Shard>() % ALIGN == 0);
