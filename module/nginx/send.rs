//! Answers that the module makes itself.

use crate::nginx::pool;
use core::ptr;
use std::borrow::Cow;

use affinity::status::OutOfMemory;
use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_http_output_filter, ngx_http_request_t, ngx_http_send_header,
    ngx_int_t, ngx_list_push, ngx_pcalloc, ngx_str_t, ngx_table_elt_t, ngx_uint_t,
    NGX_HTTP_INTERNAL_SERVER_ERROR,
};

use crate::nginx::bits;
use crate::nginx::{ERROR, OK};

/// A text that is there, or was made.
pub type Body = Cow<'static, [u8]>;

/// What is sent beside the body.
pub struct Head<'a> {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: &'a [(&'static str, &'static str)],
}

/// Sends a whole response; the result is what a content handler returns.
///
/// # Safety
/// `r` is a live request, and nothing has been sent to its client.
pub unsafe fn send(r: *mut ngx_http_request_t, head: &Head<'_>, body: Body) -> ngx_int_t {
    // SAFETY: by this function's contract.
    unsafe {
        match prepare(r, head, body) {
            Ok(mut chain) => {
                let rc = ngx_http_send_header(r);
                if rc == ERROR || rc > OK || bits::is_header_only(r) {
                    return rc;
                }
                ngx_http_output_filter(r, &mut chain)
            }
            Err(OutOfMemory) => NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t,
        }
    }
}

/// # Safety
/// As above.
unsafe fn prepare(
    r: *mut ngx_http_request_t,
    head: &Head<'_>,
    body: Body,
) -> Result<ngx_chain_t, OutOfMemory> {
    // SAFETY: by this function's contract; zeroes are a valid buffer.
    unsafe {
        let body = pool::pool_box((*r).pool, || body).ok_or(OutOfMemory)?;
        let buf = ngx_pcalloc((*r).pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
        let buf = buf.as_mut().ok_or(OutOfMemory)?;
        // nginx writes to no buffer that is marked as memory.
        let bytes = body.as_ptr_range();
        let (start, end) = (bytes.start.cast_mut(), bytes.end.cast_mut());
        (buf.start, buf.pos, buf.last, buf.end) = (start, start, end, end);
        buf.set_memory(1);
        buf.set_last_buf(u32::from(ptr::eq(r, (*r).main)));
        buf.set_last_in_chain(1);

        let out = &mut (*r).headers_out;
        out.status = ngx_uint_t::from(head.status);
        out.content_length_n = body.len() as _;
        out.content_type = string(head.content_type);
        out.content_type_len = head.content_type.len();
        out.content_type_lowcase = ptr::null_mut();
        for (name, value) in head.headers {
            add_header(r, name, string(value))?;
        }
        Ok(ngx_chain_t { buf, next: ptr::null_mut() })
    }
}

/// Adds a header to a request's response.
///
/// # Safety
/// `r` is a live request, `value` lives as long.
pub unsafe fn add_header(
    r: *mut ngx_http_request_t,
    name: &'static str,
    value: ngx_str_t,
) -> Result<(), OutOfMemory> {
    // SAFETY: nginx's list gives room for an element; all of it is written before it is read.
    unsafe {
        let header = ngx_list_push(&raw mut (*r).headers_out.headers).cast::<ngx_table_elt_t>();
        if header.is_null() {
            return Err(OutOfMemory);
        }
        header.write(core::mem::zeroed());
        (*header).hash = 1;
        (*header).key = string(name);
        (*header).value = value;
    }
    Ok(())
}

/// nginx takes all strings as its own, but writes to none of these.
fn string(text: &'static str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}
