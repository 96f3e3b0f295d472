//! A value that is one header and nothing else, read from nginx's list of headers.

use crate::nginx::{self};
use affinity::mcp::trim;
use core::slice;
use nginx_sys::{
    ngx_conf_t, ngx_hash_key, ngx_http_get_variable_index, ngx_http_request_t, ngx_int_t,
    ngx_list_part_t, ngx_str_t, ngx_table_elt_t, ngx_uint_t,
};

/// A value that is one header and nothing else.
pub(super) struct Header {
    pub(super) list: List,
    /// In lower case with hyphens.
    name: Vec<u8>,
    /// The first byte that a key must have, with the bits of the mask set: that which tells upper from
    /// lower case, or all where a hyphen may be an underscore.
    first: u8,
    mask: u8,
    /// nginx's hash of the name.
    hash: ngx_uint_t,
    /// Of the variable, for a look at what it became.
    pub(super) index: ngx_int_t,
}

#[derive(Clone, Copy)]
pub(super) enum List {
    Request,
    Response,
    Upstream,
}

/// Prefixes of variables that nginx looks up in a list of headers.
pub(super) const LISTS: [(&[u8], List); 3] = [
    (b"http_", List::Request),
    (b"sent_http_", List::Response),
    (b"upstream_http_", List::Upstream),
];

impl Header {
    /// `$http_NAME` or `${http_NAME}`, and so on.
    pub(super) fn parse(cf: &mut ngx_conf_t, text: &[u8]) -> Option<Header> {
        let variable = text.strip_prefix(b"$")?;
        let variable = match variable.strip_prefix(b"{") {
            Some(braced) => braced.strip_suffix(b"}")?,
            None => variable,
        };
        let mut variable = variable.to_ascii_lowercase();
        if !variable.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        let (prefix, list) = LISTS.iter().find(|(prefix, _)| variable.starts_with(prefix))?;
        let mut name = variable[prefix.len()..].to_vec();
        name.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
        let mask = if *name.first()? == b'-' { 0xff } else { 0x20 };
        let first = *name.first()? | mask;
        // SAFETY: nginx reads that many bytes.
        let hash = unsafe { ngx_hash_key(name.as_mut_ptr(), name.len()) };
        let mut full = ngx_str_t { len: variable.len(), data: variable.as_mut_ptr() };
        // SAFETY: nginx keeps a copy of the name.
        let index = unsafe { ngx_http_get_variable_index(cf, &mut full) };
        (index >= 0).then_some(Header { list: *list, name, first, mask, hash, index })
    }

    /// The header's value, possibly empty. Of a response the first line counts, without the blanks
    /// around it: nginx joins several from 1.23 on. `None` if a request has several, which are joined
    /// or not as this nginx does it.
    ///
    /// # Safety
    /// `r` is a live request.
    // Out of line, where it has all registers for itself.
    #[inline(never)]
    pub(super) unsafe fn find<'a>(&self, r: *mut ngx_http_request_t) -> Option<&'a [u8]> {
        // SAFETY: nginx's lists of headers hold `nelts` elements in each part, and their strings
        // live as long as the request.
        unsafe {
            let mut part: *const ngx_list_part_t = match self.list {
                List::Request => &raw const (*r).headers_in.headers.part,
                List::Response => &raw const (*r).headers_out.headers.part,
                List::Upstream if (*r).upstream.is_null() => return Some(&[]),
                List::Upstream => &raw const (*(*r).upstream).headers_in.headers.part,
            };
            let mut found: &[u8] = &[];
            while let Some(list) = part.as_ref() {
                let mut header = list.elts.cast::<ngx_table_elt_t>().cast_const();
                let end = header.add(list.nelts);
                while header < end {
                    // Nearly all others end here, by their length or by their first byte.
                    if (*header).key.len == self.name.len()
                        && *(*header).key.data | self.mask == self.first
                        && self.is_name_of(&*header)
                    {
                        if !found.is_empty() {
                            return None;
                        }
                        found = nginx::bytes(&(*header).value);
                        if !matches!(self.list, List::Request) && !found.is_empty() {
                            return Some(trim(found));
                        }
                    }
                    header = header.add(1);
                }
                part = list.next;
            }
            Some(found)
        }
    }

    /// # Safety
    /// `header` is nginx's, with a key of the name's length.
    #[inline(never)]
    unsafe fn is_name_of(&self, header: &ngx_table_elt_t) -> bool {
        // SAFETY: by this function's contract; a lower-case key is as long as the key.
        unsafe {
            if header.hash == self.hash && !header.lowcase_key.is_null() {
                let key = slice::from_raw_parts(header.lowcase_key, self.name.len());
                if nginx::is_same(key, &self.name) {
                    return true;
                }
            }
            // A hash of zero marks a header that was deleted.
            header.hash != 0 && self.is_alike(nginx::bytes(&header.key))
        }
    }

    /// As variables compare: any case, and an underscore for a hyphen.
    #[cold]
    fn is_alike(&self, key: &[u8]) -> bool {
        key.iter().zip(&self.name).all(|(&byte, &name)| match byte {
            b'_' => name == b'-',
            byte => byte.to_ascii_lowercase() == name,
        })
    }
}
