//! A model of MCP's texts: simple functions that have the whole text and use well-known crates. The tests
//! and the fuzz targets compare this crate with it.

#![allow(dead_code, reason = "each test uses a part")]

use std::str;

use base64::prelude::{Engine, BASE64_STANDARD};
use percent_encoding::percent_decode;
use serde_json::{Deserializer, Value};
use url::Url;

const MAX_ID: usize = 1024;
const MAX_DEPTH: usize = 64;

/// The id in a query.
pub fn query(query: &[u8]) -> Option<Vec<u8>> {
    let query = query.split(|byte| *byte == b'#').next().unwrap();
    let decode = |text: &[u8]| {
        let spaced: Vec<_> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        percent_decode(&spaced).collect::<Vec<_>>()
    };
    let id = query.split(|byte| *byte == b'&').find_map(|parameter| {
        let equals = parameter.iter().position(|byte| *byte == b'=')?;
        let name = decode(&parameter[..equals]);
        let value = decode(&parameter[equals + 1..]);
        is_session_id(&name).then_some(value).filter(|v| !v.is_empty())
    })?;
    (id.len() <= MAX_ID).then_some(id)
}

fn is_session_id(name: &[u8]) -> bool {
    matches!(&name.to_ascii_lowercase()[..], b"sessionid" | b"session_id")
}

/// The value of `Mcp-Name`.
pub fn name(field: &[u8]) -> Option<Vec<u8>> {
    let value = match field.strip_prefix(b"=?base64?").and_then(|f| f.strip_suffix(b"?=")) {
        None => field.to_vec(),
        Some(payload) => {
            let value = String::from_utf8(BASE64_STANDARD.decode(payload).ok()?).ok()?;
            Some(value).filter(|value| value.len() <= MAX_ID)?.into_bytes()
        }
    };
    Some(value).filter(|value| !value.is_empty())
}

/// The `Mcp-Name` that stands for a value, whatever the value is.
pub fn name_of(value: &str) -> String {
    format!("=?base64?{}?=", BASE64_STANDARD.encode(value))
}

/// Whether a version is a date, and not before 2026-07-28.
pub fn is_stateless(version: &[u8]) -> bool {
    let number = |digits: &str, len| {
        let good = digits.len() == len && digits.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| digits.parse::<u32>().unwrap())
    };
    let date = || {
        let mut parts = str::from_utf8(version).ok()?.split('-');
        let date =
            (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
        parts.next().is_none().then_some(date)
    };
    date().is_some_and(|date| date >= (2026, 7, 28))
}

/// Type and data of each event of a stream.
pub fn events(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rest = stream.strip_prefix("\u{feff}".as_bytes()).unwrap_or(stream);
    let (mut events, mut kind, mut data) = (Vec::new(), Vec::new(), Vec::new());
    // What follows the last line end is no line.
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        let (line, after) = rest.split_at(end);
        rest = after.strip_prefix(b"\r\n").unwrap_or(&after[1..]);
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => kind = value.to_vec(),
            b"data" => data.push(value),
            b"" if line.is_empty() => {
                if !data.is_empty() {
                    events.push((kind.clone(), data.join(&b'\n')));
                }
                (kind, data) = (Vec::new(), Vec::new());
            }
            _ => {}
        }
    }
    events
}

/// What names the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Endpoint {
    /// Nothing.
    None,
    /// The session id in the query of its event.
    Id(Vec<u8>),
    /// The target of its event.
    Target(Vec<u8>),
    /// It may be too long, or the `url` crate does not resolve it.
    Beyond,
}

/// The first `endpoint` of a stream whose request line has this URI.
pub fn endpoint(stream: &[u8], uri: &str) -> Endpoint {
    let Some((_, data)) = events(stream).into_iter().find(|(kind, _)| kind == b"endpoint") else {
        return Endpoint::None;
    };
    reference(&data, uri)
}

/// What the data of an `endpoint` event name.
pub fn reference(data: &[u8], uri: &str) -> Endpoint {
    if data.len() + uri.len() > MAX_ID {
        return Endpoint::Beyond;
    }
    let data: Vec<_> = data.iter().copied().filter(|b| !b"\t\r\n".contains(b)).collect();
    let is_blank = |byte: &u8| *byte <= b' ';
    let begin = data.iter().take_while(|byte| is_blank(byte)).count();
    let end = data.len() - data.iter().rev().take_while(|byte| is_blank(byte)).count();
    let data = data.get(begin..end).unwrap_or_default();

    let is_of_uri = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(b);
    let before_fragment = data.split(|byte| *byte == b'#').next().unwrap();
    let id = before_fragment.iter().position(|byte| *byte == b'?').and_then(|question| {
        let text = &before_fragment[question + 1..];
        query(text.split(|byte| byte.is_ascii() && !is_of_uri(byte)).next().unwrap())
    });
    let id_of_stream = uri.split_once('?').and_then(|(_, text)| query(text.as_bytes()));
    let target = match str::from_utf8(data) {
        Ok(text) if data.iter().all(is_of_uri) => match resolve(text, uri) {
            Ok(target) => target,
            Err(()) => return Endpoint::Beyond,
        },
        _ => None,
    };
    if let Some(target) = target.as_ref().filter(|target| has_session_ids(target)) {
        return Endpoint::Target(target.clone().into());
    }
    match &id {
        Some(new) if id != id_of_stream => return Endpoint::Id(new.clone()),
        _ => {}
    }
    match (target.filter(|target| has_own_id(target, uri)), id) {
        (Some(target), _) => Endpoint::Target(target.into()),
        (None, Some(id)) => Endpoint::Id(id),
        (None, None) => Endpoint::None,
    }
}

/// Path and query of a reference as the `url` crate resolves it; an error where it does not.
fn resolve(reference: &str, uri: &str) -> Result<Option<String>, ()> {
    let low = reference.to_ascii_lowercase();
    let after = |prefix| low.strip_prefix(prefix);
    let (scheme, rest) = match (after("http:"), after("https:")) {
        (Some(rest), _) | (_, Some(rest)) => (true, rest),
        _ => (false, &low[..]),
    };
    let has_authority = rest.starts_with("//");
    // What browsers forgive is not read: no slashes behind the scheme, no host, a third slash.
    let is_odd = scheme && !has_authority
        || has_authority && matches!(rest[2..].chars().next(), None | Some('/' | '?' | '#'));
    if is_odd {
        return Ok(None);
    }
    // The crate keeps `x:` before `..`, as if it were a drive; the standard does that for `file:` only.
    let is_drive = |segment: &str| matches!(segment.as_bytes(), [b'a'..=b'z', b':']);
    if rest.split(['/', '?', '#']).any(is_drive) {
        return Err(());
    }
    let base = Url::parse(&format!("http://nginx.test{uri}")).map_err(|_| ())?;
    let url = base.join(reference).map_err(|_| ())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Ok(None);
    }
    Ok(Some(url[url::Position::BeforePath..url::Position::AfterQuery].to_owned()))
}

/// Whether a target has several session ids in its query that are written in different ways.
pub fn has_session_ids(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut values: Vec<_> = query
        .split('&')
        .filter_map(|text| text.split_once('='))
        .filter(|(name, value)| {
            let name: Vec<_> = percent_decode(name.replace('+', " ").as_bytes()).collect();
            !value.is_empty() && is_session_id(&name)
        })
        .map(|(_, value)| value)
        .collect();
    values.sort_unstable();
    values.dedup();
    values.len() > 1
}

/// Whether a target has an id of its own: the rule of `target.rs`, in other words.
fn has_own_id(target: &str, uri: &str) -> bool {
    let decode = |text: &str| percent_decode(text.as_bytes()).collect::<Vec<_>>();
    let names_session = |name: &str| {
        let low = name.to_ascii_lowercase();
        low.contains("session") || low.contains("client")
    };
    let of_stream: Vec<_> = uri.split(['/', '?', '&', ';', '=']).map(decode).collect();
    let chosen: Vec<_> = uri
        .split(['/', '?', '&', ';'])
        .filter_map(|text| text.split_once('='))
        .filter(|(name, _)| names_session(name))
        .map(|(_, value)| decode(value))
        .collect();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let in_path = path.split(['/', ';']).map(|text| (false, text));
    let in_query = query.split('&').map(|text| (true, text));
    in_path.chain(in_query).any(|(in_query, text)| {
        let (name, value) = text.split_once('=').unwrap_or(("", text));
        let decoded: Vec<_> = percent_decode(name.replace('+', " ").as_bytes()).collect();
        let has_digit = value.chars().any(|char| char.is_ascii_digit());
        let is_id = value.len() >= 20
            || value.len() >= 6 && has_digit
            || !value.is_empty() && names_session(name);
        let is_own = !of_stream.contains(&decode(value))
            || names_session(name) && chosen.contains(&decode(value));
        is_id && is_own && !(in_query && is_session_id(&decoded))
    })
}

/// What a JSON-RPC message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Nothing that matters.
    Other,
    /// A response that is no task.
    Response,
    /// A task, and its `ttlMs` if that is a number.
    Task(Vec<u8>, Option<f64>),
    /// It may be too deep, or a number in it is too large for serde_json.
    Beyond,
}

/// The JSON-RPC message at the beginning of a text, or the one that is the whole text.
pub fn message(text: &[u8], whole: bool) -> Message {
    if text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > MAX_DEPTH {
        return Message::Beyond;
    }
    let mut texts = Deserializer::from_slice(text).into_iter::<Value>();
    let message = match texts.next() {
        Some(Ok(Value::Object(message))) => message,
        Some(Err(error)) if error.to_string().starts_with("number out of range") => {
            return Message::Beyond;
        }
        _ => return Message::Other,
    };
    if whole && !text[texts.byte_offset()..].trim_ascii().is_empty() {
        return Message::Other;
    }
    if !message.contains_key("result") && !message.contains_key("error") {
        return Message::Other;
    }
    let result = message.get("result");
    let member = |name| result.and_then(|result| result.get(name));
    let id = member("taskId").and_then(Value::as_str).unwrap_or_default();
    let is_task = member("resultType").and_then(Value::as_str) == Some("task");
    if !is_task || id.is_empty() || id.len() > MAX_ID {
        return Message::Response;
    }
    Message::Task(id.into(), member("ttlMs").and_then(Value::as_f64))
}

/// Whether the body of a request is an `initialize`; `None` if it may be too deep or too long, or is no JSON.
pub fn is_initialize(body: &[u8]) -> Option<bool> {
    const MAX_READ: usize = 64 * 1024;
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let depth = body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if depth > MAX_DEPTH || body.len() > MAX_READ - 3 {
        return None;
    }
    let is_method = |message: &Value| {
        message.as_object().and_then(|it| it.get("method")) == Some(&Value::from("initialize"))
    };
    Some(match serde_json::from_slice::<Value>(body).ok()? {
        Value::Array(messages) => messages.iter().any(is_method),
        message => is_method(&message),
    })
}

/// What the first response in a stream says.
pub fn messages(stream: &[u8]) -> Message {
    let events = events(stream).into_iter();
    events
        .filter(|(kind, _)| kind.is_empty() || kind == b"message")
        .map(|(_, data)| message(&data, true))
        .find(|message| *message != Message::Other)
        .unwrap_or(Message::Other)
}

/// Whether a time to live that was read is what `ttlMs` means. Floats are not exact, and time is
/// kept in steps.
pub fn is_ttl(read_millis: Option<u64>, meant: Option<f64>) -> bool {
    const STEP: f64 = 64.0;
    const LONGEST: f64 = i32::MAX as f64 * STEP;
    let meant = meant.unwrap_or_default().clamp(0.0, LONGEST);
    let read = read_millis.unwrap_or_default() as f64;
    (read - meant).abs() <= STEP
}
