//! The response to one request, with its body in memory.

use super::buffer::LimitedBuffer;
use super::error::HttpError;
use super::head::HttpHead;
use super::request::HttpRequest;
use super::response::{ResponsePiece, ResponseReader};

/// The longest body that is kept, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Collects the response to one request.
pub struct Exchange {
    reader: ResponseReader,
    head: Option<HttpHead>,
    body: LimitedBuffer,
}

impl Exchange {
    /// The response to this request.
    pub fn new(request: &HttpRequest) -> Self {
        Exchange {
            reader: ResponseReader::new(request),
            head: None,
            body: LimitedBuffer::new(MAX_BODY, HttpError::BodyTooLong),
        }
    }

    /// Reads what the server has sent. Returns whether the response is complete.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<bool, HttpError> {
        while let Some(piece) = self.reader.next(&mut bytes)? {
            match piece {
                ResponsePiece::Head(head) => self.head = Some(head),
                ResponsePiece::Data(data) => {
                    self.body.append(data).map_err(|error| self.reader.fail(error))?;
                }
            }
        }
        Ok(self.reader.is_done())
    }

    /// The server has closed the connection. Without an error the response is complete.
    pub fn close(&mut self) -> Result<(), HttpError> {
        self.reader.close()
    }

    /// The head, once it has been read. It is valid even if the body has an error.
    pub fn head(&self) -> Option<&HttpHead> {
        self.head.as_ref()
    }

    /// The body, as far as it has been read.
    pub fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// Whether the connection can have another request.
    pub fn is_reusable(&self) -> bool {
        self.reader.is_reusable()
    }
}
