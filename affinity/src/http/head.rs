//! The head of a response.

use core::mem;

use super::buffer::LimitedBuffer;
use super::error::HttpError;
use super::lines::LineBlock;

/// The longest head, in bytes, with the heads of the 1xx responses before it.
pub const MAX_HEAD: usize = 16 * 1024;

/// The largest number of header lines.
pub const MAX_FIELDS: usize = 100;

const BEGIN: &[u8] = b"HTTP/1.";

/// The head of a response: a valid status line and valid header lines.
#[derive(Debug)]
pub struct HttpHead {
    bytes: Vec<u8>,
    status: u16,
    is_1_0: bool,
}

impl HttpHead {
    /// The status, between 100 and 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// Whether the server speaks HTTP/1.0.
    pub(super) fn is_1_0(&self) -> bool {
        self.is_1_0
    }

    /// The values of the lines with this name, in any letter case, without the white space around them.
    pub fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        let lines = self.bytes.split(|byte| *byte == b'\n').skip(1);
        lines.filter_map(move |line| {
            let (of_line, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            of_line.eq_ignore_ascii_case(name.as_bytes()).then_some(value.trim_ascii())
        })
    }

    fn parse(bytes: Vec<u8>) -> Result<HttpHead, HttpError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(&bytes).map_err(|error| match error {
            httparse::Error::TooManyHeaders => HttpError::TooManyHeaders,
            httparse::Error::Version | httparse::Error::Status => HttpError::StatusLine,
            _ if response.code.is_none() => HttpError::StatusLine,
            _ => HttpError::HeaderLine,
        })?;
        match (parsed, response.code, response.version) {
            (httparse::Status::Complete(_), Some(status @ 100..=599), Some(minor)) => {
                Ok(HttpHead { bytes, status, is_1_0: minor == 0 })
            }
            _ => Err(HttpError::StatusLine),
        }
    }
}

/// Reads the head of a response, and skips those of 1xx responses.
pub(super) struct HeadReader {
    lines: LineBlock,
    bytes: LimitedBuffer,
    /// Whether there was a 1xx response.
    is_second: bool,
}

impl HeadReader {
    pub(super) fn new() -> Self {
        HeadReader {
            lines: LineBlock::new(MAX_HEAD, HttpError::HeadTooLong),
            bytes: buffer(),
            is_second: false,
        }
    }

    /// Whether nothing has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.as_bytes().is_empty() && !self.is_second
    }

    /// The head, once it is complete. Removes from `bytes` what it has read.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<HttpHead>, HttpError> {
        loop {
            // Another protocol is found by its first bytes: it may never send an empty line.
            while let Some(expected) = BEGIN.get(self.bytes.as_bytes().len()) {
                let Some((mut first, rest)) = bytes.split_at_checked(1) else {
                    return Ok(None);
                };
                if first != [*expected] {
                    return Err(HttpError::NotHttp);
                }
                *bytes = rest;
                self.bytes.append(self.lines.take(&mut first)?)?;
            }
            self.bytes.append(self.lines.take(bytes)?)?;
            if !self.lines.is_done() {
                return Ok(None);
            }
            let head = HttpHead::parse(mem::replace(&mut self.bytes, buffer()).into_bytes())?;
            match head.status() {
                101 => return Err(HttpError::Switched),
                100..=199 => {
                    self.is_second = true;
                    self.lines.restart();
                }
                _ => return Ok(Some(head)),
            }
        }
    }
}

fn buffer() -> LimitedBuffer {
    LimitedBuffer::new(MAX_HEAD, HttpError::HeadTooLong)
}
