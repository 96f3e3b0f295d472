//! Event streams (HTML standard, "Server-sent events"): split into lines and fields.
//!
//! By hand: we know of no crate that reads a stream which is cut at any byte and keeps no more of it than
//! the name of a field.

use core::mem;

use super::bounded::Bounded;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A piece of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SsePiece<'b> {
    /// A field `event` begins: its value is the type of the event and replaces an earlier one.
    Type,
    /// A field `data` begins: its value is one more line of the event's data.
    Data,
    /// A field `id` begins: its value is the id of the event. Only of a stream `with_ids`.
    Id,
    /// More of the field's value.
    Value(&'b [u8]),
    /// The event ends. Without a field `data` it is no event.
    Dispatch,
}

/// Splits a stream into pieces.
pub(crate) struct Stream {
    state: State,
    /// The name of the field, as far as it has been read.
    name: Bounded<5>,
    /// A carriage return has ended the line; a line feed that follows belongs to the same line end.
    after_return: bool,
    has_ids: bool,
}

#[derive(Clone, Copy)]
enum State {
    /// At the beginning of the stream, after so many bytes of a byte order mark.
    Mark(usize),
    Name,
    /// After a colon, where one space may stand.
    Space,
    Value,
    /// In a comment, or in the value of a field that does not matter.
    Ignored,
}

impl Stream {
    pub(crate) fn new() -> Self {
        let name = Bounded::new();
        Stream { state: State::Mark(0), name, after_return: false, has_ids: false }
    }

    /// A stream whose fields `id` matter.
    pub(crate) fn with_ids() -> Self {
        Stream { has_ids: true, ..Stream::new() }
    }

    /// The next piece. Removes what it has read from `bytes`, and all of it if there is no piece.
    pub(crate) fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<SsePiece<'b>> {
        loop {
            let (byte, rest) = bytes.split_first()?;
            if mem::take(&mut self.after_return) && *byte == b'\n' {
                *bytes = rest;
                continue;
            }
            match self.state {
                State::Mark(read) => {
                    if BYTE_ORDER_MARK.get(read) == Some(byte) {
                        *bytes = rest;
                        self.state = State::Mark(read + 1);
                        continue;
                    }
                    if read < BYTE_ORDER_MARK.len() {
                        // No mark: these bytes begin the first field's name.
                        self.name.extend(BYTE_ORDER_MARK.get(..read).unwrap_or_default());
                    }
                    self.state = State::Name;
                }
                State::Name => {
                    *bytes = rest;
                    if let Some(piece) = self.name(*byte) {
                        return Some(piece);
                    }
                }
                State::Space => {
                    if *byte == b' ' {
                        *bytes = rest;
                    }
                    self.state = State::Value;
                }
                State::Value | State::Ignored => {
                    let end = bytes.iter().position(|byte| is_line_end(*byte));
                    let (value, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len()))?;
                    *bytes = rest;
                    let piece = matches!(self.state, State::Value) && !value.is_empty();
                    if let Some((end, rest)) = rest.split_first() {
                        *bytes = rest;
                        self.end_line(*end);
                    }
                    if piece {
                        return Some(SsePiece::Value(value));
                    }
                }
            }
        }
    }

    fn name(&mut self, byte: u8) -> Option<SsePiece<'static>> {
        if byte != b':' && !is_line_end(byte) {
            self.name.push(byte);
            return None;
        }
        let piece = match self.name.get() {
            Some(b"event") => Some(SsePiece::Type),
            Some(b"data") => Some(SsePiece::Data),
            Some(b"id") if self.has_ids => Some(SsePiece::Id),
            Some(b"") if byte != b':' => Some(SsePiece::Dispatch),
            _ => None,
        };
        self.state = if piece.is_some() { State::Space } else { State::Ignored };
        if byte != b':' {
            self.end_line(byte);
        }
        self.name.clear();
        piece
    }

    fn end_line(&mut self, end: u8) {
        self.after_return = end == b'\r';
        self.state = State::Name;
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
#[path = "../../tests/common/mcp.rs"]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    /// Type and data of each event.
    fn read<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut stream = Stream::new();
        let (mut events, mut kind, mut data) = (Vec::new(), Vec::new(), Vec::<Vec<u8>>::new());
        let mut in_type = false;
        for mut chunk in chunks {
            while let Some(piece) = stream.next(&mut chunk) {
                match piece {
                    SsePiece::Type => {
                        in_type = true;
                        kind = Vec::new();
                    }
                    SsePiece::Data => {
                        in_type = false;
                        data.push(Vec::new());
                    }
                    SsePiece::Id => unreachable!("only of a stream with ids"),
                    SsePiece::Value(value) if in_type => kind.extend(value),
                    SsePiece::Value(value) => data.last_mut().unwrap().extend(value),
                    SsePiece::Dispatch => {
                        if !data.is_empty() {
                            events.push((kind, data.join(&b'\n')));
                        }
                        (kind, data) = (Vec::new(), Vec::new());
                    }
                }
            }
        }
        events
    }

    fn event(kind: &str, data: &str) -> (Vec<u8>, Vec<u8>) {
        (kind.into(), data.into())
    }

    #[test]
    fn an_event_has_a_type_and_lines_of_data() {
        let stream = b"event: endpoint\ndata: /a\ndata: b\n\ndata:c\n\n";
        assert_eq!(read([&stream[..]]), [event("endpoint", "/a\nb"), event("", "c")]);
    }

    #[test]
    fn lines_end_with_any_of_the_three_line_ends() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = ["event: x", "data: 1", "", "data: 2", "", ""].join(end);
            assert_eq!(read([stream.as_bytes()]), [event("x", "1"), event("", "2")], "{end:?}");
        }
    }

    #[test]
    fn a_mark_at_the_beginning_is_no_part_of_the_first_field() {
        assert_eq!(read(["\u{feff}data:1\n\n".as_bytes()]), [event("", "1")]);
        assert_eq!(read(["\u{feff}\u{feff}data:1\n\n".as_bytes()]), []);
        assert_eq!(read([&b"\xef\xbbdata:1\n\n"[..]]), []);
        assert_eq!(read([&b"\xef\n\ndata:1\n\n"[..]]), [event("", "1")]);
    }

    #[test]
    fn comments_other_fields_and_events_without_data_are_none() {
        let stream =
            b": hello\nid: 7\nretry: 10\nevent: x\n\n:\ndatas: 1\nDATA: 2\n data: 3\n\ndata\n\n";
        assert_eq!(read([&stream[..]]), [event("", "")]);
    }

    #[test]
    fn only_one_space_goes_with_the_colon_and_the_last_type_counts() {
        let stream = b"event:a\nevent: b\ndata:  x:y\nevent\n\n";
        assert_eq!(read([&stream[..]]), [event("", " x:y")]);
    }

    #[test]
    fn an_event_that_does_not_end_is_none() {
        assert_eq!(read([&b"data: 1\n"[..]]), []);
        assert_eq!(read([&b"data: 1\r"[..], b"\n"]), []);
        assert_eq!(read([&b"data: 1\r"[..], b"\r"]), [event("", "1")]);
    }

    proptest::proptest! {
        #[test]
        fn pieces_are_what_the_whole_stream_says_however_it_is_cut(
            words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40),
            cut in 1usize..9,
        ) {
            let stream = words.concat();
            let expected = model::events(stream.as_bytes());
            proptest::prop_assert_eq!(read([stream.as_bytes()]), expected.clone());
            proptest::prop_assert_eq!(read(stream.as_bytes().chunks(cut)), expected);
        }
    }

    const WORDS: &[&str] = &[
        "\n", "\r", "\r\n", "\n\n", "data", "event", "data:", "event:", "data: ", "id:", ":", " ",
        "x", "endpoint", "é", "\u{feff}", "\0",
    ];
}
