//! The module's region in the pages of a zone: [`Notes`], and the table behind them.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use affinity::table::Table;
use nginx_sys::{ngx_shm_zone_t, ngx_slab_pool_t};

use crate::zone::notes::{Notes, MAGIC};
use crate::zone::size::min_size;

/// The table in a zone that is mapped at `address`, if the zone has one of this module.
///
/// # Safety
/// `shm` is a zone of a live configuration, `address` a mapping of it.
pub(super) unsafe fn table_in(shm: &ngx_shm_zone_t, address: *mut u8) -> Option<Table> {
    if address.is_null() || shm.shm.addr.is_null() || shm.shm.size < min_size() {
        return None;
    }
    // SAFETY: every zone begins with a slab pool. The pool's `data` (an address in the first mapping) is used
    // only if it is aligned, points into the zone with room for `Notes`, and has the mark of this module
    // there.
    unsafe {
        let noted = (*shm.shm.addr.cast::<ngx_slab_pool_t>()).data as usize;
        let offset = noted.checked_sub(shm.shm.addr as usize)?;
        let room = shm.shm.size.checked_sub(offset)?.checked_sub(size_of::<Notes>())?;
        if offset % align_of::<Notes>() != 0 {
            return None;
        }
        let notes = address.add(offset).cast::<Notes>();
        if (*notes).magic.load(Ordering::Relaxed) != MAGIC {
            return None;
        }
        let len = usize::try_from((*notes).table_len.load(Ordering::Relaxed)).ok()?;
        if len > room {
            return None;
        }
        Table::attach(NonNull::new(notes.add(1))?.cast(), len).ok()
    }
}
