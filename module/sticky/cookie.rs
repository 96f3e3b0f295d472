//! The cookie that tells a client's browser which server it was.

use core::ptr;

use nginx_sys::{
    ngx_http_cookie_time, ngx_http_request_t, ngx_list_push, ngx_pnalloc, ngx_str_t,
    ngx_table_elt_t, time_t,
};

use crate::peers;
use crate::values::{OutOfMemory, Value};

/// What `sticky cookie` says of it.
pub struct Cookie {
    /// `NAME=`.
    pub name: Vec<u8>,
    pub expires: Expires,
    pub domain: Option<Value>,
    pub samesite: Option<Value>,
    /// `; httponly; secure`, or parts of it.
    pub flags: Vec<u8>,
    /// `; path=PATH`, or nothing.
    pub path: Vec<u8>,
}

/// When it ends.
pub enum Expires {
    /// With the client's session.
    Session,
    /// So many seconds from now; the text is `; max-age=SECONDS`.
    After(time_t, String),
    /// As late as nginx can say.
    Max,
}

/// What `samesite` may be, in any case.
pub const SAMESITE: [&[u8]; 3] = [b"strict", b"lax", b"none"];

const MAX: &[u8] = b"; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000";

/// Room for nginx's `Thu, 31-Dec-37 23:55:55 GMT`, with a year of any length.
const MAX_TIME: usize = 64;

impl Cookie {
    /// Puts the cookie into the response's headers, or into the place that it has there.
    ///
    /// # Safety
    /// `r` is a live request; `header` is null, or what this function has put there before.
    pub unsafe fn set(
        &self,
        r: *mut ngx_http_request_t,
        header: &mut *mut ngx_table_elt_t,
        id: &[u8],
    ) -> Result<(), OutOfMemory> {
        const NAME: &str = "Set-Cookie";

        // SAFETY: the request is live; nginx's list gives room for an element, all of which is
        // written before it is read.
        unsafe {
            let value = self.text(r, id)?;
            if header.is_null() {
                let new = ngx_list_push(&raw mut (*r).headers_out.headers);
                let new = new.cast::<ngx_table_elt_t>();
                if new.is_null() {
                    return Err(OutOfMemory);
                }
                new.write(core::mem::zeroed());
                (*new).key = ngx_str_t { len: NAME.len(), data: NAME.as_ptr().cast_mut() };
                *header = new;
            }
            (**header).hash = 1;
            (**header).value = value;
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
                    let end = ngx_http_cookie_time(time.as_mut_ptr(), peers::now() + seconds);
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
            for part in parts {
                ptr::copy_nonoverlapping(part.as_ptr(), end, part.len());
                end = end.add(part.len());
            }
            Ok(ngx_str_t { len, data: text })
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
