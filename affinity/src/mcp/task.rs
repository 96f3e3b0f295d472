//! The task that a server creates in place of the result of `tools/call` (extension
//! `io.modelcontextprotocol/tasks` of 2026-07-28, SEP-2663).
//!
//! The result of the JSON-RPC response is flat:
//! `{"resultType":"task","taskId":"…","status":"working","ttlMs":60000,…}`. That revision has no
//! batches, so an array is no message.

use super::step::{Fault, Step};
use crate::text::bounded::{Bounded, Id};
use crate::text::decimal::Decimal;
use crate::text::json::{Invalid, Json, JsonPiece, Type};
use crate::text::sse::{SsePiece, Stream};
use crate::time::Span;

/// Reads a body that is one JSON-RPC message.
pub(super) struct TaskJson(pub(super) Message);

impl TaskJson {
    pub(super) fn new() -> Self {
        TaskJson(Message::new())
    }

    /// Stops at the end of the message: what follows it may be in another buffer.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Step {
        loop {
            let more = self.0.advance(&mut bytes);
            match self.0.verdict() {
                Verdict::Unfinished if more => {}
                Verdict::Unfinished => return Step::More,
                Verdict::Other => return Step::Nothing,
                Verdict::Response => return self.0.step(),
            }
        }
    }
}

/// Reads a body that is an event stream of such messages. The response is the last one.
pub(super) struct TaskSse {
    stream: Stream,
    kind: Bounded<7>,
    in_kind: bool,
    pub(super) message: Message,
}

impl TaskSse {
    pub(super) fn new() -> Self {
        TaskSse {
            stream: Stream::new(),
            kind: Bounded::new(),
            in_kind: false,
            message: Message::new(),
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Step {
        while let Some(piece) = self.stream.next(&mut bytes) {
            match piece {
                SsePiece::Type => {
                    self.in_kind = true;
                    self.kind.clear();
                }
                SsePiece::Data => {
                    self.in_kind = false;
                    // The line end between two lines of data. Before the first line it is white space.
                    self.message.feed(b"\n");
                }
                SsePiece::Id => {}
                SsePiece::Value(value) if self.in_kind => self.kind.extend(value),
                SsePiece::Value(value) => self.message.feed(value),
                SsePiece::Dispatch => {
                    // Clients ignore an event of another type.
                    let is_message = matches!(self.kind.get(), Some(b"" | b"message"));
                    if is_message && self.message.verdict() == Verdict::Response {
                        return self.message.step();
                    }
                    self.kind.clear();
                    self.message.clear();
                }
            }
        }
        Step::More
    }
}

/// A JSON-RPC message as far as it has been read. Of members with the same name the last one counts, as in
/// the JSON parsers of clients.
pub(super) struct Message {
    json: Result<Json, Invalid>,
    into: Into,
    name: Bounded<10>,
    /// Whether it has a result or an error.
    is_response: bool,
    /// Whether the outermost member that is being read is the result.
    in_result: bool,
    result_type: Bounded<4>,
    task_id: Id,
    ttl: Option<Decimal>,
}

/// Where the text of a string or number goes.
#[derive(Clone, Copy)]
enum Into {
    Nothing,
    Name,
    ResultType,
    TaskId,
    Ttl,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Unfinished,
    Response,
    /// A notification, a request, or no valid message.
    Other,
}

impl Message {
    fn new() -> Self {
        Message {
            json: Ok(Json::new()),
            into: Into::Nothing,
            name: Bounded::new(),
            is_response: false,
            in_result: false,
            result_type: Bounded::new(),
            task_id: Id::new(),
            ttl: None,
        }
    }

    fn clear(&mut self) {
        self.json = Ok(Json::new());
        self.is_response = false;
        self.forget_result();
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while self.advance(&mut bytes) {}
    }

    /// Reads one piece; false if there is no other.
    fn advance(&mut self, bytes: &mut &[u8]) -> bool {
        let Ok(json) = &mut self.json else {
            return false;
        };
        let depth = json.depth();
        match json.next(bytes) {
            Ok(Some(piece)) => self.take(piece, depth),
            Ok(None) => return false,
            Err(invalid) => self.json = Err(invalid),
        }
        true
    }

    fn verdict(&self) -> Verdict {
        match &self.json {
            Ok(json) if !json.is_done() => Verdict::Unfinished,
            Ok(_) if self.is_response => Verdict::Response,
            _ => Verdict::Other,
        }
    }

    /// The result for a response.
    fn step(&self) -> Step {
        if self.task_id().is_some() {
            Step::Found
        } else if self.is_task() && self.task_id.get().is_none() {
            Step::Faulty(Fault::TooLong)
        } else {
            Step::Nothing
        }
    }

    /// The id, if the result is a task.
    pub(super) fn task_id(&self) -> Option<&[u8]> {
        self.task_id.get().filter(|id| self.is_task() && !id.is_empty())
    }

    fn is_task(&self) -> bool {
        self.result_type.get() == Some(b"task")
    }

    /// The time to live of the task. None for `null`, which means for ever, and for zero or less, which has
    /// no meaning.
    pub(super) fn ttl(&self) -> Option<Span> {
        self.ttl?.value().filter(|milliseconds| *milliseconds > 0).map(Span::from_millis)
    }

    fn take(&mut self, piece: JsonPiece, depth: u32) {
        match piece {
            JsonPiece::Name => {
                self.name.clear();
                self.into = Into::Name;
            }
            JsonPiece::Value(kind) => self.into = self.value(kind, depth),
            JsonPiece::Text(text) => self.text(text),
            JsonPiece::Char(char) => self.text(char.encode_utf8(&mut [0; 4]).as_bytes()),
            JsonPiece::End => {}
        }
    }

    fn value(&mut self, kind: Type, depth: u32) -> Into {
        match depth {
            // Only an object has members.
            0 if kind != Type::Object => self.json = Err(Invalid),
            1 => {
                self.in_result = self.name.get() == Some(b"result");
                if self.in_result {
                    self.forget_result();
                }
                self.is_response |= self.in_result || self.name.get() == Some(b"error");
                self.in_result &= kind == Type::Object;
            }
            2 if self.in_result => return self.member_of_result(kind),
            _ => {}
        }
        Into::Nothing
    }

    fn member_of_result(&mut self, kind: Type) -> Into {
        match (self.name.get(), kind) {
            (Some(b"resultType"), _) => {
                self.result_type.clear();
                if kind == Type::String {
                    return Into::ResultType;
                }
            }
            (Some(b"taskId"), _) => {
                self.task_id.clear();
                if kind == Type::String {
                    return Into::TaskId;
                }
            }
            (Some(b"ttlMs"), _) => {
                self.ttl = None;
                if kind == Type::Number {
                    self.ttl = Some(Decimal::default());
                    return Into::Ttl;
                }
            }
            _ => {}
        }
        Into::Nothing
    }

    fn text(&mut self, text: &[u8]) {
        match self.into {
            Into::Nothing => {}
            Into::Name => self.name.extend(text),
            Into::ResultType => self.result_type.extend(text),
            Into::TaskId => self.task_id.extend(text),
            Into::Ttl => {
                if let Some(ttl) = &mut self.ttl {
                    text.iter().for_each(|byte| ttl.push(*byte));
                }
            }
        }
    }

    fn forget_result(&mut self) {
        self.result_type.clear();
        self.task_id.clear();
        self.ttl = None;
    }
}
