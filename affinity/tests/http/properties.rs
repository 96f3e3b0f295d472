//! However a response is cut, the result is the same, and that of the model.

use proptest::prelude::*;

use super::exchange::{check, check_call};

proptest! {
    #[test]
    fn a_response_is_what_the_model_says(
        response in response(BODY), cut in 0usize..60, to_head: bool,
    ) {
        check(&response, cut, to_head);
    }

    #[test]
    fn an_answer_is_what_the_model_says(response in response(MESSAGES), cut in 0usize..60, closed: bool) {
        check_call(&response, cut, closed);
    }
}

/// Words of a list, with few faults.
fn words(of: &'static [&'static str], count: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(of), 0..count).prop_map(|words| words.concat())
}

/// A response, mostly valid, and what follows it.
fn response(body: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(
        &[
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 404 \r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 204\r\n",
            "HTTP/1.1 100 \r\n\r\nHTTP/1.1 200 \r\n",
            "HTTP/1.1 20\r\n",
        ][..],
    );
    let kind = prop::sample::select(
        &["", "Content-Type: application/json\r\n", "content-type:text/event-stream;x\r\n"][..],
    );
    let framing =
        prop::sample::select(&["length", "length", "chunked", "chunked", "close", "wrong"][..]);
    let after = prop::sample::select(&["", "", "", "x", "HTTP/1.1 200 \r\n\r\n"][..]);
    let parts = (line, kind, words(FIELDS, 3), framing, words(body, 12), 1usize..40, after);
    parts.prop_map(|(line, kind, fields, framing, body, size, after)| {
        let (field, body) = match framing {
            "length" => (format!("Content-Length: {}\r\n", body.len()), body.into_bytes()),
            "wrong" => (format!("Content-Length: {}\r\n", size), body.into_bytes()),
            "close" => (String::new(), body.into_bytes()),
            _ => ("Transfer-Encoding: chunked\r\n".into(), in_chunks(body.as_bytes(), size)),
        };
        [
            line.as_bytes(),
            kind.as_bytes(),
            field.as_bytes(),
            fields.as_bytes(),
            b"\r\n",
            &body,
            after.as_bytes(),
        ]
        .concat()
    })
}

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let last: &[u8] = if size % 5 == 0 { b"0;x\r\nA: b\r\n\r\n" } else { b"0\r\n\r\n" };
    let chunk =
        |chunk: &[u8]| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
    let mut chunks: Vec<_> = body.chunks(size).map(chunk).collect();
    chunks.push(last.to_vec());
    chunks.concat()
}

const FIELDS: &[&str] = &[
    "A: b\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "connection: x, close\r\n",
    "Mcp-Session-Id: s\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Encoding: gzip\r\n",
    " fold\r\n",
    "A: b\n",
    "no colon\r\n",
    "A:\0\r\n",
];

const BODY: &[&str] =
    &["x", "\r\n", "0\r\n", "0\r\n\r\n", "1\r\nx\r\n", ";x", "\n", "3\r\nabc\r\n", "\0", "ff\r\n"];

const MESSAGES: &[&str] = &[
    r#"{"jsonrpc":"2.0","id":1,"result":{"a":[1]}}"#,
    r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":""}}"#,
    r#"{"jsonrpc":"2.0","id":null,"error":{"code":-3,"code":4}}"#,
    r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32001}}"#,
    r#"{"jsonrpc":"2.0","method":"m"}"#,
    r#"{"id":1,"result":1,"jsonrpc":"2\u002e0"}"#,
    "[",
    "]",
    ",",
    " ",
    "data: ",
    "data:",
    "event: message\n",
    "event: x\n",
    "\n\n",
    "\n\n",
    "\r\n\r\n",
    "\n",
    ":\n",
];
