//! The data of the messages in an event stream.

use crate::http::{HttpError, LimitedBuffer, MAX_BODY};
use crate::text::bounded::Bounded;
use crate::text::sse::{SsePiece, Stream};

/// Collects the data of one event after the other.
pub(crate) struct EventReader {
    stream: Stream,
    kind: Bounded<7>,
    in_kind: bool,
    has_data: bool,
    data: LimitedBuffer,
    /// Whether `data` is that of an event that has ended.
    is_complete: bool,
}

impl EventReader {
    pub(crate) fn new() -> Self {
        EventReader {
            stream: Stream::new(),
            kind: Bounded::new(),
            in_kind: false,
            has_data: false,
            data: LimitedBuffer::new(MAX_BODY, HttpError::BodyTooLong),
            is_complete: false,
        }
    }

    /// Whether there is another event that is a message; without data its text is empty. Removes from
    /// `bytes` what it has read.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Result<bool, HttpError> {
        if self.is_complete {
            self.restart();
        }
        while let Some(piece) = self.stream.next(bytes) {
            match piece {
                SsePiece::Type => {
                    self.in_kind = true;
                    self.kind.clear();
                }
                SsePiece::Data => {
                    self.in_kind = false;
                    if self.has_data {
                        self.data.append(b"\n")?;
                    }
                    self.has_data = true;
                }
                SsePiece::Id => {}
                SsePiece::Value(value) if self.in_kind => self.kind.extend(value),
                SsePiece::Value(value) => self.data.append(value)?,
                SsePiece::Dispatch => {
                    // Clients ignore an event of another type.
                    if matches!(self.kind.get(), Some(b"" | b"message")) {
                        self.is_complete = true;
                        return Ok(true);
                    }
                    self.restart();
                }
            }
        }
        Ok(false)
    }

    /// The data of that event; none while the next one is being read.
    pub(crate) fn data(&self) -> Option<&[u8]> {
        self.is_complete.then(|| self.data.as_bytes())
    }

    fn restart(&mut self) {
        self.kind.clear();
        self.has_data = false;
        self.data.clear();
        self.is_complete = false;
    }
}
