//! Finds the response to a request in a JSON text.

use core::fmt;
use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcAnswer<'t> {
    /// There is no response. A notification has none, an HTTP error may have none.
    Nothing,
    /// The response has a result. These are the bytes of the whole response, a JSON object.
    Result(&'t [u8]),
    /// The response is an error with this code.
    Error(i64),
}

/// Which responses are meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// None for any id.
    pub(super) id: Option<u64>,
    /// Whether an error with any id is meant. An HTTP response with an error status has only one message;
    /// servers that have not read the request invent an id for it (the Python SDK `server-error`).
    pub(super) any_error: bool,
}

/// The members of a response. One that is there twice makes the message invalid: parsers differ in
/// which of the two they take.
#[derive(serde::Deserialize)]
struct Response<'t> {
    #[serde(borrow)]
    jsonrpc: Cow<'t, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'t RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'t RawValue>,
    /// Some servers send `null` beside a result.
    #[serde(borrow, default)]
    error: Option<&'t RawValue>,
}

#[derive(serde::Deserialize)]
struct RpcError {
    code: i64,
}

/// A member with the value `null` is there all the same: `null` is a valid result.
fn present<'t, D: Deserializer<'t>>(value: D) -> Result<Option<&'t RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// The first response in a text that is one message or a batch of them, whatever its id is. For the answer
/// to a request that has only one.
pub fn any_answer(text: &[u8]) -> Option<RpcAnswer<'_>> {
    Wanted { id: None, any_error: true }.find(text)
}

impl Wanted {
    /// The answer in a text that is one message or a batch of them. A text that is no JSON has none.
    pub(super) fn find<'t>(&self, text: &'t [u8]) -> Option<RpcAnswer<'t>> {
        let is_batch = text.trim_ascii_start().starts_with(b"[");
        let mut texts = serde_json::Deserializer::from_slice(text);
        let found = match is_batch {
            true => texts.deserialize_seq(*self),
            false => <&RawValue>::deserialize(&mut texts).map(|message| self.read(message)),
        };
        // What follows the text would be lost, and the text may be cut.
        texts.end().ok()?;
        found.ok()?
    }

    /// The answer, if the message is the response that is meant.
    fn read<'t>(&self, message: &'t RawValue) -> Option<RpcAnswer<'t>> {
        let response: Response = object(message)?;
        if response.jsonrpc != "2.0" {
            return None;
        }
        let id = response.id.map_or("null", RawValue::get);
        let has_id = self.id.is_none_or(|wanted| id.parse() == Ok(wanted));
        match (response.result, response.error) {
            (Some(_), None) if has_id => Some(RpcAnswer::Result(message.get().as_bytes())),
            // A server that cannot read the id says null.
            (None, Some(error)) if has_id || id == "null" || self.any_error => {
                object::<RpcError>(error).map(|error| RpcAnswer::Error(error.code))
            }
            _ => None,
        }
    }
}

/// The members of an object. Without the check serde would read those of an array, by their order.
fn object<'t, T: Deserialize<'t>>(value: &'t RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok().filter(|_| value.get().starts_with('{'))
}

/// Reads a batch without keeping it.
impl<'t> Visitor<'t> for Wanted {
    type Value = Option<RpcAnswer<'t>>;

    fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("a batch")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut batch: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(message) = batch.next_element()? {
            found = found.or_else(|| self.read(message));
        }
        Ok(found)
    }
}
