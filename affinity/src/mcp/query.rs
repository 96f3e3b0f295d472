//! The session id in a query, as servers of the transport HTTP+SSE read it.

use super::{Bounded, Id};

/// What the SDKs call it: TypeScript's the first, Python's the second.
const NAMES: [&[u8]; 2] = [b"sessionId", b"session_id"];

/// The first session id in a query that is not empty, decoded into `id`.
pub(super) fn session_id<'s>(query: &[u8], id: &'s mut Id) -> Option<&'s [u8]> {
    let mut reader = Query::of_query();
    id.clear();
    reader.feed(query, id);
    reader.finish(id)
}

/// Reads a query part by part: percent signs that no two hexadecimal digits follow stand for
/// themselves, a plus sign for a space, names are decoded as values are.
pub(super) struct Query {
    place: Place,
    name: Bounded<10>,
    /// What has been read of an escape.
    escape: Escape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the question mark.
    Path,
    Name,
    /// In the value of a session id.
    SessionId,
    /// In the value of something else.
    Other,
    /// All is read that matters.
    End,
}

#[derive(Clone, Copy)]
enum Escape {
    None,
    Percent,
    /// The first digit.
    Digit(u8),
}

impl Query {
    /// Reads a query.
    pub(super) fn of_query() -> Self {
        Query { place: Place::Name, name: Bounded::new(), escape: Escape::None }
    }

    /// Reads the query of a URI reference.
    pub(super) fn of_uri() -> Self {
        Query { place: Place::Path, ..Self::of_query() }
    }

    /// Takes the next part. `id` is empty at first, and always the same.
    pub(super) fn feed(&mut self, mut part: &[u8], id: &mut Id) {
        while let Some((byte, rest)) = part.split_first() {
            if let escape @ (Escape::Percent | Escape::Digit(_)) = self.escape {
                self.escaped(escape, *byte, id);
                part = rest;
                continue;
            }
            let plain = part.iter().position(|byte| b"&=%+#?".contains(byte));
            match part.split_at_checked(plain.unwrap_or(part.len())) {
                Some((text @ [_, ..], rest)) => {
                    self.decoded(text, id);
                    part = rest;
                }
                _ => {
                    self.special(*byte, id);
                    part = rest;
                }
            }
        }
    }

    /// The session id, when all has been read.
    pub(super) fn finish<'s>(&mut self, id: &'s mut Id) -> Option<&'s [u8]> {
        self.not_escaped(id);
        self.end_value(id);
        id.get().filter(|id| !id.is_empty())
    }

    fn special(&mut self, byte: u8, id: &mut Id) {
        match (byte, self.place) {
            (_, Place::End) => {}
            (b'#', _) => {
                self.end_value(id);
                self.place = Place::End;
            }
            (b'?', Place::Path) => self.place = Place::Name,
            (_, Place::Path) => {}
            (b'&', _) => self.end_value(id),
            (b'=', Place::Name) => {
                let known = self.name.get().is_some_and(|name| NAMES.contains(&name));
                self.place = if known { Place::SessionId } else { Place::Other };
            }
            (b'%', _) => self.escape = Escape::Percent,
            (b'+', _) => self.decoded(b" ", id),
            _ => self.decoded(&[byte], id),
        }
    }

    fn escaped(&mut self, escape: Escape, byte: u8, id: &mut Id) {
        match (escape, hex(byte)) {
            (Escape::Percent, Some(_)) => self.escape = Escape::Digit(byte),
            (Escape::Digit(first), Some(low)) => {
                self.escape = Escape::None;
                self.decoded(&[hex(first).unwrap_or_default() << 4 | low], id);
            }
            _ => {
                self.not_escaped(id);
                self.special(byte, id);
            }
        }
    }

    fn decoded(&mut self, text: &[u8], id: &mut Id) {
        match self.place {
            Place::Name => self.name.extend(text),
            Place::SessionId => id.extend(text),
            Place::Path | Place::Other | Place::End => {}
        }
    }

    fn not_escaped(&mut self, id: &mut Id) {
        match core::mem::replace(&mut self.escape, Escape::None) {
            Escape::None => {}
            Escape::Percent => self.decoded(b"%", id),
            Escape::Digit(digit) => {
                self.decoded(&[b'%', digit], id);
            }
        }
    }

    fn end_value(&mut self, id: &Id) {
        self.name.clear();
        self.place = if id.is_empty() { Place::Name } else { Place::End };
    }
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}
