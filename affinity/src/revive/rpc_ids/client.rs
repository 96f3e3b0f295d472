//! Whether the body of a client's POST answers requests of the server, and which.

use super::message::{Message, Messages, RpcId};

/// How many answers of a batch are read.
const MAX_ANSWERS: usize = 16;

/// Some servers skip it before a JSON text.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads the body of a POST, piece by piece. The result does not depend on where the body is cut.
pub struct ClientBody {
    messages: Messages,
    /// How many bytes of the mark were read; all of it after the first byte of the text.
    mark: usize,
    answers: [Option<RpcId>; MAX_ANSWERS],
    count: usize,
    has_others: bool,
    is_empty: bool,
}

impl ClientBody {
    /// A reader at the beginning of a body.
    pub fn new() -> Self {
        ClientBody {
            messages: Messages::new(),
            mark: 0,
            answers: [None; MAX_ANSWERS],
            count: 0,
            has_others: false,
            is_empty: true,
        }
    }

    /// Reads the next bytes of the body.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.is_empty &= bytes.is_empty();
        while let Some((first, rest)) = bytes.split_first() {
            if BYTE_ORDER_MARK.get(self.mark) != Some(first) {
                self.mark = BYTE_ORDER_MARK.len();
                break;
            }
            self.mark += 1;
            bytes = rest;
        }
        while let Some(message) = self.messages.next(&mut bytes) {
            match message {
                Message::Response(id) => {
                    if let Some(place) = self.answers.get_mut(self.count) {
                        *place = id;
                    }
                    self.count += 1;
                }
                Message::Request(_) | Message::Other => self.has_others = true,
            }
        }
    }

    /// Whether the body has answers to requests of the server, and nothing else.
    pub fn is_answer(&self) -> bool {
        self.count > 0 && !self.has_others && self.messages.is_done()
    }

    /// Whether the body has an answer to a request of the server.
    pub fn has_answers(&self) -> bool {
        self.count > 0
    }

    /// Whether the body may be sent in a revived session: it has no answer, or each is one to a request
    /// for which `is_open` holds. A body that cannot be read to its end, because it is nested too deep or
    /// no JSON, may be sent if it is a request as far as it was read.
    pub fn may_be_sent(&self, mut is_open: impl FnMut(RpcId) -> bool) -> bool {
        let is_readable = self.is_empty || self.messages.is_done() || self.messages.has_method();
        let all_open = self
            .answers
            .get(..self.count)
            .is_some_and(|answers| answers.iter().all(|id| id.is_some_and(&mut is_open)));
        is_readable && all_open
    }
}

impl Default for ClientBody {
    fn default() -> Self {
        Self::new()
    }
}
