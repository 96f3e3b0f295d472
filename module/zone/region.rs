//! What lies where in the memory of a zone, and how a later configuration finds it.
//!
//! The memory begins with a [`Header`]; behind it are the table, the [`Notes`], and the records of sessions if those are
//! revived. nginx's own memory of the zone has only a note of where that is.

use core::ptr::{self, NonNull};

use affinity::file::{classify, Description, Header, Lives, Mine, Refusal, Verdict};
use affinity::revive::Store;
use affinity::table::Table;
use nginx_sys::{ngx_shm_zone_t, ngx_slab_alloc, ngx_slab_pool_t};

use crate::storage::clock::boot;
use crate::storage::file::Identity;
use crate::storage::memory::Memory;
use crate::storage::Mapping;
use crate::zone::notes::{Notes, LAYOUT};
use crate::zone::size::{min_size, records_at, table_len};

/// In nginx's memory of a zone: the module's memory, as the master has mapped it. A configuration of the same
/// master finds it here, also if its module was built later.
#[repr(C)]
struct Place {
    magic: u64,
    address: NonNull<u8>,
    len: usize,
    /// Of its file; zeros if there is none.
    identity: Identity,
}

/// The mark of a [`Place`].
const MAGIC: u64 = u64::from_be_bytes(*b"sticky\0\x05");

/// Notes the module's memory in nginx's memory of the zone. Does nothing if that is full.
///
/// # Safety
/// `shm` is mapped, nginx has made its slab pool, and the running configuration of this process is that of
/// `shm`, or becomes it.
pub(super) unsafe fn note_place(shm: &ngx_shm_zone_t, memory: &Memory) {
    let pages = memory.pages();
    let (magic, address, len) = (MAGIC, pages.address(), pages.len());
    let noted = Place { magic, address, len, identity: memory.identity().unwrap_or_default() };
    // SAFETY: a mapped zone begins with its slab pool, which returns memory of this size or null. A place
    // that is there already is used by masters only, and this is the one.
    unsafe {
        let pool = &mut *shm.shm.addr.cast::<ngx_slab_pool_t>();
        if let Some(place) = place_of(shm) {
            place.write(noted);
            return;
        }
        let place = ngx_slab_alloc(pool, size_of::<Place>()).cast::<Place>();
        if !place.is_null() {
            place.write(noted);
            pool.data = place.cast();
        }
    }
}

/// The place in a zone, if it has one.
///
/// # Safety
/// `shm` is mapped.
unsafe fn place_of(shm: &ngx_shm_zone_t) -> Option<*mut Place> {
    if shm.shm.addr.is_null() || shm.shm.size < min_size() {
        return None;
    }
    // SAFETY: every zone begins with a slab pool. The pool's `data` is used only if it is aligned, points into
    // the zone with room for a `Place`, and has the mark of this module there.
    unsafe {
        let noted = (*shm.shm.addr.cast::<ngx_slab_pool_t>()).data as usize;
        let offset = noted.checked_sub(shm.shm.addr as usize)?;
        let has_room = offset.checked_add(size_of::<Place>())? <= shm.shm.size;
        if !has_room || offset % align_of::<Place>() != 0 {
            return None;
        }
        let place = shm.shm.addr.add(offset).cast::<Place>();
        ((&raw const (*place).magic).read() == MAGIC).then_some(place)
    }
}

/// Another mapping of the module's memory of a zone, if it has one.
///
/// # Safety
/// `shm` is a zone of the running configuration of this process.
pub(super) unsafe fn map_again(shm: &ngx_shm_zone_t) -> Option<Mapping> {
    // SAFETY: what a `Place` names stays mapped as long as its configuration lives.
    unsafe {
        let place = place_of(shm)?;
        Mapping::again((*place).address, (*place).len)
    }
}

/// The file of a zone, if it has one.
///
/// # Safety
/// `shm` is mapped.
pub(super) unsafe fn identity_of(shm: &ngx_shm_zone_t) -> Option<Identity> {
    // SAFETY: `place_of` has checked that this is a `Place`.
    unsafe {
        place_of(shm).map(|place| (*place).identity).filter(|&file| file != Identity::default())
    }
}

/// The header of a mapped memory.
pub(super) fn header_of(pages: &Mapping) -> &Header {
    // SAFETY: a memory is longer than a header, and mapped as long as `pages` lives. Only this module writes
    // to it.
    unsafe { Header::at(pages.address()) }
}

/// The layout of what is behind the table, in a memory with records.
const LAYOUT_WITH_RECORDS: u64 = LAYOUT | (Store::FORMAT as u64) << 32;

/// The memory of a zone of `size` bytes, as this process would make it, with so many bytes for records.
pub(super) fn mine(size: usize, records: usize) -> Mine {
    let table_len = table_len(size);
    let (size, notes) = match records {
        0 => (size, LAYOUT),
        _ => (records_at(table_len) + records, LAYOUT_WITH_RECORDS),
    };
    Mine { boot: boot(), size: size as u64, table_len: table_len as u64, notes }
}

/// The start and the length of the records in a mapped memory that describes itself so. In a memory of another layout
/// there may be something else.
pub(super) fn records_place(
    pages: &Mapping,
    description: &Description,
) -> Option<(NonNull<u8>, usize)> {
    if description.notes != LAYOUT_WITH_RECORDS {
        return None;
    }
    let at = records_at(usize::try_from(description.table_len).ok()?);
    let len = usize::try_from(description.size).ok()?.checked_sub(at)?;
    let fits = at.checked_add(len)? <= pages.len();
    // SAFETY: within the mapping.
    fits.then(|| (unsafe { pages.address().add(at) }, len))
}

/// How a mapped memory describes itself; `None` if it is damaged.
pub(super) fn describe(pages: &Mapping) -> Result<Option<Description>, Refusal> {
    let mut start = [0; Header::READ];
    let len = pages.len().min(start.len());
    // SAFETY: so many bytes are mapped. Others may write to words that are not looked at.
    unsafe { ptr::copy_nonoverlapping(pages.address().as_ptr(), start.as_mut_ptr(), len) };
    Description::read(start.get(..len).unwrap_or_default())
}

/// What to do with a mapped memory.
pub(super) fn judge(pages: &Mapping, mine: &Mine, lives: Lives) -> Result<Verdict, Refusal> {
    classify(describe(pages)?.as_ref(), mine, lives)
}

/// The table in a mapped memory, if it is whole and of this version's format.
///
/// # Safety
/// All processes that use the memory do so by this module, and no other module of this process.
pub(super) unsafe fn table_in(pages: &Mapping) -> Option<Table> {
    let (start, len) = table_place(pages)?;
    // SAFETY: so many bytes are mapped there, and only handles of this table write to them.
    unsafe { Table::attach(start, len).ok() }
}

/// The start and the length of the table in a mapped memory, if this version reads its format.
pub(super) fn table_place(pages: &Mapping) -> Option<(NonNull<u8>, usize)> {
    let description = describe(pages).ok()??;
    let len = usize::try_from(description.table_len).ok()?;
    let fits = len <= pages.len().checked_sub(Header::LEN)?;
    // SAFETY: within the mapping.
    let start = unsafe { pages.address().add(Header::LEN) };
    (fits && Table::reads(description.table_format)).then_some((start, len))
}

/// The notes behind a table of so many bytes.
pub(super) fn notes_at(pages: &Mapping, table_len: usize) -> Option<NonNull<Notes>> {
    let offset = Header::LEN.checked_add(table_len)?;
    let fits = offset.checked_add(size_of::<Notes>())? <= pages.len();
    // SAFETY: within the mapping.
    let notes = fits.then(|| unsafe { pages.address().add(offset) }.cast::<Notes>())?;
    notes.is_aligned().then_some(notes)
}
