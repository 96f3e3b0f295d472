//! nginx's lists of headers (`ngx_list_t` of `ngx_table_elt_t`).

use core::marker::PhantomData;
use core::ptr::NonNull;

use nginx_sys::{ngx_list_part_t, ngx_table_elt_t};

use super::bytes;

/// The headers of a list, in their order, deleted ones included.
#[derive(Clone, Copy)]
pub struct Headers<'r> {
    part: *const ngx_list_part_t,
    next: *const ngx_table_elt_t,
    end: *const ngx_table_elt_t,
    live: PhantomData<&'r ngx_table_elt_t>,
}

impl<'r> Headers<'r> {
    /// # Safety
    /// `part` is the first part of a list of `ngx_table_elt_t`. nginx frees neither the list nor the strings
    /// of its elements during `'r`.
    #[inline(always)]
    pub(super) unsafe fn new(part: *const ngx_list_part_t) -> Headers<'r> {
        // SAFETY: a part has `nelts` elements.
        let (next, end) = unsafe { bounds(part) };
        Headers { part, next, end, live: PhantomData }
    }
}

/// The first element of a part, and the end behind its last.
///
/// # Safety
/// `part` is a live part of a list of `ngx_table_elt_t`.
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
            // SAFETY: the list is alive during `'r` (condition of `new`), and its last part has a null
            // `next`.
            unsafe {
                let part = (*self.part).next.cast_const();
                if part.is_null() {
                    return None;
                }
                self.part = part;
                (self.next, self.end) = bounds(part);
            }
        }
        // SAFETY: `next` is before the end of the part, so it points to an element.
        unsafe {
            let raw = NonNull::new_unchecked(self.next.cast_mut());
            self.next = self.next.add(1);
            Some(Header { raw, live: PhantomData })
        }
    }
}

/// A header of a list.
#[derive(Clone, Copy)]
pub struct Header<'r> {
    raw: NonNull<ngx_table_elt_t>,
    live: PhantomData<&'r ngx_table_elt_t>,
}

impl<'r> Header<'r> {
    /// For changes of the header.
    pub fn raw(self) -> *mut ngx_table_elt_t {
        self.raw.as_ptr()
    }

    /// The name as it was received.
    #[inline(always)]
    pub fn name(self) -> &'r [u8] {
        // SAFETY: the element and its strings live during `'r` (condition of `Headers::new`).
        unsafe { bytes(&(*self.raw.as_ptr()).key) }
    }

    /// Whether the name has this length, and its first byte is `first` once the bits of `mask` are set in it.
    #[inline(always)]
    pub fn is_like(self, len: usize, mask: u8, first: u8) -> bool {
        // SAFETY: the element and its strings live during `'r`; nginx's parser accepts no empty name.
        unsafe {
            (*self.raw.as_ptr()).key.len == len && *(*self.raw.as_ptr()).key.data | mask == first
        }
    }

    /// Whether nginx keeps the name in lower case, and it begins with this byte.
    #[inline(always)]
    pub fn begins_with(self, first: u8) -> bool {
        // SAFETY: the element and its strings live during `'r`; nginx's parser accepts no empty name.
        unsafe {
            let name = (*self.raw.as_ptr()).lowcase_key;
            !name.is_null() && *name == first
        }
    }

    /// The name in lower case, where nginx keeps it.
    #[inline(always)]
    pub fn lowcase_name(self) -> Option<&'r [u8]> {
        // SAFETY: the element and its strings live during `'r`; this one is as long as the name.
        unsafe {
            let (name, len) = ((*self.raw.as_ptr()).lowcase_key, (*self.raw.as_ptr()).key.len);
            (!name.is_null()).then(|| core::slice::from_raw_parts(name, len))
        }
    }

    #[inline(always)]
    pub fn value(self) -> &'r [u8] {
        // SAFETY: the element and its strings live during `'r` (condition of `Headers::new`).
        unsafe { bytes(&(*self.raw.as_ptr()).value) }
    }

    /// nginx's hash of the name in lower case (1 where it computes none); zero for a deleted header.
    #[inline(always)]
    pub fn hash(self) -> usize {
        // SAFETY: a plain word of a live element.
        unsafe { (*self.raw.as_ptr()).hash }
    }

    /// Marks the header as deleted.
    #[cfg(not(nginx_own_sticky))]
    pub fn delete(self) {
        // SAFETY: a plain word of a live element.
        unsafe { (*self.raw()).hash = 0 }
    }

    pub fn is_deleted(self) -> bool {
        self.hash() == 0
    }
}
