//! The requests of a server in an event stream.

use super::message::{Message, Messages, RpcId};
use crate::text::sse::{SsePiece, Stream};

/// Reads an event stream as it passes. The result does not depend on where the stream is cut.
pub struct ServerRequests {
    stream: Stream,
    in_data: bool,
    messages: Messages,
}

impl ServerRequests {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        ServerRequests { stream: Stream::new(), in_data: false, messages: Messages::new() }
    }

    /// Reads the next bytes, and reports the id of each request that ends in them. A client has not seen it
    /// before these bytes are passed on.
    pub fn feed(&mut self, mut bytes: &[u8], mut report: impl FnMut(RpcId)) {
        while let Some(piece) = self.stream.next(&mut bytes) {
            let mut data: &[u8] = match piece {
                SsePiece::Type | SsePiece::Id => {
                    self.in_data = false;
                    continue;
                }
                // The line end between two lines of data. Before the first line it is white space.
                SsePiece::Data => {
                    self.in_data = true;
                    b"\n"
                }
                SsePiece::Value(value) if self.in_data => value,
                SsePiece::Value(_) => continue,
                SsePiece::Dispatch => {
                    self.messages = Messages::new();
                    continue;
                }
            };
            while let Some(message) = self.messages.next(&mut data) {
                if let Message::Request(Some(id)) = message {
                    report(id);
                }
            }
        }
    }
}

impl Default for ServerRequests {
    fn default() -> Self {
        Self::new()
    }
}
