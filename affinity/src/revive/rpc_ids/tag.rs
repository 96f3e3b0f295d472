//! Ids of a server's requests in a revived session. A server numbers its requests from zero in each session. So the
//! client gets them with the number of the revival: its late answer to a request of the lost session has another id.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::client::BYTE_ORDER_MARK;
use super::message::RpcId;

/// The longest id that gets a tag, in bytes as it is written. A request with a longer one has no answer.
pub const MAX_TAGGED: usize = 66;

/// The longest line of a stream that is read, in bytes. A longer one is passed on as it is.
pub const MAX_LINE: usize = 256 * 1024;

const DATA: &[u8] = b"data:";

/// Of members with the same name the last one counts.
type Members<'t> = BTreeMap<String, &'t RawValue>;

/// What the ids of requests begin with since a revival.
#[derive(Clone, Debug)]
pub struct IdTag(String);

impl IdTag {
    /// `revivals`: how often the session was revived.
    pub fn new(revivals: u16) -> IdTag {
        IdTag(format!("nginx-{revivals}-"))
    }

    /// The string that the client gets instead of an id. The letter behind the tag tells numbers from strings.
    fn put(&self, id: &RawValue) -> Option<String> {
        let (tag, id) = (&self.0, id.get());
        if id.len() > MAX_TAGGED || id.contains('\\') {
            return None;
        }
        match id.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(text) => Some(format!("{tag}s{text}")),
            None => is_number(id).then(|| format!("{tag}n{id}")),
        }
    }

    /// The id that the server knows, as JSON; none without this tag.
    fn remove(&self, id: &RawValue) -> Option<String> {
        let text: String = serde_json::from_str(id.get()).ok()?;
        let id = text.strip_prefix(&self.0)?;
        match (id.strip_prefix('n'), id.strip_prefix('s')) {
            (Some(number), _) if is_number(number) => Some(String::from(number)),
            (_, Some(text)) => serde_json::to_string(text).ok(),
            _ => None,
        }
    }

    /// The body of a POST whose answers have the ids that the server knows. None if no id has this tag.
    pub fn remove_from(&self, body: &[u8]) -> Option<Vec<u8>> {
        let text = core::str::from_utf8(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)).ok()?;
        let mut changes = Vec::new();
        for members in messages(text)? {
            let id = members.get("id").filter(|_| !members.contains_key("method"));
            if let Some((id, original)) = id.and_then(|id| Some((*id, self.remove(id)?))) {
                changes.push((id, original));
            }
        }
        (!changes.is_empty()).then(|| replace(text, &changes)).flatten()
    }

    /// The text of an event with tags in the ids of requests, also in that of a request that the server cancels.
    /// None if there is no such id.
    fn put_into(&self, text: &str, report: &mut impl FnMut(RpcId)) -> Option<Vec<u8>> {
        let mut changes = Vec::new();
        for members in messages(text)? {
            let Some(method) = members.get("method") else { continue };
            if let Some((id, tagged)) = members.get("id").and_then(|id| Some((*id, self.put(id)?)))
            {
                report(RpcId::of_string(&tagged));
                changes.push((id, format!("\"{tagged}\"")));
            }
            if method.get() == "\"notifications/cancelled\"" {
                let params = members.get("params").and_then(|it| object(it.get()));
                let id = params.and_then(|params| params.get("requestId").copied());
                if let Some((id, tagged)) = id.and_then(|id| Some((id, self.put(id)?))) {
                    changes.push((id, format!("\"{tagged}\"")));
                }
            }
        }
        (!changes.is_empty()).then(|| replace(text, &changes)).flatten()
    }
}

fn is_number(text: &str) -> bool {
    let is_json = || serde_json::from_str::<&RawValue>(text).is_ok_and(|it| it.get() == text);
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) && is_json()
}

/// The members of each message in a JSON text: of one, or of an array of them.
fn messages(text: &str) -> Option<Vec<Members<'_>>> {
    match text.trim_ascii_start().starts_with('[') {
        true => {
            let batch: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            Some(batch.into_iter().filter_map(|it| object(it.get())).collect())
        }
        false => Some(vec![object(text)?]),
    }
}

fn object(text: &str) -> Option<Members<'_>> {
    serde_json::from_str(text).ok()
}

/// A text with other values; each is a part of it, and they are in any order.
fn replace(text: &str, changes: &[(&RawValue, String)]) -> Option<Vec<u8>> {
    let place = |value: &RawValue| value.get().as_ptr().addr().checked_sub(text.as_ptr().addr());
    let mut sorted: Vec<_> =
        changes.iter().map(|(value, new)| (place(value), value, new)).collect();
    sorted.sort_by_key(|(place, ..)| *place);
    let (mut out, mut done) = (Vec::new(), 0);
    for (place, value, new) in sorted {
        out.extend_from_slice(text.get(done..place?)?.as_bytes());
        out.extend_from_slice(new.as_bytes());
        done = place? + value.get().len();
    }
    out.extend_from_slice(text.get(done..)?.as_bytes());
    Some(out)
}

/// Puts tags into the ids of requests in an event stream. Only a request whose JSON is on one line gets one. The
/// result does not depend on where the stream is cut.
pub struct TaggedStream {
    tag: IdTag,
    /// A line with data, as far as it has come.
    line: Vec<u8>,
    /// Whether the rest of the line is passed on as it comes.
    passes: bool,
}

impl TaggedStream {
    /// At the beginning of a stream.
    pub fn new(tag: IdTag) -> TaggedStream {
        TaggedStream { tag, line: Vec::new(), passes: false }
    }

    /// Reads the next bytes, and adds to `out` what can be passed on. Reports each id with a tag, as the client will
    /// send it.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>, mut report: impl FnMut(RpcId)) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.passes {
                out.extend_from_slice(part);
            } else {
                self.line.extend_from_slice(part);
                self.pass_if_beyond(out);
            }
            bytes = rest;
            if let Some((end, rest)) = rest.split_first() {
                self.end_line(out, &mut report);
                out.push(*end);
                bytes = rest;
            }
        }
    }

    /// Adds to `out` what is left when the stream ends: a line without an end.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.line);
    }

    fn pass_if_beyond(&mut self, out: &mut Vec<u8>) {
        let begins = self.line.iter().zip(DATA).all(|(byte, expected)| byte == expected);
        if !begins || self.line.len() > MAX_LINE {
            out.append(&mut self.line);
            self.passes = true;
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>, report: &mut impl FnMut(RpcId)) {
        self.passes = false;
        let text = self.line.strip_prefix(DATA).and_then(|text| core::str::from_utf8(text).ok());
        match text.and_then(|text| self.tag.put_into(text, report)) {
            Some(text) => {
                out.extend_from_slice(DATA);
                out.extend_from_slice(&text);
                self.line.clear();
            }
            None => out.append(&mut self.line),
        }
    }
}
