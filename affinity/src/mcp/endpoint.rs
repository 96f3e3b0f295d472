//! The session id in the `endpoint` event that begins a stream of the transport HTTP+SSE.

use super::query::Query;
use super::reader::Step;
use super::sse::{Piece, Stream};
use super::{Bounded, Id};

/// Reads a stream up to its first event `endpoint`, whose data is a URI reference, absolute or
/// relative.
pub(super) struct Endpoint {
    stream: Stream,
    kind: Bounded<8>,
    in_kind: bool,
    has_data: bool,
    query: Query,
    id: Id,
}

impl Endpoint {
    pub(super) fn new() -> Self {
        Endpoint {
            stream: Stream::new(),
            kind: Bounded::new(),
            in_kind: false,
            has_data: false,
            query: Query::of_uri(),
            id: Id::new(),
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Step {
        while let Some(piece) = self.stream.next(&mut bytes) {
            match piece {
                Piece::Type => {
                    self.in_kind = true;
                    self.kind.clear();
                }
                // A line end in a URI is ignored, by those who resolve it, too.
                Piece::Data => {
                    self.in_kind = false;
                    self.has_data = true;
                }
                Piece::Value(value) if self.in_kind => self.kind.extend(value),
                Piece::Value(value) => self.uri(value),
                Piece::Dispatch => {
                    if self.has_data && self.kind.get() == Some(b"endpoint") {
                        let found = self.query.finish(&mut self.id).is_some();
                        return if found { Step::Found } else { Step::Nothing };
                    }
                    self.clear();
                }
            }
        }
        Step::More
    }

    /// The session id, once found.
    pub(super) fn id(&self) -> Option<&[u8]> {
        self.id.get()
    }

    /// The type of the event may follow its data, so every event's data is read.
    fn uri(&mut self, part: &[u8]) {
        // Blanks around a URI are stripped, and there are none in it.
        for part in part.split(|byte| *byte <= b' ') {
            self.query.feed(part, &mut self.id);
        }
    }

    fn clear(&mut self) {
        self.kind.clear();
        self.has_data = false;
        self.query = Query::of_uri();
        self.id.clear();
    }
}
