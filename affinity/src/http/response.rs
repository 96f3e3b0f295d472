//! Splits a response into pieces, as it arrives.

use super::chunked::{take, ChunkReader};
use super::error::HttpError;
use super::framing::{is_kept, Framing};
use super::head::{HeadReader, HttpHead};
use super::request::HttpRequest;

/// Splits a response into pieces. An error is final.
pub struct ResponseReader {
    state: ResponseState,
    /// Whether the request's method is HEAD.
    to_head: bool,
    /// Whether the connection stays open, as far as is known.
    is_kept: bool,
}

/// A piece of a response.
#[derive(Debug)]
pub enum ResponsePiece<'b> {
    /// The head. Those of 1xx responses are skipped.
    Head(HttpHead),
    /// More of the body.
    Data(&'b [u8]),
}

#[allow(clippy::large_enum_variant, reason = "there is one for each request that nginx sends")]
enum ResponseState {
    Head(HeadReader),
    Length(u64),
    Chunked(ChunkReader),
    UntilClose,
    End,
    Failed(HttpError),
}

impl ResponseReader {
    /// The reader of the response to this request.
    pub fn new(request: &HttpRequest) -> Self {
        ResponseReader {
            state: ResponseState::Head(HeadReader::new()),
            to_head: request.method == "HEAD",
            is_kept: request.keep_alive,
        }
    }

    /// The next piece. Removes what it has read from `bytes`, and all of it if there is no piece.
    pub fn next<'b>(
        &mut self,
        bytes: &mut &'b [u8],
    ) -> Result<Option<ResponsePiece<'b>>, HttpError> {
        self.step(bytes).map_err(|error| self.fail(error))
    }

    /// Ends with an error of who reads the pieces, and returns it.
    pub fn fail(&mut self, error: HttpError) -> HttpError {
        self.state = ResponseState::Failed(error);
        error
    }

    /// The server has closed the connection.
    pub fn close(&mut self) -> Result<(), HttpError> {
        self.is_kept = false;
        let result = match &self.state {
            ResponseState::UntilClose | ResponseState::End => Ok(()),
            ResponseState::Head(head) if head.is_empty() => Err(HttpError::NoResponse),
            ResponseState::Head(_) => Err(HttpError::ClosedInHead),
            ResponseState::Length(_) | ResponseState::Chunked(_) => Err(HttpError::ClosedInBody),
            ResponseState::Failed(error) => Err(*error),
        };
        self.state = result.map_or_else(ResponseState::Failed, |()| ResponseState::End);
        result
    }

    /// Whether the response is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, ResponseState::End)
    }

    /// Whether no byte can change the result: the response is complete, or has an error.
    pub fn is_final(&self) -> bool {
        matches!(self.state, ResponseState::End | ResponseState::Failed(_))
    }

    /// Whether the connection can have another request: the response is complete, both sides keep the
    /// connection, and nothing came after the response.
    pub fn is_reusable(&self) -> bool {
        self.is_done() && self.is_kept
    }

    fn step<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<ResponsePiece<'b>>, HttpError> {
        let data = match &mut self.state {
            ResponseState::Head(reader) => {
                let Some(head) = reader.next(bytes)? else {
                    return Ok(None);
                };
                self.is_kept &= is_kept(&head);
                self.state = match Framing::of(&head, self.to_head)? {
                    Framing::Length(0) => ResponseState::End,
                    Framing::Length(length) => ResponseState::Length(length),
                    Framing::Chunked => ResponseState::Chunked(ChunkReader::new()),
                    Framing::UntilClose => ResponseState::UntilClose,
                };
                return Ok(Some(ResponsePiece::Head(head)));
            }
            ResponseState::Length(left) => {
                let data = take(left, bytes);
                if *left == 0 {
                    self.state = ResponseState::End;
                }
                data
            }
            ResponseState::Chunked(chunks) => {
                let data = chunks.next(bytes)?.unwrap_or_default();
                if chunks.is_done() {
                    self.state = ResponseState::End;
                    self.after_end(bytes);
                }
                data
            }
            ResponseState::UntilClose => core::mem::take(bytes),
            ResponseState::End => {
                self.after_end(bytes);
                &[]
            }
            ResponseState::Failed(error) => return Err(*error),
        };
        Ok(Some(data).filter(|data| !data.is_empty()).map(ResponsePiece::Data))
    }

    /// Bytes after the response belong to no request.
    fn after_end(&mut self, bytes: &mut &[u8]) {
        self.is_kept &= core::mem::take(bytes).is_empty();
    }
}
