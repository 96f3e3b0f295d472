//! Reads responses whole and in pieces. The result is always the same.

#![allow(dead_code, reason = "each test uses its part")]

use affinity::http::{Exchange, HttpError, HttpRequest};
use affinity::rpc::{Call, CallProgress, RpcAnswer};
use serde_json::Value;

use crate::reference::{self, Answer, Flaw};

pub const POST: HttpRequest = HttpRequest {
    method: "POST",
    target: b"/mcp",
    host: b"mcp.example",
    headers: &[],
    body: Some(b"{}"),
    keep_alive: true,
};

pub const HEAD: HttpRequest = HttpRequest { method: "HEAD", body: None, ..POST };

/// What an exchange says of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub status: Option<u16>,
    pub body: Vec<u8>,
    pub error: Option<HttpError>,
    pub is_done: bool,
    pub is_reusable: bool,
}

/// What a call says of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub status: Option<u16>,
    pub answer: Result<Option<Owned>, HttpError>,
    /// Whether the HTTP response needs no more bytes.
    pub is_ended: bool,
    pub is_reusable: bool,
}

/// An answer with bytes of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Owned {
    Nothing,
    Result(String),
    Error(i64),
}

/// Reads a response whole and in single bytes.
pub fn read(response: &[u8], to_head: bool) -> Seen {
    let whole = read_chunks([response], to_head);
    assert_eq!(read_chunks(response.chunks(1), to_head), whole);
    whole
}

pub fn read_chunks<'b>(chunks: impl IntoIterator<Item = &'b [u8]>, to_head: bool) -> Seen {
    let mut exchange = Exchange::new(if to_head { &HEAD } else { &POST });
    let (mut is_done, mut error) = (false, None);
    for chunk in chunks {
        let result = exchange.feed(chunk);
        // An error and an end are final.
        assert!(error.is_none() || result == Err(error.unwrap()));
        assert!(!is_done || result == Ok(true));
        is_done = result == Ok(true);
        error = result.err();
    }
    Seen {
        status: exchange.head().map(|head| head.status()),
        // What is in the buffer when the limit is exceeded depends on where the body is cut.
        body: if error.is_some() { Vec::new() } else { exchange.body().to_vec() },
        error,
        is_done,
        is_reusable: exchange.is_reusable(),
    }
}

/// The response to a call with this id, whole and in single bytes.
pub fn call(response: &[u8], id: Option<u64>, closed: bool) -> Heard {
    let whole = call_chunks([response], id, closed);
    assert_eq!(call_chunks(response.chunks(1), id, closed), whole);
    whole
}

pub fn call_chunks<'b>(
    chunks: impl IntoIterator<Item = &'b [u8]>,
    id: Option<u64>,
    closed: bool,
) -> Heard {
    let mut call = Call::new(&POST, id);
    let mut last = Ok(CallProgress::More);
    for chunk in chunks {
        let next = call.feed(chunk);
        let order = |progress: Result<CallProgress, HttpError>| match progress {
            Ok(CallProgress::More) => 0,
            Ok(CallProgress::Answered) => 1,
            _ => 2,
        };
        // What is known stays known.
        assert!(order(last) <= order(next), "{last:?}, {next:?}");
        assert_eq!(
            next.is_ok_and(|progress| progress != CallProgress::More),
            call.answer().is_some()
        );
        last = next;
    }
    let mut result = last.map(|_| ());
    if closed {
        result = call.close();
        assert_eq!(result.is_ok(), call.answer().is_some());
        assert!(!call.is_reusable());
    }
    let owned = |answer| match answer {
        RpcAnswer::Nothing => Owned::Nothing,
        RpcAnswer::Result(bytes) => Owned::Result(String::from_utf8(bytes.to_vec()).unwrap()),
        RpcAnswer::Error(code) => Owned::Error(code),
    };
    Heard {
        status: call.head().map(|head| head.status()),
        answer: result.map(|()| call.answer().map(owned)),
        is_ended: last == Ok(CallProgress::Ended),
        is_reusable: call.is_reusable(),
    }
}

/// Reads a response whole, in single bytes and in pieces, and compares it with the model.
pub fn check(response: &[u8], cut: usize, to_head: bool) {
    let seen = read(response, to_head);
    let (first, second) = response.split_at(cut.min(response.len()));
    assert_eq!(read_chunks([first, b"", second], to_head), seen);
    assert_eq!(read_chunks(response.chunks(cut + 2), to_head), seen);

    let meant = reference::response(response, to_head);
    assert_eq!(seen.status, meant.head.map(|(status, _)| status));
    assert_eq!(seen.error.is_some(), meant.end == Err(Flaw::Invalid), "{seen:?}");
    assert_eq!(seen.is_done, meant.end.is_ok() && !meant.until_close);
    assert_eq!(seen.is_reusable, meant.end == Ok(true) && !meant.until_close);
    if seen.error.is_none() {
        assert_eq!(seen.body, meant.body);
    }
    let mut exchange = Exchange::new(if to_head { &HEAD } else { &POST });
    let fed = exchange.feed(response);
    let closed = exchange.close();
    assert_eq!(closed.is_ok(), meant.end.is_ok(), "{fed:?}, {closed:?}");
}

/// The same for a call with the id 1.
pub fn check_call(response: &[u8], cut: usize, closed: bool) {
    let heard = call(response, Some(1), closed);
    let (first, second) = response.split_at(cut.min(response.len()));
    assert_eq!(call_chunks([first, second], Some(1), closed), heard);
    assert_eq!(call_chunks(response.chunks(cut + 2), Some(1), closed), heard);

    let is_same = match (&heard.answer, reference::answer(response, closed)) {
        (_, Answer::Beyond) => true,
        (Err(_), Answer::Flaw(Flaw::Invalid)) => true,
        (Err(_), Answer::Flaw(Flaw::Cut)) => closed,
        (Ok(None), Answer::Flaw(Flaw::Cut)) => !closed,
        (Ok(Some(Owned::Nothing)), Answer::Nothing) => true,
        (Ok(Some(Owned::Result(text))), Answer::Result(meant)) => {
            serde_json::from_str::<Value>(text).unwrap() == meant
        }
        (Ok(Some(Owned::Error(code))), Answer::Error(meant)) => *code == meant,
        _ => false,
    };
    assert!(is_same, "{heard:?}, {:?}", reference::answer(response, closed));
}
