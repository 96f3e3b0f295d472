//! The former memory of a zone, mapped a second time: old workers still use and change it.

use core::{iter, ptr};

use affinity::table::Table;
use nginx_sys::{ngx_cycle, ngx_list_part_t, ngx_shm_zone_t};

use crate::storage::Mapping;
use crate::zone::records::{self, Records};
use crate::zone::region::{map_again, table_in};

/// The memory of a zone before a reload, or an upgrade of nginx's binary, gave it new memory. Workers of former
/// configurations use it until their last stream has ended. This mapping of the same pages shows the sessions
/// that they learn, refresh, move and remove.
pub(super) struct Former {
    pub(super) table: Table,
    pub(super) records: Records,
    _pages: Mapping,
}

impl Former {
    /// Maps the memory of a zone of the running configuration.
    ///
    /// # Safety
    /// `shm` is a zone of the running configuration of this process.
    pub(super) unsafe fn map(shm: &ngx_shm_zone_t) -> Option<Former> {
        // SAFETY: `shm` is a zone of the running configuration.
        unsafe { Former::of(map_again(shm)?) }
    }

    /// # Safety
    /// All processes that use the memory do so by this module.
    pub(super) unsafe fn of(pages: Mapping) -> Option<Former> {
        // SAFETY: the condition of this function. The pages are kept beside what is in them.
        unsafe {
            let (table, records) = (table_in(&pages)?, records::attach(&pages));
            Some(Former { table, records, _pages: pages })
        }
    }
}

/// The running configuration's zone of the same name, if that has other memory of nginx.
///
/// # Safety
/// Called while nginx initialises the zones of a new configuration.
pub(super) unsafe fn former_zone<'a>(shm: &ngx_shm_zone_t) -> Option<&'a ngx_shm_zone_t> {
    let is_it = |old: &&ngx_shm_zone_t| {
        old.shm.name == shm.shm.name && !ptr::eq(old.shm.addr, shm.shm.addr)
    };
    // SAFETY: the condition of this function.
    unsafe { running_zones() }.find(is_it)
}

/// The zones of the running configuration.
///
/// # Safety
/// Called while nginx initialises the zones of a new configuration.
pub(super) unsafe fn running_zones<'a>() -> impl Iterator<Item = &'a ngx_shm_zone_t> {
    // SAFETY: `ngx_cycle` is the running configuration until the new one is complete; its zones stay mapped
    // until then.
    unsafe {
        let first: *const ngx_list_part_t = &raw const (*ngx_cycle).shared_memory.part;
        let parts = iter::successors(first.as_ref(), |part| part.next.as_ref());
        parts.flat_map(|part| {
            (0..part.nelts).map(|index| &*part.elts.cast::<ngx_shm_zone_t>().add(index))
        })
    }
}
