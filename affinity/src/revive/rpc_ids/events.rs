//! The ids of events in an event stream, by which a client resumes a stream that broke off (`Last-Event-ID`).

use core::fmt;

use sha2::{Digest, Sha256};

use crate::text::sse::{SsePiece, Stream};

/// The id of an event, as a hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EventId(pub(in crate::revive) u64);

impl EventId {
    /// The hash of an id.
    pub fn of(id: &[u8]) -> EventId {
        EventId::finish(Sha256::new_with_prefix(id))
    }

    fn finish(hash: Sha256) -> EventId {
        EventId(hash.finalize().first_chunk().map_or(0, |first| u64::from_le_bytes(*first)))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({:x})", self.0)
    }
}

/// Reads an event stream as it passes. The result does not depend on where the stream is cut.
pub struct EventIds {
    stream: Stream,
    /// Of the id that is being read.
    hash: Option<Sha256>,
}

impl EventIds {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        EventIds { stream: Stream::with_ids(), hash: None }
    }

    /// Reads the next bytes, and reports the id of each event that ends in them. A client has not seen the event
    /// before these bytes are passed on.
    pub fn feed(&mut self, mut bytes: &[u8], mut report: impl FnMut(EventId)) {
        while let Some(piece) = self.stream.next(&mut bytes) {
            if let SsePiece::Value(value) = piece {
                if let Some(hash) = &mut self.hash {
                    hash.update(value);
                }
                continue;
            }
            if let Some(hash) = self.hash.take() {
                report(EventId::finish(hash));
            }
            if piece == SsePiece::Id {
                self.hash = Some(Sha256::new());
            }
        }
    }
}

impl Default for EventIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> Vec<EventId> {
        let (mut reader, mut found) = (EventIds::new(), Vec::new());
        chunks.into_iter().for_each(|chunk| reader.feed(chunk, |id| found.push(id)));
        found
    }

    #[test]
    fn the_id_of_each_event_that_ends_is_reported_however_the_stream_is_cut() {
        let stream =
            b"id: 1_a\ndata: x\n\nevent: message\nid:2\r\n\r\ndata: id: 9\nids: 9\n:id: 9\n\nid: 3";
        let expected = [EventId::of(b"1_a"), EventId::of(b"2")];
        for cut in 1..stream.len() {
            assert_eq!(read(stream.chunks(cut)), expected, "{cut}");
        }
    }
}
