//! The flat memory of a table. The only file that turns addresses into references.

use core::ptr::NonNull;

use super::bucket::Buckets;
use super::cell::{Cell, RecordCell};
use super::layout::{
    Geometry, Shard, TableError, TableHeader, ALIGN, COUNTERS, FORMAT, FORMAT_WITHOUT_SUMS,
    IDENTITY, MAGIC, MIN_SIZE,
};
use super::summary::SLOTS;
use crate::table::listen::ring::Note;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering};

/// A mapped region that holds a table. A copy of the geometry stands beside the address: the region's
/// header is read once, and checked.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    base: NonNull<u8>,
    geometry: Geometry,
}

// SAFETY: a region owns nothing of a thread. What is behind `base` is atomics and process-shared
// mutexes, and stays mapped for all threads of the process (condition 2 of `create` and `attach`).
unsafe impl Send for Region {}

// SAFETY: a shared region gives access to atomics and process-shared mutexes only, which many threads of
// many processes may use at once.
unsafe impl Sync for Region {}

impl Region {
    /// Lays out an empty table. Writes the header and the locks only: fresh memory costs nothing until
    /// it is used.
    ///
    /// # Safety
    /// 1. `base` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this region or a copy of it is used.
    /// 3. Nothing else uses them until this returns; after that, only regions of this table do.
    /// 4. All of them are zero.
    pub(crate) unsafe fn create(
        base: NonNull<u8>,
        len: usize,
        algorithm: u32,
        secret: [u8; 16],
    ) -> Result<Region, TableError> {
        check_place(base, len)?;
        let geometry = Geometry::fitting(len)?;
        // Zeroes are an empty table.
        let region = Region { base, geometry };
        debug_assert!(region.is_zero(), "condition 4: the memory of a new table is zero");
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
        // SAFETY: condition 3: nothing uses the region, and so its locks, yet.
        unsafe { region.init_locks() }.map_err(TableError::Lock)?;
        header.magic.store(MAGIC, Ordering::Release);
        Ok(region)
    }

    /// Finds the table in a region. Whatever the region's bytes are, no use of the result goes
    /// out of it.
    ///
    /// # Safety
    /// 1. `base` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this region or a copy of it is used.
    /// 3. If they hold a table, `create` made it, and only regions of this table have written to it
    ///    since.
    pub(crate) unsafe fn attach(base: NonNull<u8>, len: usize) -> Result<Region, TableError> {
        // SAFETY: the conditions are the same.
        unsafe { Self::attach_older(base, len, &[]) }
    }

    /// The same, also for a table of one of these older formats.
    ///
    /// # Safety
    /// The conditions of `attach`.
    pub(crate) unsafe fn attach_older(
        base: NonNull<u8>,
        len: usize,
        older: &[u32],
    ) -> Result<Region, TableError> {
        check_place(base, len)?;
        // SAFETY: at least `MIN_SIZE` bytes are mapped (condition 1), and `base` is aligned (both are
        // checked by `check_place`). The header is atomics, for which all bytes are valid.
        let header = unsafe { base.cast::<TableHeader>().as_ref() };
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(TableError::NotATable);
        }
        let format = header.format.load(Ordering::Relaxed);
        if format != FORMAT && !older.contains(&format) {
            return Err(TableError::Format);
        }
        let geometry = Geometry::new(
            header.shards.load(Ordering::Relaxed),
            header.buckets.load(Ordering::Relaxed),
            header.servers.load(Ordering::Relaxed),
        )
        .filter(|geometry| {
            geometry.size <= len && header.size.load(Ordering::Relaxed) == geometry.size as u64
        })
        .ok_or(TableError::Geometry)?;
        Ok(Region { base, geometry })
    }

    /// Whether all bytes are zero.
    fn is_zero(&self) -> bool {
        // SAFETY: 1. the words end where the geometry does; 2. 0 is aligned; 3. they are atomics.
        let words: &[AtomicU64] = unsafe { self.slice(0, self.geometry.size / 8) };
        words.iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }

    /// # Safety
    /// 1. Nothing uses the region's locks until this returns, and none of them is held.
    pub(crate) unsafe fn init_locks(&self) -> Result<(), i32> {
        // SAFETY: condition 1 of this function, for this lock.
        unsafe { self.header().servers_lock.init() }?;
        // SAFETY: condition 1 of this function, for each shard's lock.
        self.shards().iter().try_for_each(|shard| unsafe { shard.lock.init() })
    }

    /// The part of the header that never changes.
    pub(crate) fn identity(&self) -> [u8; IDENTITY] {
        // SAFETY: 1. the words end within the header; 2. 0 is aligned; 3. they are atomics.
        let words: &[AtomicU64] = unsafe { self.slice(0, IDENTITY / 8) };
        let mut bytes = [0; IDENTITY];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes
    }

    /// Whether its sessions have sums.
    pub(crate) fn has_sums(&self) -> bool {
        self.header().format.load(Ordering::Relaxed) != FORMAT_WITHOUT_SUMS
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
    pub(crate) fn header(&self) -> &TableHeader {
        // SAFETY: `Geometry` places the header at the start of the region, which `check_place` has found
        // aligned. It stays mapped (condition 2 of `create` and `attach`).
        unsafe { self.base.cast::<TableHeader>().as_ref() }
    }

    #[inline]
    pub(crate) fn shards(&self) -> &[Shard] {
        // SAFETY: 1. `Geometry` places that many shards behind the header; 2. its size is a multiple of
        // `ALIGN`; 3. a shard is atomics, and mutexes that are used by address only.
        unsafe { self.slice(size_of::<TableHeader>(), self.geometry.shards as usize) }
    }

    /// All buckets, shard by shard.
    #[inline]
    pub(crate) fn buckets(&self) -> Buckets<'_> {
        let count = self.bucket_count() as usize;
        // SAFETY: 1. and 2. `Geometry` places that many of both there; 3. both are atomics.
        unsafe {
            Buckets {
                summaries: self.slice(self.geometry.summaries_at, count),
                bodies: self.slice(self.geometry.bodies_at, count),
            }
        }
    }

    #[inline]
    pub(crate) fn cells(&self) -> &[Cell] {
        // SAFETY: 1. and 2. `Geometry` places that many cells there; 3. a cell is atomics.
        unsafe { self.slice(self.geometry.cells_at, self.geometry.servers as usize) }
    }

    /// What is known of the servers, in the order of their cells.
    #[inline]
    pub(crate) fn records(&self) -> &[RecordCell] {
        // SAFETY: 1. and 2. `Geometry` places that many records there; 3. a record is atomics.
        unsafe { self.slice(self.geometry.records_at, self.geometry.servers as usize) }
    }

    /// Prints of the servers' addresses; zero where no server begins.
    #[inline]
    pub(crate) fn prints(&self) -> &[AtomicU64] {
        // SAFETY: 1. and 2. `Geometry` places that many prints there; 3. a print is an atomic.
        unsafe { self.slice(self.geometry.prints_at, self.geometry.servers as usize) }
    }

    /// Requests sent to the servers of their sessions.
    #[inline]
    pub(crate) fn hits(&self) -> &[AtomicU64] {
        // SAFETY: 1. and 2. `Geometry` places that many counters there; 3. a counter is an atomic.
        unsafe { self.slice(self.geometry.hits_at, self.geometry.servers as usize) }
    }

    /// The servers' counters in all shards: `COUNTERS` for each server of the first shard, then
    /// those of the second.
    fn all_counts(&self) -> &[AtomicU32] {
        let count = self.geometry.shards as usize * self.geometry.servers as usize * COUNTERS;
        // SAFETY: 1. and 2. `Geometry` places that many counters there; 3. a counter is an atomic.
        unsafe { self.slice(self.geometry.counts_at, count) }
    }

    /// The servers' counters in one shard, `COUNTERS` for each server.
    pub(crate) fn counts(&self, shard: usize) -> &[AtomicU32] {
        let row = self.geometry.servers as usize * COUNTERS;
        self.all_counts().chunks_exact(row).nth(shard).unwrap_or_default()
    }

    /// The notes of one shard.
    pub(crate) fn notes(&self, shard: usize) -> &[Note] {
        let (shards, row) = (self.geometry.shards as usize, self.geometry.notes as usize);
        // SAFETY: 1. and 2. `Geometry` places that many notes there; 3. a note is atomics.
        let all: &[Note] = unsafe { self.slice(self.geometry.notes_at, shards * row) };
        all.chunks_exact(row).nth(shard).unwrap_or_default()
    }

    /// # Safety
    /// 1. to 3. of [`slice`], with the size of the geometry.
    #[inline]
    unsafe fn slice<T>(&self, offset: usize, count: usize) -> &[T] {
        // SAFETY: 1. to 3. are those of this function. 4. `create` or `attach` has checked that the geometry ends
        // within the mapped bytes, which stay mapped (condition 2 of both), and that `base` is aligned.
        unsafe { slice(self.base, self.geometry.size, offset, count) }
    }
}

/// Values in a region of shared memory.
///
/// # Safety
/// 1. `count` values of `T` that begin at `offset` end within `size`.
/// 2. `offset` is a multiple of `ALIGN`.
/// 3. All bytes are valid for `T`, and `T` allows changes by other processes (atomics).
/// 4. `size` bytes are mapped at `base`, a multiple of `ALIGN`, as long as the result is used.
#[inline]
pub(crate) unsafe fn slice<'a, T>(
    base: NonNull<u8>,
    size: usize,
    offset: usize,
    count: usize,
) -> &'a [T] {
    const { assert!(align_of::<T>() <= ALIGN) };
    debug_assert!(offset % ALIGN == 0, "condition 2");
    debug_assert!(
        count.checked_mul(size_of::<T>()).and_then(|len| len.checked_add(offset)) <= Some(size),
        "condition 1"
    );
    // SAFETY: with conditions 1 to 4 the slice is in bounds, aligned and valid.
    unsafe { core::slice::from_raw_parts(base.add(offset).cast::<T>().as_ptr(), count) }
}

fn check_place(base: NonNull<u8>, len: usize) -> Result<(), TableError> {
    if base.as_ptr().addr() % ALIGN != 0 {
        return Err(TableError::Misaligned);
    }
    if len < MIN_SIZE {
        return Err(TableError::TooSmall);
    }
    Ok(())
}
