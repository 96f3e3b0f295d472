//! A value that is one header and nothing else, read from nginx's list of headers.

use affinity::mcp::trim;
use nginx_sys::{ngx_hash_key, ngx_int_t, ngx_uint_t};

use super::words::only_variable;
use crate::nginx;
use crate::nginx::conf::Conf;
use crate::nginx::headers::Header;
use crate::nginx::request::Request;

/// A value that is one header and nothing else.
pub(super) struct HeaderValue {
    pub(super) list: HeaderList,
    /// In lower case with hyphens.
    name: Vec<u8>,
    /// The first byte of a header's name, with the bits of `mask` set: the bit between upper and lower case,
    /// or all bits where a hyphen may be an underscore.
    first: u8,
    mask: u8,
    /// nginx's hash of the name.
    hash: ngx_uint_t,
    /// The variable's index, for [`Value::confirm`](crate::conf::value::Value::confirm).
    pub(super) index: ngx_int_t,
}

#[derive(Clone, Copy)]
pub(super) enum HeaderList {
    Request,
    Response,
    Upstream,
}

/// Prefixes of variables that nginx looks up in a list of headers.
pub(super) const LISTS: [(&[u8], HeaderList); 3] = [
    (b"http_", HeaderList::Request),
    (b"sent_http_", HeaderList::Response),
    (b"upstream_http_", HeaderList::Upstream),
];

impl HeaderValue {
    /// `$http_NAME` or `${http_NAME}`, and so on.
    pub(super) fn parse(cf: &mut Conf<'_>, text: &[u8]) -> Option<HeaderValue> {
        let variable = only_variable(text)?;
        let (prefix, list) = LISTS.iter().find(|(prefix, _)| variable.starts_with(prefix))?;
        let mut name = variable[prefix.len()..].to_vec();
        name.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
        let mask = if *name.first()? == b'-' { 0xff } else { 0x20 };
        let first = *name.first()? | mask;
        // SAFETY: nginx reads `len` bytes of the name.
        let hash = unsafe { ngx_hash_key(name.as_mut_ptr(), name.len()) };
        let index = cf.variable(&variable).ok()?;
        Some(HeaderValue { list: *list, name, first, mask, hash, index })
    }

    /// The value of the header's first line that is not empty; empty without one. A response's value is
    /// trimmed. `None` if a request has more lines: nginx's variable decides then (it joins them from nginx
    /// 1.23 on).
    // Out of line: inlined, the loop would share its registers with the caller.
    #[inline(never)]
    pub(super) fn find<'r>(&self, r: Request<'r>) -> Option<&'r [u8]> {
        let mut headers = match self.list {
            HeaderList::Request => r.headers_in(),
            HeaderList::Response => r.headers_out(),
            HeaderList::Upstream => match r.upstream() {
                Some(upstream) => upstream.headers_in(),
                None => return Some(&[]),
            },
        };
        // The length or the first byte rules out nearly all other headers.
        let is_it = |header: &Header<'_>| {
            header.is_like(self.name.len(), self.mask, self.first) && self.is_name_of(*header)
        };
        let Some(found) = headers.find(|header| is_it(header) && !header.value().is_empty()) else {
            return Some(&[]);
        };
        match self.list {
            HeaderList::Request if headers.any(|header| is_it(&header)) => None,
            HeaderList::Request => Some(found.value()),
            HeaderList::Response | HeaderList::Upstream => Some(trim(found.value())),
        }
    }

    /// Whether a header has this name; its name has the right length.
    #[inline(always)]
    fn is_name_of(&self, header: Header<'_>) -> bool {
        let has_it = |name: &[u8]| nginx::is_same(name, &self.name);
        header.hash() == self.hash && header.lowcase_name().is_some_and(has_it)
            || self.is_alike(header)
    }

    /// Compares a name as nginx's variables do: any case, and an underscore for a hyphen.
    #[cold]
    #[inline(never)]
    fn is_alike(&self, header: Header<'_>) -> bool {
        !header.is_deleted()
            && header.name().iter().zip(&self.name).all(|(&byte, &name)| match byte {
                b'_' => name == b'-',
                byte => byte.to_ascii_lowercase() == name,
            })
    }
}
