//! Whether the body of a request is an `initialize`, the request that begins a session.

use crate::text::bounded::Bounded;
use crate::text::json::{Invalid, Json, JsonPiece, Type};

const METHOD: &[u8] = b"initialize";

/// Some servers skip it before a JSON text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// How much of a body is read, in bytes.
pub const MAX_READ: usize = 64 * 1024;

/// Reads the body of one request, piece by piece. The result does not depend on where the body is cut.
///
/// The body is a JSON-RPC message, or a batch of them, which is an `initialize` if one of its messages is.
/// Of several members `method` the last one counts, as in the JSON parsers of servers. So a message is read
/// to its end. If that does not come within [`MAX_READ`] bytes, or the text is no JSON, the last `method`
/// before it counts, if its text has ended.
pub struct InitializeReader {
    json: Result<Json, Invalid>,
    /// How many bytes of the mark were skipped; all of it after the first byte of the text.
    mark: usize,
    /// How many bytes may still be read.
    left: usize,
    /// Whether the text is an array of messages.
    is_batch: bool,
    into: Into,
    name: Bounded<6>,
    method: Bounded<10>,
    /// Whether a message of the batch is an `initialize`.
    is_found: bool,
}

/// Where the text of a string goes.
#[derive(Clone, Copy)]
enum Into {
    Nothing,
    Name,
    Method,
}

impl InitializeReader {
    /// A reader at the beginning of a body.
    pub fn new() -> Self {
        InitializeReader {
            json: Ok(Json::new()),
            mark: 0,
            left: MAX_READ,
            is_batch: false,
            into: Into::Nothing,
            name: Bounded::new(),
            method: Bounded::new(),
            is_found: false,
        }
    }

    /// Reads the next bytes of the body; false if the rest of it does not matter.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut bytes = bytes.get(..self.left).unwrap_or(bytes);
        self.left -= bytes.len();
        while let Some((first, rest)) = bytes.split_first() {
            if BYTE_ORDER_MARK.get(self.mark) != Some(first) {
                break;
            }
            self.mark += 1;
            bytes = rest;
        }
        if !bytes.is_empty() {
            self.end_mark();
        }
        while self.advance(&mut bytes) {}
        self.left > 0 && !self.is_found && self.json.as_ref().is_ok_and(|json| !json.is_done())
    }

    /// Whether the body that was read is an `initialize`.
    pub fn is_initialize(&self) -> bool {
        let is_open = self.json.as_ref().is_ok_and(|json| self.is_in_method(json));
        self.is_found || !is_open && self.method.get() == Some(METHOD)
    }

    fn is_in_method(&self, json: &Json) -> bool {
        matches!(self.into, Into::Method) && json.is_in_string()
    }

    /// A part of the mark is no JSON.
    fn end_mark(&mut self) {
        if self.mark > 0 && self.mark < BYTE_ORDER_MARK.len() {
            self.json = Err(Invalid);
        }
        self.mark = BYTE_ORDER_MARK.len();
    }

    /// Reads one piece; false if there is no other.
    fn advance(&mut self, bytes: &mut &[u8]) -> bool {
        let Ok(json) = &mut self.json else { return false };
        let depth = json.depth();
        match json.next(bytes) {
            Ok(Some(piece)) => self.take(piece, depth),
            Ok(None) => return false,
            Err(invalid) => {
                // How much of the text has been read before the error depends on the cuts.
                if matches!(self.into, Into::Method) && json.is_in_string() {
                    self.method.clear();
                }
                self.json = Err(invalid);
            }
        }
        true
    }

    /// Takes a piece; `depth` is that before it.
    fn take(&mut self, piece: JsonPiece, depth: u32) {
        match piece {
            JsonPiece::Name => {
                self.into = Into::Nothing;
                if depth == self.depth_of_members() {
                    self.name.clear();
                    self.into = Into::Name;
                }
            }
            JsonPiece::Value(kind) => self.into = self.value(kind, depth),
            JsonPiece::Text(text) => self.text(text),
            JsonPiece::Char(char) => self.text(char.encode_utf8(&mut [0; 4]).as_bytes()),
            JsonPiece::End if self.is_batch && depth == self.depth_of_members() => {
                self.is_found |= self.method.get() == Some(METHOD);
                self.method.clear();
            }
            JsonPiece::End => {}
        }
    }

    fn value(&mut self, kind: Type, depth: u32) -> Into {
        if depth == 0 {
            self.is_batch = kind == Type::Array;
        }
        // What is not an object has no members.
        if depth + 1 == self.depth_of_members() {
            self.name.clear();
        }
        if depth == self.depth_of_members() && self.name.get() == Some(b"method") {
            self.method.clear();
            if kind == Type::String {
                return Into::Method;
            }
        }
        Into::Nothing
    }

    /// How many arrays and objects are open around the members of a message.
    fn depth_of_members(&self) -> u32 {
        1 + u32::from(self.is_batch)
    }

    fn text(&mut self, text: &[u8]) {
        match self.into {
            Into::Nothing => {}
            Into::Name => self.name.extend(text),
            Into::Method => self.method.extend(text),
        }
    }
}

impl Default for InitializeReader {
    fn default() -> Self {
        Self::new()
    }
}
