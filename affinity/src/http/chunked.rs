//! Bodies in chunks (RFC 9112, 7.1).
//!
//! By hand: `httparse` reads a chunk size only from a buffer that has the whole line, and accepts any
//! byte in an extension.

use super::error::HttpError;
use super::lines::{check_byte, LineBlock};

/// The longest chunk extensions of a body, together, in bytes.
pub const MAX_EXTENSIONS: usize = 4 * 1024;

/// The longest trailer, in bytes.
pub const MAX_TRAILER: usize = 4 * 1024;

/// The digits of the largest size, `u64::MAX`.
const MAX_DIGITS: u8 = 16;

/// Reads a body in chunks.
pub(super) struct ChunkReader {
    state: ChunkState,
    extensions_left: usize,
}

enum ChunkState {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// After the digits.
    Extension(u64),
    /// After the carriage return behind a size.
    Return(u64),
    /// In a chunk, of which so many bytes are missing.
    Data(u64),
    /// After the last byte of a chunk.
    DataEnd,
    /// After the carriage return behind a chunk.
    DataReturn,
    /// After the last chunk.
    Trailer(LineBlock),
}

const NO_DIGIT: ChunkState = ChunkState::Size { size: 0, digits: 0 };

impl ChunkReader {
    pub(super) fn new() -> Self {
        ChunkReader { state: NO_DIGIT, extensions_left: MAX_EXTENSIONS }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(&self.state, ChunkState::Trailer(lines) if lines.is_done())
    }

    /// The next data. Removes from `bytes` what it has read.
    pub(super) fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<&'b [u8]>, HttpError> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.state {
                ChunkState::Data(left) => {
                    let data = take(left, bytes);
                    if *left == 0 {
                        self.state = ChunkState::DataEnd;
                    }
                    return Ok(Some(data));
                }
                ChunkState::Trailer(lines) => {
                    lines.take(bytes)?;
                    return Ok(None);
                }
                _ => {
                    *bytes = rest;
                    self.framing(byte)?;
                }
            }
        }
        Ok(None)
    }

    /// Reads a byte around a chunk.
    fn framing(&mut self, byte: u8) -> Result<(), HttpError> {
        self.state = match (&self.state, byte) {
            (&ChunkState::Size { size, digits }, _) => match (byte as char).to_digit(16) {
                Some(digit) if digits < MAX_DIGITS => {
                    ChunkState::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
                }
                None if digits > 0 => self.extension(size, byte)?,
                _ => return Err(HttpError::ChunkSize),
            },
            (&ChunkState::Extension(size), _) => self.extension(size, byte)?,
            (ChunkState::Return(0), b'\n') => {
                ChunkState::Trailer(LineBlock::new(MAX_TRAILER, HttpError::TrailerTooLong))
            }
            (&ChunkState::Return(size), b'\n') => ChunkState::Data(size),
            (ChunkState::DataEnd, b'\r') => ChunkState::DataReturn,
            (ChunkState::DataReturn, b'\n') => NO_DIGIT,
            (ChunkState::Return(_), _) => return Err(HttpError::BareReturn),
            _ => return Err(HttpError::ChunkEnd),
        };
        Ok(())
    }

    /// Reads a byte after the digits.
    fn extension(&mut self, size: u64, byte: u8) -> Result<ChunkState, HttpError> {
        match (&self.state, byte) {
            (_, b'\r') => return Ok(ChunkState::Return(size)),
            (ChunkState::Size { .. }, b';' | b' ' | b'\t') | (ChunkState::Extension(_), _) => {
                check_byte(byte)?
            }
            (_, b'\n') => return Err(HttpError::BareLineFeed),
            _ => return Err(HttpError::ChunkSize),
        }
        let left = self.extensions_left.checked_sub(1).ok_or(HttpError::ExtensionsTooLong)?;
        self.extensions_left = left;
        Ok(ChunkState::Extension(size))
    }
}

/// Removes up to `left` bytes from `bytes`, and subtracts them from `left`.
pub(super) fn take<'b>(left: &mut u64, bytes: &mut &'b [u8]) -> &'b [u8] {
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    let (data, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
    *bytes = rest;
    *left -= data.len() as u64;
    data
}
