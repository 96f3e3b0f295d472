//! The size of a zone, and the part of it for the table.

use core::iter;

use affinity::file::Header;
use affinity::table::Table;
use nginx_sys::{ngx_pagesize, ngx_parse_size};

use crate::nginx::pool::string;
use crate::zone::notes::Notes;

/// nginx's own minimum for zones, in pages.
pub(super) const MIN_PAGES: usize = 8;

/// The smallest zone, in bytes.
pub fn min_size() -> usize {
    // SAFETY: a plain word, set when nginx starts.
    MIN_PAGES * unsafe { ngx_pagesize }
}

/// Whether a text is a size in nginx's units: `1m`.
pub(super) fn is_size(text: &[u8]) -> bool {
    // SAFETY: nginx only reads the string, which lives during the call.
    unsafe { ngx_parse_size(&mut string(text)) > 0 }
}

/// The smallest size of a zone, in bytes of whole pages, that has `cells` cells for servers; `None` if no
/// size has.
pub(super) fn size_with_cells(cells: usize) -> Option<usize> {
    // SAFETY: a plain word, set when nginx starts.
    let page = unsafe { ngx_pagesize };
    let len = Table::len_with_cells(cells)?;
    let enough = (MIN_PAGES..).map(|pages| pages * page).find(|size| table_len(*size) >= len)?;
    // `len` is not rounded to pages: a zone with fewer pages may have enough cells, too.
    let smaller = |size: &usize| size.checked_sub(page).filter(|size| *size >= min_size());
    let has_room = |size: &usize| Table::cells_in(table_len(*size)) >= cells;
    iter::successors(Some(enough), smaller).take_while(has_room).last()
}

/// Where the records of sessions begin in a memory whose table has so many bytes: behind the [`Notes`].
pub(super) fn records_at(table_len: usize) -> usize {
    (Header::LEN + table_len + size_of::<Notes>()).next_multiple_of(Header::LEN)
}

/// The length of the table in a zone of `size` bytes: all but the header and the [`Notes`].
pub(super) fn table_len(size: usize) -> usize {
    let len = size.saturating_sub(Header::LEN + size_of::<Notes>());
    len - len % Table::ALIGN
}
