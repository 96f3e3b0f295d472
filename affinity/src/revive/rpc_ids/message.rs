//! Kind and id of each JSON-RPC message in a JSON text, as it arrives.

use core::fmt;

use sha2::{Digest, Sha256};

use crate::text::bounded::Bounded;
use crate::text::json::{Invalid, Json, JsonPiece, Type};

/// The longest id that is read, in bytes, with the byte that tells its type.
const MAX_RPC_ID: usize = 1 + 64 + 32;

/// The id of a JSON-RPC request, as a hash. The number 1 and the string "1" are different ids.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RpcId(pub(in crate::revive) u64);

impl RpcId {
    fn of(text: &[u8]) -> RpcId {
        let hash = Sha256::digest(text);
        RpcId(hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first)))
    }

    /// The id that is this string.
    pub(super) fn of_string(text: &str) -> RpcId {
        RpcId::of(&[b"s", text.as_bytes()].concat())
    }
}

impl fmt::Debug for RpcId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RpcId({:x})", self.0)
    }
}

/// What a message is. Of members with the same name the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// It has a `method`; its id, if it has one that can be read.
    Request(Option<RpcId>),
    /// It has a `result` or an `error`, and no `method`; its id, if it has one that can be read.
    Response(Option<RpcId>),
    /// Anything else.
    Other,
}

/// Reads one JSON text, piece by piece.
pub(super) struct Messages {
    json: Result<Json, Invalid>,
    /// Whether the text is an array of messages.
    is_batch: bool,
    into: Into,
    name: Bounded<6>,
    has_method: bool,
    has_outcome: bool,
    id: Bounded<MAX_RPC_ID>,
}

/// Where the text of a string or a number goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    Nothing,
    Name,
    Id,
}

impl Messages {
    pub(super) fn new() -> Self {
        Messages {
            json: Ok(Json::new()),
            is_batch: false,
            into: Into::Nothing,
            name: Bounded::new(),
            has_method: false,
            has_outcome: false,
            id: Bounded::new(),
        }
    }

    /// Whether the text has ended, and is JSON.
    pub(super) fn is_done(&self) -> bool {
        self.json.as_ref().is_ok_and(Json::is_done)
    }

    /// Whether the message that is being read has a `method`.
    pub(super) fn has_method(&self) -> bool {
        self.has_method
    }

    /// The next message that ends in `bytes`. Removes from them what it has read, and all of it if there is
    /// none.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Message> {
        loop {
            let Ok(json) = &mut self.json else {
                *bytes = &[];
                return None;
            };
            let depth = json.depth();
            match json.next(bytes) {
                Ok(Some(piece)) => {
                    if let Some(message) = self.take(piece, depth) {
                        return Some(message);
                    }
                }
                Ok(None) => return None,
                Err(invalid) => self.json = Err(invalid),
            }
        }
    }

    /// Takes a piece; `depth` is that before it.
    fn take(&mut self, piece: JsonPiece, depth: u32) -> Option<Message> {
        match piece {
            JsonPiece::Name => {
                self.into = Into::Nothing;
                if depth == self.depth_of_members() {
                    self.name.clear();
                    self.into = Into::Name;
                }
            }
            JsonPiece::Value(kind) => {
                self.into = self.value(kind, depth);
                let is_scalar = !matches!(kind, Type::Object | Type::Array);
                if depth > 0 && depth + 1 == self.depth_of_members() && is_scalar {
                    return Some(Message::Other);
                }
            }
            JsonPiece::Text(text) => self.text(text),
            JsonPiece::Char(char) => self.text(char.encode_utf8(&mut [0; 4]).as_bytes()),
            JsonPiece::End => {
                self.into = Into::Nothing;
                if depth == self.depth_of_members() {
                    return Some(self.end());
                }
            }
        }
        None
    }

    fn value(&mut self, kind: Type, depth: u32) -> Into {
        if depth == 0 {
            self.is_batch = kind == Type::Array;
        }
        // What is not an object has no members.
        if depth + 1 == self.depth_of_members() {
            self.name.clear();
        }
        if depth != self.depth_of_members() {
            return Into::Nothing;
        }
        match self.name.get() {
            Some(b"method") => self.has_method = true,
            Some(b"result" | b"error") => self.has_outcome = true,
            Some(b"id") => {
                self.id.clear();
                match kind {
                    Type::String => self.id.push(b's'),
                    Type::Number => self.id.push(b'n'),
                    _ => return Into::Nothing,
                }
                return Into::Id;
            }
            _ => {}
        }
        Into::Nothing
    }

    fn end(&mut self) -> Message {
        let id = self.id.get().filter(|id| !id.is_empty()).map(RpcId::of);
        let message = match (self.has_method, self.has_outcome) {
            (true, _) => Message::Request(id),
            (false, true) => Message::Response(id),
            (false, false) => Message::Other,
        };
        self.has_method = false;
        self.has_outcome = false;
        self.id.clear();
        message
    }

    /// How many arrays and objects are open around the members of a message.
    fn depth_of_members(&self) -> u32 {
        1 + u32::from(self.is_batch)
    }

    fn text(&mut self, text: &[u8]) {
        match self.into {
            Into::Nothing => {}
            Into::Name => self.name.extend(text),
            Into::Id => self.id.extend(text),
        }
    }
}
