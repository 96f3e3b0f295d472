//! The session of a stream of HTTP+SSE, which the stream's first event, `endpoint`, names.

use super::step::{Fault, Step};
use super::target::{self, OwnId};
use crate::policy::Announced;
use crate::text::bounded::{Bounded, Id};
use crate::text::query::{self, split};
use crate::text::sse::{SsePiece, Stream};

/// The longest data of an `endpoint` event that is read, in bytes: scheme and authority, path and query,
/// fragment.
const MAX_DATA: usize = 2048;

/// Reads a stream up to its first event `endpoint`, whose data is a URI reference. [`target`] says which
/// text of it names the session.
pub(super) struct Endpoint<'a> {
    stream: Stream,
    kind: Bounded<8>,
    in_kind: bool,
    has_data: bool,
    data: Bounded<MAX_DATA>,
    /// Path and query of the stream's request line.
    uri: &'a [u8],
    id: Id,
    announced: Announced,
}

impl<'a> Endpoint<'a> {
    pub(super) fn new(uri: &'a [u8]) -> Self {
        Endpoint {
            stream: Stream::new(),
            kind: Bounded::new(),
            in_kind: false,
            has_data: false,
            data: Bounded::new(),
            uri,
            id: Id::new(),
            announced: Announced::Stream,
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Step {
        while let Some(piece) = self.stream.next(&mut bytes) {
            match piece {
                SsePiece::Type => {
                    self.in_kind = true;
                    self.kind.clear();
                }
                // The line end between two lines of data is no part of a URI.
                SsePiece::Data => {
                    self.in_kind = false;
                    self.has_data = true;
                }
                SsePiece::Id => {}
                SsePiece::Value(value) if self.in_kind => self.kind.extend(value),
                // Nor is a tab.
                SsePiece::Value(value) => {
                    value.split(|byte| *byte == b'\t').for_each(|part| self.data.extend(part));
                }
                // The type of the event may follow its data.
                SsePiece::Dispatch => {
                    if self.has_data && self.kind.get() == Some(b"endpoint") {
                        return match self.find() {
                            Ok(()) => Step::Found,
                            Err(why) => Step::Faulty(why),
                        };
                    }
                    self.kind.clear();
                    self.has_data = false;
                    self.data.clear();
                }
            }
        }
        Step::More
    }

    /// The text that names the session, once found.
    pub(super) fn id(&self) -> Option<&[u8]> {
        self.id.get()
    }

    /// What the text is.
    pub(super) fn announced(&self) -> Announced {
        self.announced
    }

    fn find(&mut self) -> Result<(), Fault> {
        let reference = trim(self.data.get().ok_or(Fault::TooLong)?);
        let mut named = Id::new();
        let id = query::session_id(query_of(reference), &mut named);
        let mut chosen = Id::new();
        let of_stream = split(self.uri, b'?').1.unwrap_or_default();
        let is_new = query::session_id(of_stream, &mut chosen) != id;

        let has_target = target::resolve(reference, self.uri, &mut self.id);
        let of_target = self.id.get().filter(|_| has_target);
        let own = match of_target {
            Some(target) if target::has_session_ids(target) => Some(OwnId::Named),
            Some(target) if id.is_none() || !is_new => target::own_id(target, self.uri),
            _ => None,
        };
        match (own, id) {
            (Some(OwnId::Named), _) => self.announced = Announced::Stream,
            (Some(OwnId::Seeming), _) => self.announced = Announced::Target,
            (None, Some(_)) => {
                self.id = named;
                self.announced = Announced::Stream;
            }
            (None, None) if !has_target => return Err(Fault::NoTarget),
            (None, None) if of_target.is_none() => return Err(Fault::TooLong),
            (None, None) => return Err(Fault::NoId),
        }
        Ok(())
    }
}

/// The query of a reference. It ends at the fragment, and at a byte that is in no URI: so an id in quoted
/// text, or in JSON, ends at the quote.
fn query_of(reference: &[u8]) -> &[u8] {
    let (before, query) = split(reference, b'?');
    let query = query.filter(|_| !before.contains(&b'#')).unwrap_or_default();
    let is_end = |byte: &u8| *byte == b'#' || byte.is_ascii() && !target::is_of_uri(*byte);
    query.split(is_end).next().unwrap_or_default()
}

/// The data without the control characters and spaces around it, as the URL standard reads a URI.
fn trim(data: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| *byte > b' ';
    let begin = data.iter().position(is_text).unwrap_or(data.len());
    let end = data.iter().rposition(is_text).map_or(begin, |last| last + 1);
    data.get(begin..end).unwrap_or_default()
}
