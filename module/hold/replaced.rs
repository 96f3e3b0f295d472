//! Texts that are passed on instead of parts of a body. Their memory is used again when they are sent.

use core::cell::RefCell;
use core::ptr::NonNull;

use nginx_sys::{ngx_buf_t, ngx_chain_t};

use crate::nginx::request::Request;
use crate::nginx::send;

/// How many bytes of a request's texts may be unsent. nginx takes what was replaced for sent, and goes on to read from
/// the server: a client that does not read its stream loses it here.
const MOST_UNSENT: usize = 1024 * 1024;

/// A text and its buffer; it lives as long as the request's pool.
struct Part {
    buf: ngx_buf_t,
    text: Vec<u8>,
}

/// The texts of one request.
pub(super) struct Replaced {
    parts: RefCell<Vec<NonNull<Part>>>,
}

impl Replaced {
    pub(super) const fn new() -> Replaced {
        Replaced { parts: RefCell::new(Vec::new()) }
    }

    /// The text as one link of a chain; `None` if too much is unsent, or memory is short.
    pub(super) fn link(&self, r: Request<'_>, text: Vec<u8>, is_last: bool) -> Option<ngx_chain_t> {
        let mut parts = self.parts.borrow_mut();
        // SAFETY: the parts live as long as the request, and only this function makes references to them. The bytes that
        // are not sent are from `pos` to `last`.
        let unsent = |part: &NonNull<Part>| unsafe {
            let buf = &(*part.as_ptr()).buf;
            buf.last.offset_from(buf.pos) as usize
        };
        if parts.iter().map(unsent).sum::<usize>() + text.len() > MOST_UNSENT {
            return None;
        }
        let free = parts.iter().copied().find(|part| unsent(part) == 0);
        let part = match free {
            Some(part) => part,
            None => {
                parts.try_reserve(1).ok()?;
                // SAFETY: a buffer is valid when zeroed.
                let part = || Part { buf: unsafe { core::mem::zeroed() }, text: Vec::new() };
                let part = NonNull::from(r.pool().make(part)?);
                parts.push(part);
                part
            }
        };
        // SAFETY: as above. nginx does not use a buffer of which all is sent.
        unsafe {
            let part = part.as_ptr();
            (*part).text = text;
            (*part).buf = send::buffer(&mut (*part).text, is_last);
            Some(ngx_chain_t { buf: &raw mut (*part).buf, next: core::ptr::null_mut() })
        }
    }
}
