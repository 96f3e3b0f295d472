//! A model of HTTP/1.1 and JSON-RPC responses: simple functions that have all bytes that the server has
//! sent. The tests and the fuzz target compare this crate with it.

use std::fmt;

use affinity::http::{MAX_BODY, MAX_EXTENSIONS, MAX_FIELDS, MAX_HEAD, MAX_TRAILER};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::model;

/// Why a response is not complete.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    Invalid,
    Cut,
}

/// Header lines.
type Fields = Vec<(String, Vec<u8>)>;

/// What the bytes of a server say.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Status and header lines, with names in lower case.
    pub head: Option<(u16, Fields)>,
    pub body: Vec<u8>,
    /// How the response ends; if it is complete, whether the connection is reusable.
    pub end: Result<bool, Flaw>,
    /// Whether only the end of the connection ends the body.
    pub until_close: bool,
}

/// What a call finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Nothing,
    Result(Value),
    Error(i64),
    Flaw(Flaw),
    /// serde_json does not read the text as other parsers do.
    Beyond,
}

/// Reads the response at the beginning of `bytes`.
pub fn response(bytes: &[u8], to_head: bool) -> Response {
    let mut response = Response { head: None, body: vec![], end: Ok(false), until_close: false };
    response.end = read(bytes, to_head, &mut response);
    response
}

fn read(bytes: &[u8], to_head: bool, response: &mut Response) -> Result<bool, Flaw> {
    let mut rest = bytes;
    let (status, is_1_0, fields) = loop {
        let first = b"HTTP/1.";
        if !rest.iter().zip(first).all(|(byte, wanted)| byte == wanted) {
            return Err(Flaw::Invalid);
        }
        let head = block(rest, MAX_HEAD - (bytes.len() - rest.len()))?;
        rest = &rest[head.len()..];
        let (status, is_1_0, fields) = parse(head).ok_or(Flaw::Invalid)?;
        match status {
            101 => return Err(Flaw::Invalid),
            100..=199 => {}
            _ => break (status, is_1_0, fields),
        }
    };
    let all = |name: &str| {
        let values = fields.iter().filter(|(other, _)| other == name);
        values.map(|(_, value)| String::from_utf8_lossy(value).to_lowercase()).collect::<Vec<_>>()
    };
    let options = all("connection").join(",");
    let has = |option| options.split(',').any(|other| other.trim_matches([' ', '\t']) == option);
    let keeps = !has("close") && (!is_1_0 || has("keep-alive"));
    let (lengths, encodings) = (all("content-length"), all("transfer-encoding"));
    let is_chunked = match &encodings[..] {
        [] => false,
        [one] if one == "chunked" && !is_1_0 => true,
        _ => return Err(Flaw::Invalid),
    };
    let length = match &lengths[..] {
        [] => None,
        [one] if !one.starts_with('+') => Some(one.parse::<u64>().map_err(|_| Flaw::Invalid)?),
        _ => return Err(Flaw::Invalid),
    };
    if is_chunked && length.is_some() {
        return Err(Flaw::Invalid);
    }
    response.head = Some((status, fields));
    let body = &mut response.body;
    if to_head || [204, 304].contains(&status) {
    } else if is_chunked {
        rest = chunks(rest, body)?;
    } else if let Some(length) = length {
        rest = data(rest, length, body)?;
    } else {
        response.until_close = true;
        data(rest, u64::MAX, body)?;
    }
    Ok(keeps && rest.is_empty())
}

/// The lines at the beginning of `bytes`, up to an empty one.
fn block(bytes: &[u8], limit: usize) -> Result<&[u8], Flaw> {
    let end = match bytes {
        [b'\r', b'\n', ..] => Some(2),
        _ => bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4),
    };
    let lines = &bytes[..end.unwrap_or(bytes.len())];
    let is_bad = lines.iter().enumerate().any(|(at, byte)| match byte {
        b'\n' => at == 0 || lines[at - 1] != b'\r',
        b'\r' => at + 1 < lines.len() && lines[at + 1] != b'\n',
        _ => is_control(*byte),
    });
    match end {
        _ if is_bad || lines.len() > limit => Err(Flaw::Invalid),
        None => Err(Flaw::Cut),
        Some(_) => Ok(lines),
    }
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Status, whether it is HTTP/1.0, header lines.
type Head = (u16, bool, Fields);

/// By hand, as the code has `httparse`.
fn parse(head: &[u8]) -> Option<Head> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r"));
    let status_line = lines.next()??;
    let (version, rest) = status_line.split_at_checked(9)?;
    let (status, reason) = rest.split_at_checked(3)?;
    let is_status = status.iter().all(u8::is_ascii_digit);
    if !matches!(version, b"HTTP/1.0 " | b"HTTP/1.1 ") || !is_status {
        return None;
    }
    let status: u16 = String::from_utf8_lossy(status).parse().ok()?;
    if !(100..600).contains(&status) || !(reason.is_empty() || reason.starts_with(b" ")) {
        return None;
    }
    let mut fields = Vec::new();
    for line in lines.take_while(|line| *line != Some(b"")) {
        let line = line?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8(line[..colon].to_vec()).ok()?;
        let is_of_token = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c);
        if name.is_empty() || !name.chars().all(is_of_token) {
            return None;
        }
        fields.push((name.to_lowercase(), line[colon + 1..].trim_ascii().to_vec()));
    }
    (fields.len() <= MAX_FIELDS).then_some((status, version == b"HTTP/1.0 ", fields))
}

fn data<'b>(bytes: &'b [u8], len: u64, body: &mut Vec<u8>) -> Result<&'b [u8], Flaw> {
    let here = bytes.len().min(usize::try_from(len).unwrap_or(usize::MAX));
    let room = MAX_BODY - body.len();
    body.extend(&bytes[..here.min(room)]);
    match () {
        () if here > room => Err(Flaw::Invalid),
        () if here as u64 != len && len != u64::MAX => Err(Flaw::Cut),
        () => Ok(&bytes[here..]),
    }
}

fn chunks<'b>(mut bytes: &'b [u8], body: &mut Vec<u8>) -> Result<&'b [u8], Flaw> {
    let mut extensions = 0;
    loop {
        let end = bytes.iter().position(|byte| *byte == b'\r').unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at(end);
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) = line.split_at(digits);
        extensions += extension.len();
        let is_bad = digits.len() > 16
            || digits.is_empty() && !(line.is_empty() && rest.is_empty())
            || !matches!(extension, [] | [b';' | b' ' | b'\t', ..])
            || extension.iter().any(|byte| is_control(*byte))
            || extensions > MAX_EXTENSIONS;
        if is_bad {
            return Err(Flaw::Invalid);
        }
        bytes = line_end(rest)?;
        let size = String::from_utf8_lossy(digits);
        let size = u64::from_str_radix(&size, 16).unwrap();
        if size == 0 {
            return Ok(&bytes[block(bytes, MAX_TRAILER)?.len()..]);
        }
        let here = bytes.len();
        // A size of u64::MAX is no body that goes on to the end.
        bytes = data(bytes, size.min(u64::MAX - 1), body)?;
        assert!(here - bytes.len() == size as usize);
        bytes = line_end(bytes)?;
    }
}

fn line_end(bytes: &[u8]) -> Result<&[u8], Flaw> {
    match bytes {
        [b'\r', b'\n', rest @ ..] => Ok(rest),
        [] | [b'\r'] => Err(Flaw::Cut),
        _ => Err(Flaw::Invalid),
    }
}

/// What a call with the id 1 finds; `closed`: the server has closed the connection behind the bytes.
pub fn answer(bytes: &[u8], closed: bool) -> Answer {
    let response = response(bytes, false);
    let flaw = response.end.err();
    let Some((status, fields)) = response.head else {
        return Answer::Flaw(flaw.unwrap());
    };
    let first = |name: &str| {
        let value = fields.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        value.map(|value| String::from_utf8_lossy(value).to_lowercase())
    };
    let kind = first("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap().trim_ascii();
    let any_error = !(200..300).contains(&status);
    let is_open = response.until_close && !closed && flaw.is_none();
    let end = flaw.or(is_open.then_some(Flaw::Cut));
    match kind {
        _ if first("content-encoding").is_some() => Answer::Nothing,
        "application/json" => match end {
            Some(flaw) => Answer::Flaw(flaw),
            None => message(&response.body, any_error),
        },
        "text/event-stream" => {
            let events = model::events(&response.body);
            let messages = events.iter().filter(|(kind, _)| kind.is_empty() || kind == b"message");
            let mut found = messages.map(|(_, data)| message(data, any_error));
            let none = end.map_or(Answer::Nothing, Answer::Flaw);
            found.find(|answer| *answer != Answer::Nothing).unwrap_or(none)
        }
        _ => Answer::Nothing,
    }
}

/// The members of an object, in their order.
struct Members(Vec<(String, Value)>);

impl<'t> Deserialize<'t> for Members {
    fn deserialize<D: Deserializer<'t>>(text: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'t> Visitor<'t> for Reader {
            type Value = Members;

            fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
                text.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        text.deserialize_map(Reader)
    }
}

/// The only member of each name; none if a name is there twice.
fn members<const N: usize>(text: &str, names: [&str; N]) -> Option<[Option<Value>; N]> {
    let Members(all) = serde_json::from_str(text).ok()?;
    let of = |name| all.iter().filter(move |(other, _)| other == name);
    if names.iter().any(|name| of(*name).count() > 1) {
        return None;
    }
    Some(names.map(|name| of(name).next().map(|(_, value)| value.clone())))
}

fn message(text: &[u8], any_error: bool) -> Answer {
    // Nested deep, or a character that is half of a pair.
    let low = text.to_ascii_lowercase();
    if text.iter().filter(|byte| b"[{".contains(byte)).count() > 100
        || low.windows(3).any(|three| three == b"\\ud")
    {
        return Answer::Beyond;
    }
    let texts: Vec<&serde_json::value::RawValue> = match serde_json::from_slice::<Value>(text) {
        Err(error) if error.to_string().starts_with("number out of range") => {
            return Answer::Beyond;
        }
        Err(_) => return Answer::Nothing,
        Ok(Value::Array(_)) => serde_json::from_slice(text).unwrap(),
        Ok(_) => vec![serde_json::from_slice(text).unwrap()],
    };
    let answers = texts.iter().filter_map(|text| {
        let [version, id, result, error] =
            members(text.get(), ["jsonrpc", "id", "result", "error"])?;
        let id = id.unwrap_or_default();
        let error = error.filter(|error| !error.is_null());
        match (result, error) {
            _ if version? != "2.0" => None,
            (Some(_), None) if id == 1u64 => {
                Some(Answer::Result(serde_json::from_str(text.get()).unwrap()))
            }
            (None, Some(_)) if id == 1u64 || id.is_null() || any_error => {
                // Its text, as it is: a `Value` has lost members with one name.
                let all: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
                    serde_json::from_str(text.get()).unwrap();
                let [code] = members(all["error"].get(), ["code"])?;
                Some(Answer::Error(code?.as_i64()?))
            }
            _ => None,
        }
    });
    answers.into_iter().next().unwrap_or(Answer::Nothing)
}
