//! How large a zone must be, and what of it the table gets.

use core::iter;

use affinity::table::Table;
use nginx_sys::{
    ngx_pagesize, ngx_pagesize_shift, ngx_parse_size, ngx_slab_page_t, ngx_slab_pool_t,
    ngx_slab_stat_t,
};

use crate::nginx::pool::string;
use crate::zone::notes::Notes;

/// nginx's own minimum for zones, in pages.
pub(super) const MIN_PAGES: usize = 8;

/// The smallest zone, in bytes.
pub fn min_size() -> usize {
    // SAFETY: set once when nginx starts.
    MIN_PAGES * unsafe { ngx_pagesize }
}

/// Whether a text is a size as nginx writes it: `1m`.
pub(super) fn is_size(text: &[u8]) -> bool {
    // SAFETY: nginx reads the string only.
    unsafe { ngx_parse_size(&mut string(text)) > 0 }
}

/// Size in bytes from which on zones have so many cells for servers, in whole pages; `None` if none
/// has.
pub(super) fn size_with_cells(cells: usize) -> Option<usize> {
    // SAFETY: set once when nginx starts.
    let page = unsafe { ngx_pagesize };
    let len = Table::len_with_cells(cells)?;
    let enough = (MIN_PAGES..).map(|pages| pages * page).find(|size| table_len(*size) >= len)?;
    // A region of any length may be that long, a zone only some.
    let smaller = |size: &usize| size.checked_sub(page).filter(|size| *size >= min_size());
    let has_room = |size: &usize| Table::cells_in(table_len(*size)) >= cells;
    iter::successors(Some(enough), smaller).take_while(has_room).last()
}

/// Bytes that the table gets of a zone of so many: all pages that nginx's slab pool gives away
/// (`ngx_slab_init`) but what holds the notes.
pub(super) fn table_len(size: usize) -> usize {
    /// Set by `ngx_init_zone_pool`.
    const MIN_SHIFT: usize = 3;
    // SAFETY: set once when nginx starts.
    let (page, page_shift) = unsafe { (ngx_pagesize, ngx_pagesize_shift) };
    let note = size_of::<ngx_slab_page_t>();
    let slot = note + size_of::<ngx_slab_stat_t>();
    let head = size_of::<ngx_slab_pool_t>() + (page_shift - MIN_SHIFT) * slot;
    let noted = size.saturating_sub(head) / (page + note);
    let start = (head + noted * note).next_multiple_of(page);
    let pages = noted.min(size.saturating_sub(start) / page);
    (pages * page).saturating_sub(size_of::<Notes>())
}
