//! JSON-RPC responses.

use affinity::http::{HttpError, MAX_BODY};
use affinity::rpc::{Call, CallProgress, RpcAnswer};

use super::exchange::{call, Heard, Owned, POST};

const DONE: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}"#;
const FAILED: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"no"}}"#;
const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
/// Ids of a server's requests are its own.
const QUESTION: &str = r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage"}"#;

fn of(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!("HTTP/1.1 {status} \r\n{headers}\r\nContent-Length: {len}\r\n\r\n{body}").into()
}

fn json(status: u16, body: &str) -> Vec<u8> {
    of(status, "Content-Type: application/json", body)
}

fn answer_of(response: &[u8]) -> Owned {
    let heard = call(response, Some(7), false);
    assert!(heard.is_ended && heard.is_reusable, "{heard:?}");
    heard.answer.unwrap().unwrap()
}

fn answer(body: &str) -> Owned {
    answer_of(&json(200, body))
}

fn result(text: &str) -> Owned {
    Owned::Result(text.to_owned())
}

#[test]
fn the_response_is_the_body_or_in_a_batch() {
    assert_eq!(answer(DONE), result(DONE));
    assert_eq!(answer(&format!(" \r\n\t{DONE}\n")), result(DONE));
    assert_eq!(answer(FAILED), Owned::Error(-32601));
    assert_eq!(answer(&format!("[{NOTE}, {QUESTION},\n{DONE} ,{FAILED}]")), result(DONE));
    assert_eq!(answer(&format!("[{FAILED},{DONE}]")), Owned::Error(-32601));
    let null = r#"{"result":null,"error":null,"id":7,"jsonrpc":"2.0"}"#;
    assert_eq!(answer(null), result(null));
    let head = "content-type: Application/JSON ; charset=utf-8";
    assert_eq!(answer_of(&of(200, head, DONE)), result(DONE));
}

#[test]
fn other_texts_are_no_response() {
    for body in [
        "",
        "[]",
        "7",
        "null",
        NOTE,
        QUESTION,
        &DONE[..DONE.len() - 1],
        &format!("{DONE}x"),
        &format!("{DONE}{DONE}"),
        &format!("[{DONE}"),
        &format!("[{DONE},]"),
        &format!("[[{DONE}]]"),
        r#"["2.0",7,{},null]"#,
        r#"[["2.0",7,{},null]]"#,
        r#"{"jsonrpc":"2.0","id":7,"error":[-32601]}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":1.5}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"code":2}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":null}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{},"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":8,"id":7,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":8,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"7","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":7.0,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"1.0","id":7,"result":{}}"#,
        r#"{"jsonrpc":2.0,"id":7,"result":{}}"#,
        r#"{"id":7,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":8,"error":{"code":1}}"#,
    ] {
        assert_eq!(answer(body), Owned::Nothing, "{body}");
    }
    let mut bytes = json(200, DONE);
    *bytes.iter_mut().rfind(|byte| **byte == b't').unwrap() = 0xff;
    assert_eq!(answer_of(&bytes), Owned::Nothing);
}

#[test]
fn the_head_of_an_answer_names_the_session() {
    let mut call = Call::new(&POST, Some(7));
    let response = of(200, "Content-Type: application/json\r\nMcp-Session-Id: s-1", DONE);
    assert_eq!(call.feed(&response), Ok(CallProgress::Ended));
    let head = call.head().unwrap();
    assert_eq!(head.values("Mcp-Session-Id").collect::<Vec<_>>(), [b"s-1"]);
}

#[test]
fn a_text_may_be_nested_as_deep_as_its_length_allows() {
    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    let body = DONE.replace("[]", &deep);
    assert_eq!(answer(&body), result(&body));
    assert_eq!(answer(&format!("[{body}]")), result(&body));
    assert_eq!(answer(&body[..40_000]), Owned::Nothing);
    assert_eq!(answer(&deep), Owned::Nothing);
}

#[test]
fn an_error_of_a_request_that_was_not_read_has_another_id() {
    let error = |id: &str| format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32001}}}}"#);
    for id in ["\"id\":null,", ""] {
        assert_eq!(answer(&error(id)), Owned::Error(-32001));
        assert_eq!(answer_of(&json(404, &error(id))), Owned::Error(-32001));
    }
    for id in ["\"id\":\"server-error\",", "\"id\":8,"] {
        assert_eq!(answer(&error(id)), Owned::Nothing);
        assert_eq!(answer_of(&json(404, &error(id))), Owned::Error(-32001));
    }
    let result = r#"{"jsonrpc":"2.0","id":8,"result":{}}"#;
    assert_eq!(answer_of(&json(404, result)), Owned::Nothing);
}

#[test]
fn a_body_of_another_type_is_skipped() {
    for headers in [
        "A: b",
        "Content-Type: text/html",
        "Content-Type: application/jsonp",
        "Content-Type: application/json\r\nContent-Encoding: gzip",
    ] {
        assert_eq!(answer_of(&of(200, headers, DONE)), Owned::Nothing, "{headers}");
    }
    let long = of(404, "Content-Type: text/html", &"x".repeat(MAX_BODY + 1));
    let heard = call(&long, Some(7), false);
    assert_eq!((heard.status, heard.answer), (Some(404), Ok(Some(Owned::Nothing))));
    assert!(heard.is_ended && !heard.is_reusable);
}

/// A stream that stays open.
fn stream(events: &str) -> Heard {
    let len = events.len();
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n";
    call(format!("{head}\r\n{len:x}\r\n{events}\r\n").as_bytes(), Some(7), false)
}

#[test]
fn a_stream_has_its_answer_before_its_end() {
    let event = format!("event: message\ndata: {DONE}\n\n");
    let split = DONE.replace(",\"", ",\ndata: \"");
    for (events, expected) in [
        (event.clone(), result(DONE)),
        // The first event of the SDKs has an id and no data, or empty data.
        (format!("id: 1\ndata:\n\n{event}"), result(DONE)),
        (format!("id: 1\nretry: 1000\n\n: ping\n\n{event}"), result(DONE)),
        (format!("data: {NOTE}\n\ndata: {QUESTION}\n\n{event}"), result(DONE)),
        (format!("event: ping\ndata: {FAILED}\n\n{event}"), result(DONE)),
        (format!("data: {FAILED}\n\n{event}"), Owned::Error(-32601)),
        (format!("data: [{NOTE},{DONE}]\r\n\r\n"), result(DONE)),
        (format!("\u{feff}data: {split}\n\n"), result(&split.replace("data: ", ""))),
    ] {
        let heard = stream(&events);
        assert_eq!(heard.answer, Ok(Some(expected)), "{events}");
        assert!(!heard.is_ended && !heard.is_reusable, "{events}");
    }
    for events in [&event[..event.len() - 1], &event.replace("7", "8"), "data: x\n\n", ":\n"] {
        assert_eq!(stream(events).answer, Ok(None), "{events}");
    }
}

#[test]
fn an_event_that_does_not_end_is_no_answer() {
    let body = format!("data: {DONE}\n");
    let response = of(200, "Content-Type: text/event-stream", &body);
    assert_eq!(answer_of(&response), Owned::Nothing);
    let response = of(200, "Content-Type: text/event-stream", &format!("{body}\n"));
    assert_eq!(answer_of(&response), result(DONE));
}

#[test]
fn what_follows_the_answer_decides_only_about_the_connection() {
    let event = format!("data: {DONE}\n\n");
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n";
    let open = format!("{head}\r\n{:x}\r\n{event}\r\n", event.len());
    for (rest, ended, reusable) in [
        ("", false, false),
        ("7\r\n: ping\n\r\n", false, false),
        ("0\r\n\r\n", true, true),
        ("0\r\n\r\nHTTP/1.1", true, false),
        ("x", true, false),
        (&format!("{:x}\r\n{}", MAX_BODY, "x".repeat(MAX_BODY)), true, false),
    ] {
        let heard = call(format!("{open}{rest}").as_bytes(), Some(7), false);
        assert_eq!(heard.answer, Ok(Some(result(DONE))), "{rest:.9}");
        assert_eq!((heard.is_ended, heard.is_reusable), (ended, reusable), "{rest:.9}");
        let heard = call(format!("{open}{rest}").as_bytes(), Some(7), true);
        assert_eq!(heard.answer, Ok(Some(result(DONE))), "{rest:.9}");
    }
}

#[test]
fn a_stream_is_read_up_to_the_limit() {
    let event = format!("data: {DONE}\n\n");
    let of = |len: usize| {
        let comment = format!(":{}\n", "x".repeat(len - event.len() - 2));
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{comment}{event}")
    };
    let heard = call(of(MAX_BODY).as_bytes(), Some(7), false);
    assert_eq!((heard.answer, heard.is_ended), (Ok(Some(result(DONE))), false));
    let heard = call(of(MAX_BODY + 1).as_bytes(), Some(7), false);
    assert_eq!((heard.status, heard.answer), (Some(200), Err(HttpError::BodyTooLong)));
    let long = json(200, &"1".repeat(MAX_BODY + 1));
    assert_eq!(call(&long, Some(7), false).answer, Err(HttpError::BodyTooLong));
}

#[test]
fn a_connection_that_is_closed_before_the_answer_is_an_error() {
    let response = json(200, DONE);
    for len in 0..response.len() {
        let heard = call(&response[..len], Some(7), true);
        assert!(heard.answer.is_err(), "{len}");
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
    let until_close = format!("{head}{DONE}");
    assert_eq!(call(until_close.as_bytes(), Some(7), false).answer, Ok(None));
    assert_eq!(call(until_close.as_bytes(), Some(7), true).answer, Ok(Some(result(DONE))));
    let cut = format!("{head}{}", &DONE[1..]);
    assert_eq!(call(cut.as_bytes(), Some(7), true).answer, Ok(Some(Owned::Nothing)));
}

#[test]
fn the_head_answers_a_notification() {
    for (response, ended) in [
        (of(202, "A: b", ""), true),
        (b"HTTP/1.1 202 Accepted\r\n\r\n".to_vec(), false),
        (json(400, DONE), true),
    ] {
        let heard = call(&response, None, false);
        assert_eq!((heard.answer, heard.is_ended), (Ok(Some(Owned::Nothing)), ended));
    }
    assert_eq!(call(b"HTTP/1.1 202 Accepted\r\n", None, false).answer, Ok(None));
}

#[test]
fn the_answer_to_a_message_of_someone_else_has_any_id() {
    let response = r#"{"jsonrpc":"2.0","id":"of the client","result":{}}"#;
    let events = format!("data: {NOTE}\n\ndata: {QUESTION}\n\ndata: {response}\n\n");
    for (body, kind) in [(response, "application/json"), (&events, "text/event-stream")] {
        let bytes = of(200, &format!("Content-Type: {kind}"), body);
        let mut call = Call::with_any_id(&POST);
        assert_eq!(call.feed(&bytes), Ok(CallProgress::Ended));
        assert_eq!(call.answer(), Some(RpcAnswer::Result(response.as_bytes())));
        // A call of nginx's own waits for its own id.
        let mut call = Call::new(&POST, Some(7));
        assert_eq!(call.feed(&bytes), Ok(CallProgress::Ended));
        assert_eq!(call.answer(), Some(RpcAnswer::Nothing));
    }
}
