//! The cookie with the id of the client's server.

use core::cell::Cell;
use core::ptr;

use affinity::status::OutOfMemory;
use nginx_sys::{ngx_http_cookie_time, ngx_str_t};

use crate::conf::method::{Cookie, Expires};
use crate::conf::value::Value;
use crate::nginx;
use crate::nginx::headers::Header;
use crate::nginx::pool::string;
use crate::nginx::request::Request;
use crate::nginx::send;

/// The values of `samesite`, in upper or lower case; the first is the default for an unknown value.
pub const SAMESITE: [&[u8]; 3] = [b"strict", b"lax", b"none"];

const MAX: &[u8] = b"; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000";

/// Room for nginx's `Thu, 31-Dec-37 23:55:55 GMT`, with a year of any length.
const MAX_TIME: usize = 64;

impl Cookie {
    /// Adds the cookie to the response's headers, or replaces its value there.
    pub fn set(&self, r: Request<'_>, header: &SetCookie, id: &[u8]) -> Result<(), OutOfMemory> {
        let value = self.text(r, id)?;
        match header.find(r) {
            // SAFETY: an element of the response's list of headers, to which no reference exists.
            Some(header) => unsafe {
                ((*header.raw()).hash, (*header.raw()).value) = (1, value);
            },
            None => add(r, value)?,
        }
        header.0.set(value);
        Ok(())
    }

    fn text(&self, r: Request<'_>, id: &[u8]) -> Result<ngx_str_t, OutOfMemory> {
        let (domain, samesite) = (eval(&self.domain, r)?, eval(&self.samesite, r)?);
        let mut time = [0; MAX_TIME];
        let expires: [&[u8]; 3] = match &self.expires {
            Expires::Session => [b"", b"", b""],
            Expires::Max => [MAX, b"", b""],
            Expires::After(seconds, max_age) => {
                // SAFETY: nginx writes at most `MAX_TIME` bytes to `time`, and returns the end.
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
        let text = r.pool().concat(&[
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
        ]);
        text.map(string).ok_or(OutOfMemory)
    }
}

fn add(r: Request<'_>, value: ngx_str_t) -> Result<(), OutOfMemory> {
    send::add_header(r, "Set-Cookie", value)
}

/// The value of our `Set-Cookie` in a response; empty without one.
///
/// The header is looked up by its value each time: nginx may empty the list of headers and use its elements
/// for other headers (`ngx_http_clean_header`).
pub struct SetCookie(Cell<ngx_str_t>);

impl SetCookie {
    pub fn none() -> SetCookie {
        SetCookie(Cell::new(ngx_str_t::empty()))
    }

    /// The header in the response of `r`.
    fn find<'r>(&self, r: Request<'r>) -> Option<Header<'r>> {
        let text = self.0.get().data.cast_const();
        // This module has allocated the text, so no other header's value is at its address.
        let is_it = |header: &Header<'_>| ptr::eq(header.value().as_ptr(), text);
        if self.0.get().is_empty() {
            return None;
        }
        r.headers_out().find(is_it)
    }

    /// Whether the response has the header.
    pub fn is_there(&self, r: Request<'_>) -> bool {
        self.find(r).is_some_and(|header| !header.is_deleted())
    }

    /// Removes the header from the response, and keeps its value for [`Self::restore`].
    pub fn hide(&self, r: Request<'_>) {
        if let Some(header) = self.find(r) {
            header.delete();
        }
    }

    /// Removes the header from the response. If it is there no more, forgets its value.
    pub fn take_back(&self, r: Request<'_>) {
        match self.find(r) {
            Some(header) => header.delete(),
            None => self.0.set(ngx_str_t::empty()),
        }
    }

    /// Adds the header again if nginx has removed it together with all others.
    #[cfg(nginx_early_hints)]
    pub fn restore(&self, r: Request<'_>) -> Result<(), OutOfMemory> {
        match self.0.get().is_empty() || self.find(r).is_some() {
            true => Ok(()),
            false => add(r, self.0.get()),
        }
    }
}

pub fn is_samesite(word: &[u8]) -> bool {
    SAMESITE.iter().any(|known| word.eq_ignore_ascii_case(known))
}

fn eval<'r>(value: &Option<Value>, r: Request<'r>) -> Result<&'r [u8], OutOfMemory> {
    match value {
        Some(value) => value.eval(r),
        None => Ok(b""),
    }
}
