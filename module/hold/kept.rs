//! The body of a held answer.

use core::cell::Cell;
use core::ptr;

use nginx_sys::{ngx_buf_t, ngx_chain_t, ngx_pcalloc};

use crate::nginx::per_worker::PerWorker;
use crate::nginx::request::Request;
use crate::nginx::send::Buffers;

/// The longest body that is held, in bytes.
pub const MOST: usize = 16 * 1024;

/// How many bytes a worker holds.
const MOST_OF_ALL: usize = 32 * 1024 * 1024;

/// The bytes that this worker holds.
static ALL: PerWorker<Cell<usize>> = PerWorker::new(Cell::new(0));

/// A body, as far as it has come.
pub struct Kept {
    bytes: Vec<u8>,
    is_whole: bool,
}

/// The body is too long to be held, or memory is short.
pub struct Full;

impl Kept {
    pub const fn new() -> Kept {
        Kept { bytes: Vec::new(), is_whole: false }
    }

    pub fn body(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the last part has come.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Copies a part of the body, or nothing of it.
    pub fn append(&mut self, part: Buffers<'_>) -> Result<(), Full> {
        let len: usize = part.map(|buffer| buffer.in_memory().len()).sum();
        let is_in_file = part.into_iter().any(|buffer| buffer.is_in_file_only());
        let is_full = self.bytes.len() + len > MOST || ALL.get() + len > MOST_OF_ALL;
        if is_in_file || is_full || self.bytes.try_reserve(len).is_err() {
            return Err(Full);
        }
        ALL.set(ALL.get() + len);
        for buffer in part {
            self.bytes.extend_from_slice(buffer.in_memory());
            self.is_whole |= buffer.is_last();
        }
        Ok(())
    }

    /// The body as one link of a chain; `None` if memory is short. The bytes live as long as this value, and filters
    /// may change them.
    pub fn chain(&mut self, r: Request<'_>) -> Option<ngx_chain_t> {
        // SAFETY: a buffer is valid when zeroed. The pool returns memory of this size, or null.
        let buf = unsafe {
            ngx_pcalloc(r.pool().raw(), size_of::<ngx_buf_t>()).cast::<ngx_buf_t>().as_mut()?
        };
        let bytes = self.bytes.as_mut_ptr_range();
        (buf.start, buf.pos, buf.last, buf.end) = (bytes.start, bytes.start, bytes.end, bytes.end);
        buf.set_temporary(u32::from(!self.bytes.is_empty()));
        buf.set_last_buf(u32::from(self.is_whole));
        buf.set_last_in_chain(u32::from(self.is_whole));
        buf.set_flush(u32::from(!self.is_whole));
        Some(ngx_chain_t { buf, next: ptr::null_mut() })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        ALL.set(ALL.get().saturating_sub(self.bytes.len()));
    }
}
