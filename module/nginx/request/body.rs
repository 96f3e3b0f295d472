//! The body of a request (`ngx_http_request_body_t`), as far as nginx has read it.

use core::ffi::c_uint;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_file_t, ngx_http_client_body_handler_pt, ngx_http_request_body_t,
    ngx_http_request_t, ngx_read_file, off_t,
};

use super::Request;

extern "C" {
    fn sticky_learn_is_unbuffered(r: *const ngx_http_request_t) -> c_uint;
    fn sticky_learn_stop_request_body(
        r: *mut ngx_http_request_t,
        then: ngx_http_client_body_handler_pt,
    );
}

/// How many bytes of a temporary file are read at once.
const AT_ONCE: usize = 4096;

/// The body of a live request.
#[derive(Clone, Copy)]
pub struct RequestBody<'r> {
    request: Request<'r>,
    raw: NonNull<ngx_http_request_body_t>,
}

impl<'r> Request<'r> {
    /// The body; `None` before nginx has begun to read it.
    pub fn body(self) -> Option<RequestBody<'r>> {
        // SAFETY: a plain word; the body is in the request's pool.
        let raw = unsafe { NonNull::new((*self.raw()).request_body) }?;
        Some(RequestBody { request: self, raw })
    }

    /// How long the body may be: its `Content-Length`, or of a chunked body in HTTP/1 what has arrived. The
    /// largest number if nothing is known.
    #[inline(always)]
    pub fn body_bound(self) -> u64 {
        // SAFETY: a plain word. It is -1 without a length.
        unsafe { (*self.raw()).headers_in.content_length_n as u64 }
    }
}

impl<'r> RequestBody<'r> {
    /// Whether nginx has read the whole body.
    pub fn is_complete(self) -> bool {
        // SAFETY: a plain word of a live body. It is -1 without a body.
        unsafe { (*self.raw.as_ptr()).rest <= 0 }
    }

    /// Whether nginx passes the body on while it reads it (`proxy_request_buffering off`).
    pub fn is_unbuffered(self) -> bool {
        // SAFETY: C reads a bit of the live request.
        unsafe { sticky_learn_is_unbuffered(self.request.raw()) != 0 }
    }

    /// What nginx calls when it has read the body.
    pub fn then(self) -> ngx_http_client_body_handler_pt {
        // SAFETY: a plain word of a live body.
        unsafe { (*self.raw.as_ptr()).post_handler }
    }

    /// Reads no more of the body. nginx calls `then` at once, with a body that is cut: it must end the
    /// request. The connection is closed after the answer; in HTTP/2 the stream is. To be called from a
    /// filter of request bodies, which then returns OK, and passes nothing on from now on.
    pub fn stop(self, then: ngx_http_client_body_handler_pt) {
        // SAFETY: the body's buffers live as long as the request, and nobody reads them any more. C writes
        // plain words and bits of the live request and its body.
        unsafe {
            // nginx writes to its buffer again only if what was in it is used.
            consume(self.raw.as_ref().bufs);
            sticky_learn_stop_request_body(self.request.raw(), then);
        }
    }

    /// How many bytes nginx has kept.
    pub fn kept(self) -> u64 {
        // SAFETY: plain words of a live body; its file and buffers live as long.
        unsafe {
            let body = self.raw.as_ref();
            let in_file = body.temp_file.as_ref().map_or(0, |file| file.offset);
            in_file as u64 + size(body.bufs)
        }
    }

    /// Calls `f` with each part of what nginx has kept, in order. Ends when `f` returns false, and returns
    /// what `f` has returned last; true without a part.
    pub fn each_part(self, mut f: impl FnMut(&[u8]) -> bool) -> bool {
        // SAFETY: plain words of a live body; its file and buffers live as long, and nginx changes them only
        // while it reads the body.
        unsafe {
            let body = self.raw.as_ref();
            let mut link = body.bufs.as_ref();
            // When the body is complete, the file has a buffer of its own.
            let is_in_buffer = link.is_some_and(|link| (*link.buf).in_file() != 0);
            if let Some(file) = body.temp_file.as_mut().filter(|_| !is_in_buffer) {
                if !each_part_of_file(&mut file.file, 0, file.offset, &mut f) {
                    return false;
                }
            }
            while let Some(&ngx_chain_t { buf, next }) = link {
                if !each_part_of(&*buf, &mut f) {
                    return false;
                }
                link = next.as_ref();
            }
        }
        true
    }
}

/// The number of bytes in memory of a chain.
///
/// # Safety
/// `chain` is a chain of live buffers in memory, or null.
pub unsafe fn size(chain: *const ngx_chain_t) -> u64 {
    let (mut size, mut link) = (0, chain);
    // SAFETY: a link of the chain, or null at its end; the bytes of a buffer are from `pos` to `last`.
    unsafe {
        while let Some(&ngx_chain_t { buf, next }) = link.as_ref() {
            size += (*buf).last.offset_from((*buf).pos) as u64;
            link = next;
        }
    }
    size
}

/// Marks the bytes of a chain as used.
///
/// # Safety
/// `chain` is what nginx has passed to a filter of request bodies, or null, and nobody reads its bytes.
pub unsafe fn consume(chain: *const ngx_chain_t) {
    let mut link = chain;
    // SAFETY: a link of the chain, or null at its end; the filter may change its buffers.
    unsafe {
        while let Some(&ngx_chain_t { buf, next }) = link.as_ref() {
            (*buf).pos = (*buf).last;
            link = next;
        }
    }
}

/// Calls `f` with each part of a buffer, in order, as [`RequestBody::each_part`] does.
///
/// # Safety
/// A live buffer in memory or in a file, which nobody changes during the call.
pub unsafe fn each_part_of(buf: &ngx_buf_t, f: &mut impl FnMut(&[u8]) -> bool) -> bool {
    // SAFETY: the bytes of a buffer in memory are from `pos` to `last`, those of one in a file from
    // `file_pos` to `file_last`.
    unsafe {
        if buf.temporary() != 0 || buf.memory() != 0 || buf.mmap() != 0 {
            let len = buf.last.offset_from(buf.pos) as usize;
            return len == 0 || f(core::slice::from_raw_parts(buf.pos, len));
        }
        match buf.file.as_mut().filter(|_| buf.in_file() != 0) {
            Some(file) => each_part_of_file(file, buf.file_pos, buf.file_last, f),
            None => true,
        }
    }
}

/// # Safety
/// An open file.
unsafe fn each_part_of_file(
    file: &mut ngx_file_t,
    mut from: off_t,
    to: off_t,
    f: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    let mut part = [0; AT_ONCE];
    while from < to {
        let want = usize::try_from(to - from).unwrap_or(AT_ONCE).min(AT_ONCE);
        // `ngx_read_file` adds what it has read to the offset, which is the length of a file that is written.
        let offset = file.offset;
        // SAFETY: the file is open, and the array has room for `want` bytes.
        let read = unsafe { ngx_read_file(file, part.as_mut_ptr(), want, from) };
        file.offset = offset;
        // nginx has logged an error.
        let Some(text) = usize::try_from(read).ok().and_then(|read| part.get(..read)) else {
            return false;
        };
        if text.is_empty() || !f(text) {
            return false;
        }
        from += read as off_t;
    }
    true
}
