//! The former memory of a zone. Old workers still use it; a second mapping shows what they do.

use core::ptr;

use affinity::table::Table;
use nginx_sys::{ngx_cycle, ngx_list_part_t, ngx_shm_zone_t};

use crate::zone::pages::Mapping;
use crate::zone::region::table_in;

/// The memory that a zone had before it got its present one. Workers of former configurations go
/// on using it until their last stream has ended: what they learn, refresh, move and end is seen
/// through this second mapping of the same pages.
pub(super) struct Former {
    pub(super) table: Table,
    _pages: Mapping,
}

impl Former {
    /// # Safety
    /// `shm` is a zone of a live configuration.
    pub(super) unsafe fn map(shm: &ngx_shm_zone_t) -> Option<Former> {
        // SAFETY: a mapped zone of a live configuration, and another mapping of it.
        unsafe {
            let pages = Mapping::again(shm)?;
            Some(Former { table: table_in(shm, pages.address())?, _pages: pages })
        }
    }
}

/// The running configuration's zone of that name, if it has one with other memory.
///
/// # Safety
/// Called while nginx initialises the zones of a new configuration.
pub(super) unsafe fn former_zone<'a>(shm: &ngx_shm_zone_t) -> Option<&'a ngx_shm_zone_t> {
    // SAFETY: `ngx_cycle` is the running configuration until the new one is complete, and its
    // zones stay mapped as long.
    unsafe {
        let mut part: *const ngx_list_part_t = &raw const (*ngx_cycle).shared_memory.part;
        while let Some(list) = part.as_ref() {
            for i in 0..list.nelts {
                let old = &*list.elts.cast::<ngx_shm_zone_t>().add(i);
                if old.shm.name == shm.shm.name && !ptr::eq(old.shm.addr, shm.shm.addr) {
                    return Some(old);
                }
            }
            part = list.next;
        }
        None
    }
}
