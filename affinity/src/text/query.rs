//! The session id in a query, as servers of the transport HTTP+SSE read it.

use super::bounded::{Bounded, Id};

/// The names of the parameter, in any letter case: `sessionId` in the TypeScript SDK, `session_id` in the
/// Python SDK, `sessionid` in the Go SDK. By hand: `percent-encoding` leaves `+` as it is.
const NAMES: [&[u8]; 2] = [b"sessionid", b"session_id"];

/// The length of the longest of them, in bytes.
const MAX_NAME: usize = 10;

/// The first session id in a query that is not empty, decoded into `id`. A percent sign without two
/// hexadecimal digits behind it is kept, a plus sign is a space. Names are decoded like values.
pub(crate) fn session_id<'s>(query: &[u8], id: &'s mut Id) -> Option<&'s [u8]> {
    let value = session_ids(query).next()?;
    id.clear();
    decode(value, id);
    id.get()
}

/// Whether a query has several session ids that differ, undecoded.
pub(crate) fn has_several(query: &[u8]) -> bool {
    let mut values = session_ids(query);
    values.next().is_some_and(|first| values.any(|other| other != first))
}

/// The session ids that are not empty, undecoded.
fn session_ids(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    let query = query.split(|byte| *byte == b'#').next().unwrap_or_default();
    query.split(|byte| *byte == b'&').filter_map(|parameter| match split(parameter, b'=') {
        (name, Some(value)) if !value.is_empty() && is_session_id(name) => Some(value),
        _ => None,
    })
}

/// Whether a parameter of this name, undecoded, holds a session id.
pub(crate) fn is_session_id(name: &[u8]) -> bool {
    let mut decoded = Bounded::<MAX_NAME>::new();
    decode(name, &mut decoded);
    decoded.get().is_some_and(|name| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

/// The text before the first `mark`, and the text after it.
pub(crate) fn split(text: &[u8], mark: u8) -> (&[u8], Option<&[u8]>) {
    let at = text.iter().position(|byte| *byte == mark).unwrap_or(text.len());
    match text.split_at_checked(at) {
        Some((before, [_, after @ ..])) => (before, Some(after)),
        _ => (text, None),
    }
}

fn decode<const N: usize>(mut text: &[u8], out: &mut Bounded<N>) {
    while let [byte, rest @ ..] = text {
        text = rest;
        match (*byte, rest) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    text = after;
                    out.push(high << 4 | low);
                }
                _ => out.push(b'%'),
            },
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}
