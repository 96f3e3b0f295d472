//! One JSON-RPC request to a server, and its answer.

use super::events::EventReader;
use super::message::{RpcAnswer, Wanted};
use crate::http::{
    HttpError, HttpHead, HttpRequest, LimitedBuffer, ResponsePiece, ResponseReader, MAX_BODY,
};

/// Reads the HTTP response to a POST with one JSON-RPC message.
pub struct Call {
    /// Which response is the answer; none for a notification.
    asked: Option<AskedId>,
    reader: ResponseReader,
    head: Option<HttpHead>,
    body: CallBody,
    /// How many bytes of the body may still be read.
    left: usize,
    is_answered: bool,
}

/// The id of the response that is the answer.
#[derive(Clone, Copy)]
enum AskedId {
    Number(u64),
    /// Any: the request has an id of its author's choice, and only one response is possible.
    Any,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallProgress {
    /// The answer needs more bytes.
    More,
    /// The answer is known. The HTTP response goes on; once it has ended, the connection may be reusable.
    Answered,
    /// The answer is known, and the HTTP response needs no more bytes.
    Ended,
}

/// What has been read of a body.
#[allow(clippy::large_enum_variant, reason = "there is one for each request that nginx sends")]
enum CallBody {
    /// No message is looked for.
    Ignored,
    Json(Wanted, LimitedBuffer),
    Events(Wanted, EventReader),
}

impl Call {
    /// A call with this id, or a notification, whose answer is the head of the HTTP response.
    pub fn new(request: &HttpRequest, id: Option<u64>) -> Self {
        Self::asking(request, id.map(AskedId::Number))
    }

    /// A call whose message was written by someone else: its answer is a response with any id.
    pub fn with_any_id(request: &HttpRequest) -> Self {
        Self::asking(request, Some(AskedId::Any))
    }

    fn asking(request: &HttpRequest, asked: Option<AskedId>) -> Self {
        Call {
            asked,
            reader: ResponseReader::new(request),
            head: None,
            body: CallBody::Ignored,
            left: MAX_BODY,
            is_answered: false,
        }
    }

    /// Reads what the server has sent. An error is one of the time before the answer: after it the
    /// connection is not reusable.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<CallProgress, HttpError> {
        match self.read(&mut bytes) {
            Err(error) if !self.is_answered => Err(error),
            _ => Ok(self.progress()),
        }
    }

    /// The server has closed the connection. Without an error the answer is known.
    pub fn close(&mut self) -> Result<(), HttpError> {
        match self.reader.close() {
            Err(error) if !self.is_answered => Err(error),
            _ => {
                self.is_answered = true;
                Ok(())
            }
        }
    }

    /// The head of the HTTP response, once it has been read. It is valid even if the body has an error.
    pub fn head(&self) -> Option<&HttpHead> {
        self.head.as_ref()
    }

    /// The answer, once it is known.
    pub fn answer(&self) -> Option<RpcAnswer<'_>> {
        let found = || match &self.body {
            CallBody::Ignored => None,
            CallBody::Json(wanted, text) => wanted.find(text.as_bytes()),
            CallBody::Events(wanted, events) => events.data().and_then(|data| wanted.find(data)),
        };
        self.is_answered.then(|| found().unwrap_or(RpcAnswer::Nothing))
    }

    /// Whether the connection can have another request.
    pub fn is_reusable(&self) -> bool {
        self.reader.is_reusable()
    }

    fn progress(&self) -> CallProgress {
        match self.is_answered {
            false => CallProgress::More,
            true if self.reader.is_final() => CallProgress::Ended,
            true => CallProgress::Answered,
        }
    }

    fn read(&mut self, bytes: &mut &[u8]) -> Result<(), HttpError> {
        while let Some(piece) = self.reader.next(bytes)? {
            match piece {
                ResponsePiece::Head(head) => {
                    self.begin(&head);
                    self.head = Some(head);
                }
                ResponsePiece::Data(data) => {
                    self.data(data).map_err(|error| self.reader.fail(error))?;
                }
            }
        }
        self.is_answered |= self.reader.is_done();
        Ok(())
    }

    fn begin(&mut self, head: &HttpHead) {
        let any_error = !head.is_success();
        let wanted = self.asked.map(|asked| match asked {
            AskedId::Number(id) => Wanted { id: Some(id), any_error },
            AskedId::Any => Wanted { id: None, any_error },
        });
        let is_encoded = head.values("content-encoding").next().is_some();
        match (wanted, media_type(head)) {
            (Some(wanted), Some(kind)) if !is_encoded => {
                self.body = match kind {
                    MediaType::Json => {
                        let text = LimitedBuffer::new(MAX_BODY, HttpError::BodyTooLong);
                        CallBody::Json(wanted, text)
                    }
                    MediaType::Events => CallBody::Events(wanted, EventReader::new()),
                }
            }
            _ => self.is_answered = true,
        }
    }

    fn data(&mut self, data: &[u8]) -> Result<(), HttpError> {
        // Up to the limit the body is read: what decides is not where it is cut.
        let mut within = data.get(..self.left).unwrap_or(data);
        let is_too_long = within.len() < data.len();
        self.left -= within.len();
        match &mut self.body {
            CallBody::Json(_, text) => text.append(within)?,
            CallBody::Events(wanted, events) => {
                while !self.is_answered && events.next(&mut within)? {
                    self.is_answered =
                        events.data().is_some_and(|data| wanted.find(data).is_some());
                }
            }
            CallBody::Ignored => {}
        }
        match is_too_long {
            true => Err(HttpError::BodyTooLong),
            false => Ok(()),
        }
    }
}

/// A media type that can have a response.
enum MediaType {
    Json,
    Events,
}

fn media_type(head: &HttpHead) -> Option<MediaType> {
    let value = head.values("content-type").next()?;
    let essence = value.split(|byte| *byte == b';').next()?.trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    match () {
        () if is("application/json") => Some(MediaType::Json),
        () if is("text/event-stream") => Some(MediaType::Events),
        () => None,
    }
}
