//! Bytes that are kept.

use super::error::HttpError;

/// Bytes up to a limit. Their memory never exceeds it, and a lack of memory is an error.
#[derive(Debug)]
pub struct LimitedBuffer {
    bytes: Vec<u8>,
    limit: usize,
    too_long: HttpError,
}

impl LimitedBuffer {
    /// An empty buffer without memory. `too_long`: the error for more than `limit` bytes.
    pub fn new(limit: usize, too_long: HttpError) -> Self {
        LimitedBuffer { bytes: Vec::new(), limit, too_long }
    }

    /// Adds bytes, all or none.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), HttpError> {
        let len = self.bytes.len().saturating_add(bytes.len());
        if len > self.limit {
            return Err(self.too_long);
        }
        if len > self.bytes.capacity() {
            let capacity = len.max(2 * self.bytes.capacity()).min(self.limit);
            let more = capacity - self.bytes.len();
            self.bytes.try_reserve_exact(more).map_err(|_| HttpError::NoMemory)?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Removes the bytes and keeps their memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, with their memory.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
