//! nginx's lists of headers.

use core::marker::PhantomData;
use core::ptr::NonNull;

use nginx_sys::{ngx_list_part_t, ngx_table_elt_t};

use super::bytes;

/// The headers in a list of nginx's, in their order; also those that were deleted.
#[derive(Clone, Copy)]
pub struct Headers<'r> {
    part: *const ngx_list_part_t,
    next: *const ngx_table_elt_t,
    end: *const ngx_table_elt_t,
    live: PhantomData<&'r ngx_table_elt_t>,
}

impl<'r> Headers<'r> {
    /// # Safety
    /// `part` is the first part of a list of `ngx_table_elt_t` that nginx has made and does not free during
    /// `'r`, as it does not free the strings of its elements.
    #[inline(always)]
    pub(super) unsafe fn new(part: *const ngx_list_part_t) -> Headers<'r> {
        // SAFETY: a part has `nelts` elements.
        let (next, end) = unsafe { bounds(part) };
        Headers { part, next, end, live: PhantomData }
    }
}

/// # Safety
/// As for [`Headers::new`]; any part of the list.
#[inline(always)]
unsafe fn bounds(part: *const ngx_list_part_t) -> (*const ngx_table_elt_t, *const ngx_table_elt_t) {
    // SAFETY: a part has `nelts` elements.
    unsafe {
        let first = (*part).elts.cast::<ngx_table_elt_t>().cast_const();
        (first, first.add((*part).nelts))
    }
}

impl<'r> Iterator for Headers<'r> {
    type Item = Header<'r>;

    #[inline(always)]
    fn next(&mut self) -> Option<Header<'r>> {
        while self.next == self.end {
            // SAFETY: by the condition of `new`, the list goes on until a null.
            unsafe {
                let part = (*self.part).next.cast_const();
                if part.is_null() {
                    return None;
                }
                self.part = part;
                (self.next, self.end) = bounds(part);
            }
        }
        // SAFETY: before the end of the part there is one more element.
        unsafe {
            let raw = NonNull::new_unchecked(self.next.cast_mut());
            self.next = self.next.add(1);
            Some(Header { raw, live: PhantomData })
        }
    }
}

/// A header in a list of nginx's.
#[derive(Clone, Copy)]
pub struct Header<'r> {
    raw: NonNull<ngx_table_elt_t>,
    live: PhantomData<&'r ngx_table_elt_t>,
}

impl<'r> Header<'r> {
    /// For a change of the header.
    #[cfg(not(nginx_own_sticky))]
    pub fn raw(self) -> *mut ngx_table_elt_t {
        self.raw.as_ptr()
    }

    /// As it was received.
    #[inline(always)]
    pub fn name(self) -> &'r [u8] {
        // SAFETY: by the condition of `Headers::new`.
        unsafe { bytes(&(*self.raw.as_ptr()).key) }
    }

    /// Whether the name has this length, and begins with the byte `first` when the bits of `mask` are set in
    /// its own.
    #[inline(always)]
    pub fn is_like(self, len: usize, mask: u8, first: u8) -> bool {
        // SAFETY: as in `name`; a name has a byte.
        unsafe {
            (*self.raw.as_ptr()).key.len == len && *(*self.raw.as_ptr()).key.data | mask == first
        }
    }

    /// Whether nginx has the name in lower case, and it begins with this byte.
    #[inline(always)]
    pub fn begins_with(self, first: u8) -> bool {
        // SAFETY: as in `name`; a name has a byte.
        unsafe {
            let name = (*self.raw.as_ptr()).lowcase_key;
            !name.is_null() && *name == first
        }
    }

    /// In lower case, where nginx has it.
    #[inline(always)]
    pub fn lowcase_name(self) -> Option<&'r [u8]> {
        // SAFETY: as in `name`; it is as long as the name.
        unsafe {
            let (name, len) = ((*self.raw.as_ptr()).lowcase_key, (*self.raw.as_ptr()).key.len);
            (!name.is_null()).then(|| core::slice::from_raw_parts(name, len))
        }
    }

    #[inline(always)]
    pub fn value(self) -> &'r [u8] {
        // SAFETY: as in `name`.
        unsafe { bytes(&(*self.raw.as_ptr()).value) }
    }

    /// nginx's hash of the name in lower case, where it has computed one; zero for a deleted header.
    #[inline(always)]
    pub fn hash(self) -> usize {
        // SAFETY: a plain word of a live element.
        unsafe { (*self.raw.as_ptr()).hash }
    }

    /// Marks it as deleted.
    #[cfg(not(nginx_own_sticky))]
    pub fn delete(self) {
        // SAFETY: a plain word of a live element.
        unsafe { (*self.raw()).hash = 0 }
    }

    pub fn is_deleted(self) -> bool {
        self.hash() == 0
    }
}
