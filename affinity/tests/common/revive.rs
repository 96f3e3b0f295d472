//! A model of what is read for a revival: simple functions that have the whole text. The tests and the fuzz
//! targets compare this crate with it.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;

use affinity::mcp::BodyFormat;
use affinity::revive::{ClientBody, NegotiatedReader, RpcId, ServerRequests};
use serde_json::value::RawValue;
use serde_json::Value;

type Members<'t> = BTreeMap<String, &'t RawValue>;

/// Version, and names of capabilities.
pub type Answer = (String, Vec<(String, String)>);

/// What is read of an answer to `initialize` that comes in pieces.
pub fn read_answer<'b>(
    format: BodyFormat,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> Option<Answer> {
    let mut reader = NegotiatedReader::new(format);
    let mut is_done = false;
    for piece in pieces {
        let is_open = reader.feed(piece);
        // A reader that is done stays done.
        assert!(!(is_done && is_open));
        is_done |= !is_open;
    }
    let negotiated = reader.finish()?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let names =
        negotiated.capabilities().names().map(|(name, part)| (text(name), text(part))).collect();
    Some((negotiated.version().to_string(), names))
}

/// What one response says.
pub fn answer(response: &Value) -> Option<Answer> {
    let result = response.get("result")?;
    let version = result.get("protocolVersion")?.as_str()?;
    let is_on = |value: &&Value| !matches!(value, Value::Null | Value::Bool(false));
    let mut names = Vec::new();
    for (name, value) in result.get("capabilities")?.as_object()? {
        if !is_on(&value) {
            continue;
        }
        names.push((name.clone(), String::new()));
        let parts = value.as_object().into_iter().flatten();
        for (part, _) in parts.filter(|(part, value)| is_on(value) && !part.is_empty()) {
            names.push((name.clone(), part.clone()));
        }
    }
    names.sort();
    Some((version.to_string(), names))
}

/// What a message is.
#[derive(Debug, PartialEq)]
pub enum Message {
    Request(Option<RpcId>),
    Response(Option<RpcId>),
    Other,
}

/// The messages of a text; none if it is no JSON. A text that is nested deeper than 64 may have none as well.
pub fn messages(text: &[u8]) -> Option<Vec<Message>> {
    let whole: &RawValue = serde_json::from_slice(text).ok()?;
    let message = |text: &RawValue| {
        let Ok(members) = serde_json::from_str::<Members>(text.get()) else {
            return Message::Other;
        };
        let id = members.get("id").and_then(|id| rpc_id(id.get()));
        let has = |name: &str| members.contains_key(name);
        match (has("method"), has("result") || has("error")) {
            (true, _) => Message::Request(id),
            (false, true) => Message::Response(id),
            (false, false) => Message::Other,
        }
    };
    match serde_json::from_str::<Vec<&RawValue>>(whole.get()) {
        Ok(batch) => Some(batch.into_iter().map(message).collect()),
        Err(_) => Some(vec![message(whole)]),
    }
}

/// Whether the text may be nested deeper than is read, or has half of a surrogate pair, which some parsers read.
pub fn is_beyond(text: &[u8]) -> bool {
    let has_half = |part: &[u8]| part.eq_ignore_ascii_case(b"\\ud");
    text.windows(3).any(has_half) || text.iter().filter(|byte| b"[{".contains(byte)).count() > 60
}

/// The id that is written like this, in the shortest message that has it.
pub fn rpc_id(id: &str) -> Option<RpcId> {
    // A line end in a raw value is no end of the field.
    assert!(!id.contains(['\n', '\r']));
    let mut found = None;
    let stream = format!("data:{{\"id\":{id},\"method\":\"\"}}\n");
    ServerRequests::new().feed(stream.as_bytes(), |id| found = Some(id));
    found
}

/// Reads a body that comes in pieces.
pub fn read_body<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> ClientBody {
    let mut body = ClientBody::new();
    pieces.into_iter().for_each(|piece| body.feed(piece));
    body
}

/// Checks what is read of a body.
pub fn check_body(body: &ClientBody, text: &[u8]) {
    let mut asked = Vec::new();
    let may_be_sent = body.may_be_sent(|id| {
        asked.push(id);
        true
    });
    // Nothing that no parser reads is an answer.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let Some(messages) = messages(text) else {
        assert!(!body.is_answer());
        return;
    };
    let is_response = |message: &Message| matches!(message, Message::Response(_));
    let is_answer = !messages.is_empty() && messages.iter().all(is_response);
    // It may be nested too deep.
    assert!(!body.is_answer() || is_answer);
    if may_be_sent && !messages.iter().any(|message| matches!(message, Message::Request(_))) {
        for message in messages {
            if let Message::Response(id) = message {
                assert!(asked.contains(&id.unwrap()));
            }
        }
    }
}

/// The requests in a stream that comes in pieces.
pub fn read_requests<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<RpcId> {
    let mut requests = ServerRequests::new();
    let mut ids = Vec::new();
    pieces.into_iter().for_each(|piece| requests.feed(piece, |id| ids.push(id)));
    ids
}
