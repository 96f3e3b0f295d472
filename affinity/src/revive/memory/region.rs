//! The flat memory of a store. The only file of this room that turns addresses into references.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::layout::{
    Chunk, Geometry, ShardHead, StoreError, StoreHeader, ALIGN, FORMAT, MAGIC, MIN_SIZE,
};
use super::slot::Slot;
use crate::table::memory::layout;
use crate::table::memory::region::slice;

/// A mapped region that holds a store. A copy of the geometry stands beside the address: the region's header
/// is read once, and checked.
#[derive(Clone, Copy)]
pub(super) struct Region {
    base: NonNull<u8>,
    geometry: Geometry,
}

// SAFETY: a region owns nothing of a thread. What is behind `base` is atomics and process-shared mutexes, and
// stays mapped for all threads of the process (condition 2 of `create` and `attach`).
unsafe impl Send for Region {}

// SAFETY: a shared region gives access to atomics and process-shared mutexes only, which many threads of many
// processes may use at once.
unsafe impl Sync for Region {}

impl Region {
    /// Lays out an empty store.
    ///
    /// # Safety
    /// 1. `base` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this region or a copy of it is used.
    /// 3. Nothing else uses them until this returns; after that, only regions of this store do.
    /// 4. All of them are zero.
    pub(super) unsafe fn create(base: NonNull<u8>, len: usize) -> Result<Region, StoreError> {
        check_place(base, len)?;
        let geometry = Geometry::fitting(len)?;
        let region = Region { base, geometry };
        // SAFETY: condition 3: nothing uses the region, and so its locks, yet.
        unsafe { region.init_locks() }?;
        let header = region.header();
        header.format.store(FORMAT, Ordering::Relaxed);
        header.shards.store(geometry.shards, Ordering::Relaxed);
        header.slots.store(geometry.slots, Ordering::Relaxed);
        header.chunks.store(geometry.chunks, Ordering::Relaxed);
        header.size.store(geometry.size as u64, Ordering::Relaxed);
        Ok(region)
    }

    /// Makes the locks of all shards.
    ///
    /// # Safety
    /// No process uses or holds one of them until this returns.
    pub(super) unsafe fn init_locks(&self) -> Result<(), StoreError> {
        // SAFETY: the condition of this function.
        let mut made = self.heads().iter().map(|head| unsafe { head.lock.init() });
        made.try_for_each(|made| made).map_err(StoreError::Lock)
    }

    /// Says that the region holds a store. After `create` and the lists of free chunks.
    pub(super) fn publish(&self) {
        self.header().magic.store(MAGIC, Ordering::Release);
    }

    /// Finds the store in a region. Whatever the region's bytes are, no use of the result goes out of it.
    ///
    /// # Safety
    /// 1. `base` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this region or a copy of it is used.
    /// 3. If they hold a store, `create` made it, and only regions of this store have written to it since.
    pub(super) unsafe fn attach(base: NonNull<u8>, len: usize) -> Result<Region, StoreError> {
        check_place(base, len)?;
        // SAFETY: at least `MIN_SIZE` bytes are mapped (condition 1), and `base` is aligned (both are checked
        // by `check_place`). The header is atomics, for which all bytes are valid.
        let header = unsafe { base.cast::<StoreHeader>().as_ref() };
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(StoreError::NotAStore);
        }
        if header.format.load(Ordering::Relaxed) != FORMAT {
            return Err(StoreError::Format);
        }
        let geometry = Geometry::new(
            header.shards.load(Ordering::Relaxed),
            header.slots.load(Ordering::Relaxed),
            header.chunks.load(Ordering::Relaxed),
        )
        .filter(|geometry| {
            geometry.size <= len && header.size.load(Ordering::Relaxed) == geometry.size as u64
        })
        .ok_or(StoreError::Geometry)?;
        Ok(Region { base, geometry })
    }

    #[inline]
    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(super) fn header(&self) -> &StoreHeader {
        // SAFETY: `create` or `attach` has checked place and size; the header is atomics.
        unsafe { self.base.cast::<StoreHeader>().as_ref() }
    }

    pub(super) fn heads(&self) -> &[ShardHead] {
        let shards = self.geometry.shards as usize;
        // SAFETY: 1. and 2. `Geometry` places that many heads behind the header; 3. they are atomics and a
        // mutex, which is used only after `create`.
        unsafe { self.slice(size_of::<StoreHeader>(), shards) }
    }

    pub(super) fn slots(&self, shard: usize) -> &[Slot] {
        // SAFETY: 1. and 2. `Geometry` places so many slots of each shard there; 3. they are atomics.
        unsafe { self.row(self.geometry.slots_at, shard, self.geometry.slots) }
    }

    /// The filter of all shards.
    #[inline]
    pub(super) fn filter(&self) -> &[AtomicU64] {
        // SAFETY: 1. and 2. `Geometry` places so many words there; 3. they are atomics.
        unsafe { self.slice(self.geometry.filter_at, self.geometry.filter_words) }
    }

    pub(super) fn links(&self, shard: usize) -> &[AtomicU32] {
        // SAFETY: 1. and 2. `Geometry` places so many links of each shard there; 3. they are atomics.
        unsafe { self.row(self.geometry.links_at, shard, self.geometry.chunks) }
    }

    pub(super) fn chunks(&self, shard: usize) -> &[Chunk] {
        // SAFETY: 1. and 2. `Geometry` places so many chunks of each shard there; 3. they are atomics.
        unsafe { self.row(self.geometry.chunks_at, shard, self.geometry.chunks) }
    }

    /// The part of one shard in an array for all shards; empty if there is no such shard.
    ///
    /// # Safety
    /// 1. `count` values of `T` for each shard that begin at `offset` end within the size of the geometry.
    /// 2. `offset` is a multiple of `ALIGN`.
    /// 3. All bytes are valid for `T`, and `T` allows changes by other processes (atomics).
    #[inline]
    unsafe fn row<T>(&self, offset: usize, shard: usize, count: u32) -> &[T] {
        let (shards, count) = (self.geometry.shards as usize, count as usize);
        // SAFETY: conditions 1 to 3 are those of this function.
        let all: &[T] = unsafe { self.slice(offset, shards * count) };
        all.get(shard * count..).and_then(|rest| rest.get(..count)).unwrap_or_default()
    }

    /// # Safety
    /// 1. to 3. of [`slice`], with the size of the geometry.
    #[inline]
    unsafe fn slice<T>(&self, offset: usize, count: usize) -> &[T] {
        const { assert!(ALIGN == layout::ALIGN) };
        // SAFETY: 1. to 3. are those of this function. 4. `create` or `attach` has checked that the geometry ends
        // within the mapped bytes, which stay mapped (condition 2 of both), and that `base` is aligned.
        unsafe { slice(self.base, self.geometry.size, offset, count) }
    }
}

fn check_place(base: NonNull<u8>, len: usize) -> Result<(), StoreError> {
    if base.as_ptr().addr() % ALIGN != 0 {
        return Err(StoreError::Misaligned);
    }
    if len < MIN_SIZE {
        return Err(StoreError::TooSmall);
    }
    Ok(())
}
