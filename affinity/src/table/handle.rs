//! The handle of a table: how a process makes, finds and describes one.

use core::ptr::NonNull;

use super::hash::{Algorithm, Hasher};
use super::key::{Key, Kind, ADDRESS};
use super::memory::bucket::Bucket;
use super::memory::entry::Meta;
use super::memory::layout::{TableError, ALIGN, FORMAT, IDENTITY, MAGIC, MIN_SIZE, OLDER_FORMATS};
use super::memory::place::Place;
use super::memory::region::Region;
use super::memory::writer::Writer;
use super::sync::Ordering;

/// A handle of the table in a region of shared memory. Each process that uses the table has one.
/// Copies are cheap and equal.
#[derive(Clone, Copy)]
pub struct Table {
    pub(super) region: Region,
    /// The hash of addresses, with the table's own secret.
    hasher: Hasher,
    /// The hash of ids: the same, unless the ids have another secret.
    ids: Hasher,
}

impl Table {
    /// Smallest region (bytes) that holds a table.
    pub const MIN_SIZE: usize = MIN_SIZE;

    /// What the address of a region must be a multiple of.
    pub const ALIGN: usize = ALIGN;

    /// The format of a region. Tables of another one are not attached to.
    pub const FORMAT: u32 = FORMAT;

    /// Whether [`Table::reopen`] reads tables of a format.
    pub fn reads(format: u32) -> bool {
        format == FORMAT || OLDER_FORMATS.contains(&format)
    }

    /// The first bytes of a region.
    pub const MARK: [u8; 8] = MAGIC.to_ne_bytes();

    /// Bytes at the start of a region that never change: its layout and the key of its hashes.
    pub const IDENTITY: usize = IDENTITY;

    /// Makes an empty table in a region of `len` bytes. `secret` keys all hashes: 16 random bytes of the
    /// system, or the secret of a table to be imported.
    ///
    /// # Safety
    /// 1. `region` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this handle or a copy of it is used.
    /// 3. Nothing else uses them until this returns; after that, only handles of this table do.
    /// 4. All of them are zero, as memory fresh from the kernel is.
    pub unsafe fn create(
        region: NonNull<u8>,
        len: usize,
        secret: [u8; 16],
    ) -> Result<Table, TableError> {
        let algorithm = Algorithm::best();
        // SAFETY: conditions 1 to 4 are those of `Region::create`.
        let region = unsafe { Region::create(region, len, algorithm as u32, secret) }?;
        Self::new(region)
    }

    /// Finds the table that `create` has made in a region, in this process or another. The bytes
    /// of a region that holds no table, or a damaged one, lead to an error or to a table of
    /// nonsense, not out of the region; but a lock made of such bytes may never be free.
    ///
    /// # Safety
    /// 1. `region` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this handle or a copy of it is used.
    /// 3. Each process that writes to them does so by handles of this table of the same format.
    pub unsafe fn attach(region: NonNull<u8>, len: usize) -> Result<Table, TableError> {
        // SAFETY: conditions 1 to 3 are those of `Region::attach`.
        Self::new(unsafe { Region::attach(region, len) }?)
    }

    /// Finds a table as `attach` does, of which nobody knows what its processes have left: all locks are
    /// made again, and changes that have begun are finished. The costs do not depend on the number of
    /// sessions. Also for a table of an older format, which is only good for `restore`.
    ///
    /// # Safety
    /// 1. The conditions of `attach`, but for the format.
    /// 2. No process uses the region until this returns.
    pub unsafe fn reopen(region: NonNull<u8>, len: usize) -> Result<Table, TableError> {
        // SAFETY: condition 1.
        let region = unsafe { Region::attach_older(region, len, &OLDER_FORMATS) }?;
        let table = Self::new(region)?;
        // SAFETY: condition 2: no process uses or holds a lock.
        unsafe { table.region.init_locks() }.map_err(TableError::Lock)?;
        for index in 0..table.region.shard_count() as usize {
            if let Some(writer) = Writer::lock(&table.region, index) {
                writer.recover();
            }
        }
        table.unmark_servers();
        Ok(table)
    }

    /// The bytes of the region that never change.
    pub fn identity(&self) -> [u8; Table::IDENTITY] {
        self.region.identity()
    }

    fn new(region: Region) -> Result<Table, TableError> {
        let algorithm = Algorithm::from_number(region.algorithm());
        let hasher = algorithm.and_then(|algorithm| Hasher::new(algorithm, region.secret()));
        let hasher = hasher.ok_or(TableError::Format)?;
        Ok(Table { region, hasher, ids: hasher })
    }

    /// A handle that hashes ids with another secret than the table's own, by SipHash: several machines that
    /// share sessions have one secret and one hash. Sessions that the table already has are found only by a
    /// handle that hashes as before.
    pub fn with_shared_ids(self, secret: [u8; 16]) -> Table {
        let ids = Hasher::new(Algorithm::SipHash, secret);
        Table { ids: ids.unwrap_or(self.ids), ..self }
    }

    /// A handle that hashes ids with the table's own secret.
    pub fn with_own_ids(self) -> Table {
        Table { ids: self.hasher, ..self }
    }

    /// Sessions that fit in.
    pub fn capacity(&self) -> u64 {
        self.region.capacity()
    }

    /// The key of all hashes of this table.
    pub fn secret(&self) -> [u8; 16] {
        self.region.secret()
    }

    /// The key of an id. `bind` is what the id is bound to (a user, a tenant), or empty. Two different
    /// triples have the same key with a chance of 2^-64, which cannot be raised without the secret.
    #[inline]
    pub fn key(&self, kind: Kind, id: &[u8], bind: &[u8]) -> Key {
        Key(self.ids.hash(kind as u8, id, bind))
    }

    /// Whether the same key in both tables stands for the same id.
    pub(super) fn hashes_as(&self, other: &Table) -> bool {
        self.region.secret() == other.region.secret()
            && self.region.algorithm() == other.region.algorithm()
    }

    #[inline]
    pub(super) fn bucket(&self, index: u32) -> Option<Bucket<'_>> {
        self.region.buckets().get(index)
    }

    pub(super) fn writer(&self, fingerprint: u64) -> Option<Writer<'_>> {
        Writer::lock(&self.region, Place::shard(&self.region, fingerprint) as usize)
    }

    /// The print of a session's server; zero for a tombstone, and in a damaged table.
    #[inline]
    pub(super) fn print_of(&self, meta: Meta) -> u64 {
        let print = self.region.prints().get(usize::from(meta.server()));
        print.map_or(0, |print| print.load(Ordering::Relaxed))
    }

    /// The print of an address.
    pub(super) fn print(&self, address: &[u8]) -> u64 {
        self.hasher.hash(ADDRESS, address, &[]).get()
    }
}

impl core::fmt::Debug for Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Not the secret.
        f.debug_struct("Table").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
