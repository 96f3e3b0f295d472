//! Responses that the module itself sends, and the buffers of responses that pass its filters.

use core::ffi::c_uint;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr;
use std::borrow::Cow;

use affinity::status::OutOfMemory;
use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_http_output_filter, ngx_http_send_header, ngx_int_t, ngx_list_push,
    ngx_pcalloc, ngx_str_t, ngx_table_elt_t, ngx_uint_t, NGX_HTTP_INTERNAL_SERVER_ERROR,
};

use super::pool::string;
use super::request::body::each_part_of;
use super::request::Request;
use super::{ERROR, OK};

/// The body of a response: a constant or an allocated text.
pub type Body = Cow<'static, [u8]>;

/// The head of a response.
pub struct Head<'a> {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: &'a [(&'static str, &'static str)],
}

/// Sends a whole response; nothing of it may have been sent. Returns what a content handler returns.
pub fn response(r: Request<'_>, head: &Head<'_>, body: Body) -> ngx_int_t {
    let Ok(mut chain) = prepare(r, head, body) else {
        return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    };
    // SAFETY: a live request; the buffer of the chain is in its pool. nginx copies the link if it keeps it.
    unsafe {
        let rc = ngx_http_send_header(r.raw());
        if rc == ERROR || rc > OK || r.is_header_only() {
            return rc;
        }
        ngx_http_output_filter(r.raw(), &mut chain)
    }
}

fn prepare(r: Request<'_>, head: &Head<'_>, body: Body) -> Result<ngx_chain_t, OutOfMemory> {
    let body = r.pool().make(|| body).ok_or(OutOfMemory)?;
    // SAFETY: a buffer is valid when zeroed. nginx does not write to a buffer that is marked as memory.
    let buf = unsafe {
        let buf = ngx_pcalloc(r.pool().raw(), size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
        buf.as_mut().ok_or(OutOfMemory)?
    };
    let bytes = body.as_ptr_range();
    let (start, end) = (bytes.start.cast_mut(), bytes.end.cast_mut());
    (buf.start, buf.pos, buf.last, buf.end) = (start, start, end, end);
    buf.set_memory(1);
    buf.set_last_buf(u32::from(r.is_main()));
    buf.set_last_in_chain(1);

    // SAFETY: plain words of a live request; the texts are `'static`.
    unsafe {
        let out = &mut (*r.raw()).headers_out;
        out.status = ngx_uint_t::from(head.status);
        out.content_length_n = body.len() as _;
        out.content_type = string(head.content_type.as_bytes());
        out.content_type_len = head.content_type.len();
        out.content_type_lowcase = ptr::null_mut();
    }
    for (name, value) in head.headers {
        add_header(r, name, string(value.as_bytes()))?;
    }
    Ok(ngx_chain_t { buf, next: ptr::null_mut() })
}

/// A part of a body as one link of a chain; `None` if memory is short.
pub fn link(r: Request<'_>, text: Vec<u8>) -> Option<ngx_chain_t> {
    let text = r.pool().make(|| text)?;
    let buf = r.pool().make(|| buffer(text, false))?;
    Some(ngx_chain_t { buf, next: ptr::null_mut() })
}

/// A buffer of a text, which has to live and stay where it is as long as nginx uses the buffer.
pub fn buffer(text: &mut [u8], is_last: bool) -> ngx_buf_t {
    // SAFETY: a buffer is valid when zeroed.
    let mut buf: ngx_buf_t = unsafe { core::mem::zeroed() };
    let bytes = text.as_mut_ptr_range();
    (buf.start, buf.pos, buf.last, buf.end) = (bytes.start, bytes.start, bytes.end, bytes.end);
    buf.set_temporary(u32::from(!text.is_empty()));
    buf.set_last_buf(u32::from(is_last));
    buf.set_last_in_chain(u32::from(is_last));
    buf.set_flush(u32::from(!is_last));
    buf
}

/// Adds a header to a request's response; `value` must live as long as the request.
pub fn add_header(r: Request<'_>, name: &'static str, value: ngx_str_t) -> Result<(), OutOfMemory> {
    // SAFETY: `ngx_list_push` returns memory for one element, or null; the element is written as a whole.
    unsafe {
        let header =
            ngx_list_push(&raw mut (*r.raw()).headers_out.headers).cast::<ngx_table_elt_t>();
        if header.is_null() {
            return Err(OutOfMemory);
        }
        header.write(core::mem::zeroed());
        (*header).hash = 1;
        (*header).key = string(name.as_bytes());
        (*header).value = value;
    }
    Ok(())
}

/// The buffers of a part of a response, in their order.
#[derive(Clone, Copy)]
pub struct Buffers<'r> {
    link: *const ngx_chain_t,
    live: PhantomData<&'r ngx_buf_t>,
}

/// A buffer of a response.
#[derive(Clone, Copy)]
pub struct Buffer<'r> {
    raw: *const ngx_buf_t,
    live: PhantomData<&'r ngx_buf_t>,
}

impl<'r> Buffers<'r> {
    /// # Safety
    /// `chain` is a chain of buffers or null, and does not change during `'r`.
    pub unsafe fn new(chain: *const ngx_chain_t) -> Buffers<'r> {
        Buffers { link: chain, live: PhantomData }
    }
}

impl Buffers<'_> {
    /// Marks the bytes of the buffers in memory as sent.
    pub fn consume(self) {
        for buffer in self {
            // SAFETY: a live buffer; `pos` may move up to `last`, and a body filter may move it.
            unsafe { (*buffer.raw.cast_mut()).pos = (*buffer.raw).last };
        }
    }
}

impl<'r> Iterator for Buffers<'r> {
    type Item = Buffer<'r>;

    fn next(&mut self) -> Option<Buffer<'r>> {
        // SAFETY: a link of the chain, alive during `'r`, or null at its end.
        let link = unsafe { self.link.as_ref()? };
        self.link = link.next;
        Some(Buffer { raw: link.buf, live: PhantomData })
    }
}

impl<'r> Buffer<'r> {
    /// Whether the buffer ends the response.
    pub fn is_last(self) -> bool {
        // SAFETY: a bit of a live buffer, where bindgen places it (asserted below).
        unsafe { (*self.raw).last_buf() != 0 }
    }

    /// Whether the buffer has bytes, all of them in a file only.
    pub fn is_in_file_only(self) -> bool {
        // SAFETY: a live buffer; its bits are where bindgen places them (asserted below).
        let buffer = unsafe { &*self.raw };
        buffer.in_file() != 0
            && buffer.temporary() == 0
            && buffer.memory() == 0
            && buffer.mmap() == 0
    }

    /// Calls `f` with each part of the buffer, also of one in a file, until `f` returns false. Returns what `f` has
    /// returned last, and false if the file cannot be read.
    pub fn each_part(self, mut f: impl FnMut(&[u8]) -> bool) -> bool {
        // SAFETY: a live buffer, which nginx does not change while a filter has it.
        unsafe { each_part_of(&*self.raw, &mut f) }
    }

    /// The bytes of a buffer in memory; empty for one in a file.
    pub fn in_memory(self) -> &'r [u8] {
        // SAFETY: a live buffer; one in memory has its bytes from `pos` to `last`.
        unsafe {
            let buffer = &*self.raw;
            if buffer.temporary() == 0 && buffer.memory() == 0 && buffer.mmap() == 0 {
                return &[];
            }
            core::slice::from_raw_parts(buffer.pos, buffer.last.offset_from(buffer.pos) as usize)
        }
    }
}

// The bit fields of a buffer begin with a word, so bindgen places them right.
const _: () = assert!(offset_of!(ngx_buf_t, _bitfield_1) % align_of::<c_uint>() == 0);
