//! The text that renderings are written to.

use core::fmt;
use std::io;

/// A text in memory. Writes never fail, since an `io::Error` or a serializer's error would allocate.
/// `finish` says whether memory ran out.
#[derive(Debug, Default)]
pub struct Output {
    text: Vec<u8>,
    failed: bool,
}

/// There was no memory.
#[derive(Debug, thiserror::Error)]
#[error("no memory")]
pub struct OutOfMemory;

impl Output {
    /// The whole text.
    pub fn finish(self) -> Result<Vec<u8>, OutOfMemory> {
        match self.failed {
            true => Err(OutOfMemory),
            false => Ok(self.text),
        }
    }

    /// Adds another text.
    pub fn append(&mut self, other: &Output) {
        self.failed |= other.failed;
        self.push(&other.text);
    }

    /// Removes the text and keeps its memory.
    pub fn clear(&mut self) {
        self.text.clear();
    }

    fn push(&mut self, bytes: &[u8]) {
        self.failed |= self.text.try_reserve(bytes.len()).is_err();
        if !self.failed {
            self.text.extend_from_slice(bytes);
        }
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
