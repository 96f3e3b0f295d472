//! The cookie that tells a client's browser which server it was.

use core::ptr;

use nginx_sys::{
    ngx_http_cookie_time, ngx_http_request_t, ngx_list_part_t, ngx_pnalloc, ngx_str_t,
    ngx_table_elt_t,
};

use crate::conf::method::{Cookie, Expires};
use crate::conf::value::{OutOfMemory, Value};
use crate::nginx;
use crate::nginx::send;

/// What `samesite` may be, in any case.
pub const SAMESITE: [&[u8]; 3] = [b"strict", b"lax", b"none"];

const MAX: &[u8] = b"; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000";

/// Room for nginx's `Thu, 31-Dec-37 23:55:55 GMT`, with a year of any length.
const MAX_TIME: usize = 64;

impl Cookie {
    /// Puts the cookie into the response's headers, or into the place that it has there.
    ///
    /// # Safety
    /// `r` is a live request, `told` of it.
    pub unsafe fn set(
        &self,
        r: *mut ngx_http_request_t,
        told: &mut Told,
        id: &[u8],
    ) -> Result<(), OutOfMemory> {
        // SAFETY: by this function's contract.
        unsafe {
            let value = self.text(r, id)?;
            match told.find(r) {
                Some(header) => (header.hash, header.value) = (1, value),
                None => add(r, value)?,
            }
            told.0 = value;
        }
        Ok(())
    }

    /// # Safety
    /// `r` is a live request.
    unsafe fn text(&self, r: *mut ngx_http_request_t, id: &[u8]) -> Result<ngx_str_t, OutOfMemory> {
        // SAFETY: by this function's contract.
        let (domain, samesite) = unsafe { (eval(&self.domain, r)?, eval(&self.samesite, r)?) };
        let mut time = [0; MAX_TIME];
        let expires: [&[u8]; 3] = match &self.expires {
            Expires::Session => [b"", b"", b""],
            Expires::Max => [MAX, b"", b""],
            Expires::After(seconds, max_age) => {
                // SAFETY: nginx writes the time there, and returns its end.
                let len = unsafe {
                    let end = ngx_http_cookie_time(time.as_mut_ptr(), nginx::seconds() + seconds);
                    end.offset_from(time.as_ptr()) as usize
                };
                [b"; expires=", time.get(..len).unwrap_or_default(), max_age.as_bytes()]
            }
        };
        let domain: [&[u8]; 2] =
            if domain.is_empty() { [b"", b""] } else { [b"; domain=", domain] };
        let samesite: [&[u8]; 2] = match samesite {
            b"" => [b"", b""],
            word if is_samesite(word) => [b"; samesite=", word],
            _ => [b"; samesite=", SAMESITE[0]],
        };
        let parts: [&[u8]; 11] = [
            &self.name,
            id,
            expires[0],
            expires[1],
            expires[2],
            domain[0],
            domain[1],
            &self.flags,
            samesite[0],
            samesite[1],
            &self.path,
        ];
        // SAFETY: the pool gives room for all parts, or null.
        unsafe {
            let len = parts.iter().map(|part| part.len()).sum();
            let text = ngx_pnalloc((*r).pool, len).cast::<u8>();
            if text.is_null() {
                return Err(OutOfMemory);
            }
            let mut end = text;
            // Most are empty.
            for part in parts.into_iter().filter(|part| !part.is_empty()) {
                ptr::copy_nonoverlapping(part.as_ptr(), end, part.len());
                end = end.add(part.len());
            }
            Ok(ngx_str_t { len, data: text })
        }
    }
}

/// # Safety
/// `r` is a live request, `value` lives as long.
unsafe fn add(r: *mut ngx_http_request_t, value: ngx_str_t) -> Result<(), OutOfMemory> {
    // SAFETY: by this function's contract.
    unsafe { send::add_header(r, "Set-Cookie", value) }.map_err(|_| OutOfMemory)
}

/// The value of our header among those of a request's response; empty if there is none.
///
/// The header itself is looked up by it each time: nginx may empty the list of headers and fill its
/// elements with others (`ngx_http_clean_header`).
#[derive(Clone, Copy)]
pub struct Told(ngx_str_t);

impl Told {
    pub const NOTHING: Told = Told(ngx_str_t::empty());

    /// # Safety
    /// `r` is the live request that the cookie was set for; so it is in all that follows.
    unsafe fn find<'a>(&self, r: *mut ngx_http_request_t) -> Option<&'a mut ngx_table_elt_t> {
        if self.0.is_empty() {
            return None;
        }
        // SAFETY: by this function's contract; nginx's lists hold `nelts` elements in each part. The
        // text is this module's, so that no other header has it for a value.
        unsafe {
            let mut part: *const ngx_list_part_t = &raw const (*r).headers_out.headers.part;
            while let Some(list) = part.as_ref() {
                let first = list.elts.cast::<ngx_table_elt_t>();
                for place in 0..list.nelts {
                    let header = &mut *first.add(place);
                    if ptr::eq(header.value.data, self.0.data) {
                        return Some(header);
                    }
                }
                part = list.next;
            }
        }
        None
    }

    /// Whether the response has the header.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn is_there(&self, r: *mut ngx_http_request_t) -> bool {
        // SAFETY: by this function's contract.
        unsafe { self.find(r).is_some_and(|header| header.hash != 0) }
    }

    /// Takes the header out of the response, of which nothing more is known here.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn hide(&self, r: *mut ngx_http_request_t) {
        // SAFETY: by this function's contract.
        if let Some(header) = unsafe { self.find(r) } {
            header.hash = 0;
        }
    }

    /// Takes the header out of the response.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn take_back(&mut self, r: *mut ngx_http_request_t) {
        // SAFETY: by this function's contract.
        match unsafe { self.find(r) } {
            Some(header) => header.hash = 0,
            None => *self = Told::NOTHING,
        }
    }

    /// Puts the header into the response again if it was taken out together with all others.
    ///
    /// # Safety
    /// As above.
    #[cfg(nginx_early_hints)]
    pub unsafe fn restore(&self, r: *mut ngx_http_request_t) -> Result<(), OutOfMemory> {
        // SAFETY: by this function's contract; the text lives as long as the request.
        unsafe {
            match self.0.is_empty() || self.find(r).is_some() {
                true => Ok(()),
                false => add(r, self.0),
            }
        }
    }
}

pub fn is_samesite(word: &[u8]) -> bool {
    SAMESITE.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// # Safety
/// `r` is a live request.
unsafe fn eval<'a>(
    value: &Option<Value>,
    r: *mut ngx_http_request_t,
) -> Result<&'a [u8], OutOfMemory> {
    match value {
        // SAFETY: by this function's contract.
        Some(value) => unsafe { value.eval(r) },
        None => Ok(b""),
    }
}
