//! The cookie that tells a client's browser which server it was.

use core::cell::Cell;
use core::ptr;

use nginx_sys::{ngx_http_cookie_time, ngx_str_t};

use crate::conf::method::{Cookie, Expires};
use crate::conf::value::{OutOfMemory, Value};
use crate::nginx;
use crate::nginx::headers::Header;
use crate::nginx::pool::string;
use crate::nginx::request::Request;
use crate::nginx::send;

/// What `samesite` may be, in any case.
pub const SAMESITE: [&[u8]; 3] = [b"strict", b"lax", b"none"];

const MAX: &[u8] = b"; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000";

/// Room for nginx's `Thu, 31-Dec-37 23:55:55 GMT`, with a year of any length.
const MAX_TIME: usize = 64;

impl Cookie {
    /// Puts the cookie into the response's headers, or into the place that it has there.
    pub fn set(&self, r: Request<'_>, told: &Told, id: &[u8]) -> Result<(), OutOfMemory> {
        let value = self.text(r, id)?;
        match told.find(r) {
            // SAFETY: a header in the list of the response's; nobody else looks at it now.
            Some(header) => unsafe {
                ((*header.raw()).hash, (*header.raw()).value) = (1, value);
            },
            None => add(r, value)?,
        }
        told.0.set(value);
        Ok(())
    }

    fn text(&self, r: Request<'_>, id: &[u8]) -> Result<ngx_str_t, OutOfMemory> {
        let (domain, samesite) = (eval(&self.domain, r)?, eval(&self.samesite, r)?);
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
    send::add_header(r, "Set-Cookie", value).map_err(|_| OutOfMemory)
}

/// The value of our header among those of a request's response; empty if there is none.
///
/// The header itself is looked up by it each time: nginx may empty the list of headers and fill its
/// elements with others (`ngx_http_clean_header`).
pub struct Told(Cell<ngx_str_t>);

impl Told {
    pub fn nothing() -> Told {
        Told(Cell::new(ngx_str_t::empty()))
    }

    /// The header of the request that the cookie was set for.
    fn find<'r>(&self, r: Request<'r>) -> Option<Header<'r>> {
        let text = self.0.get().data.cast_const();
        // The text is this module's, so that no other header has it for a value.
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

    /// Takes the header out of the response, of which nothing more is known here.
    pub fn hide(&self, r: Request<'_>) {
        if let Some(header) = self.find(r) {
            header.delete();
        }
    }

    /// Takes the header out of the response.
    pub fn take_back(&self, r: Request<'_>) {
        match self.find(r) {
            Some(header) => header.delete(),
            None => self.0.set(ngx_str_t::empty()),
        }
    }

    /// Puts the header into the response again if it was taken out together with all others.
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
