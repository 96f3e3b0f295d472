//! Heads of responses.

use affinity::http::{HttpError, HttpHead, MAX_FIELDS, MAX_HEAD};

use super::*;

fn head(text: &str) -> Exchange {
    let mut exchange = Exchange::new(&POST);
    exchange.feed(text.as_bytes()).unwrap();
    assert!(exchange.head().is_some());
    exchange
}

fn values<'h>(head: &'h HttpHead, name: &'h str) -> Vec<&'h [u8]> {
    head.values(name).collect()
}

#[test]
fn a_head_has_a_status_and_values() {
    let text =
        "HTTP/1.1 201 a:b\r\nMcp-Session-Id:\t a:b \r\nX: 1\r\nmcp-session-id:\r\nX-Y: 2\r\n\r\n";
    let exchange = head(text);
    let head = exchange.head().unwrap();
    assert_eq!((head.status(), head.is_success()), (201, true));
    assert_eq!(values(head, "MCP-session-id"), [&b"a:b"[..], b""]);
    assert_eq!(values(head, "x"), [b"1"]);
    assert_eq!(values(head, "X-"), [b""; 0]);
    assert_eq!(values(head, "HTTP/1.1 201 a"), [b""; 0]);
}

#[test]
fn status_lines_without_a_reason_are_valid() {
    for (line, status) in
        [("HTTP/1.1 200", 200), ("HTTP/1.0 404 N\u{e9}ant", 404), ("HTTP/1.1 599 ", 599)]
    {
        let exchange = head(&format!("{line}\r\n\r\n"));
        assert_eq!(exchange.head().unwrap().status(), status, "{line}");
    }
}

#[test]
fn responses_1xx_are_skipped() {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let early =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(complete(format!("{early}{last}").as_bytes()), (200, b"ok".to_vec(), true));
    let mut exchange = Exchange::new(&POST);
    assert_eq!(exchange.feed(early.as_bytes()), Ok(false));
    assert!(exchange.head().is_none());
    assert_eq!(exchange.close(), Err(HttpError::ClosedInHead));
    assert_eq!(error(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), HttpError::Switched);
}

#[test]
fn the_limits_of_a_head() {
    let line = "HTTP/1.1 204 \r\n";
    let of = |len: usize| format!("{line}A: {}\r\n\r\n", "x".repeat(len - line.len() - 7));
    assert_eq!(complete(of(MAX_HEAD).as_bytes()).0, 204);
    assert_eq!(error(of(MAX_HEAD + 1).as_bytes()), HttpError::HeadTooLong);
    assert_eq!(error(&of(MAX_HEAD + 1).as_bytes()[..MAX_HEAD + 1]), HttpError::HeadTooLong);
    let early = "HTTP/1.1 100 \r\n\r\n";
    let together = format!("{early}{}", of(MAX_HEAD - early.len()));
    assert_eq!(complete(together.as_bytes()).0, 204);
    let together = format!("{early}{}", of(MAX_HEAD - early.len() + 1));
    assert_eq!(error(together.as_bytes()), HttpError::HeadTooLong);
    assert_eq!(error(early.repeat(2000).as_bytes()), HttpError::HeadTooLong);

    let of = |fields: usize| format!("{line}{}\r\n", "A: b\r\n".repeat(fields));
    assert_eq!(complete(of(MAX_FIELDS).as_bytes()).0, 204);
    assert_eq!(error(of(MAX_FIELDS + 1).as_bytes()), HttpError::TooManyHeaders);
}

#[test]
fn another_protocol_is_found_by_its_first_bytes() {
    for first in
        ["SSH-2.0", "220 mail", "\x15\x03\x01", "HTTP/2", "http/1.1", "\r\n", "HTTQ", "<html>"]
    {
        assert_eq!(error(first.as_bytes()), HttpError::NotHttp, "{first:?}");
    }
    let second = b"HTTP/1.1 100 \r\n\r\n220";
    assert_eq!(error(second), HttpError::NotHttp);
}

#[test]
fn hostile_heads_have_an_error_each() {
    use HttpError::*;
    let cases: &[(&str, HttpError)] = &[
        ("HTTP/1.2 200 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 600 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 -20 OK\r\n\r\n", StatusLine),
        ("HTTP/1.1 200OK\r\n\r\n", StatusLine),
        ("HTTP/1.1\r\n\r\n", StatusLine),
        // A line feed ends the line for other readers.
        ("HTTP/1.1 200 OK\n\n", BareLineFeed),
        ("HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n", BareLineFeed),
        ("HTTP/1.1 200 OK\r\n\n", BareLineFeed),
        ("HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", BareReturn),
        ("HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n", BareReturn),
        ("HTTP/1.1 200 OK\r\n\rX", BareReturn),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", ControlCharacter),
        ("HTTP/1.1 200 OK\r\nA: \u{b}b\r\n\r\n", ControlCharacter),
        ("HTTP/1.1 200 O\x7fK\r\n\r\n", ControlCharacter),
        // Continued lines (obs-fold).
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", HeaderLine),
        ("HTTP/1.1 200 OK\r\nA: b\r\n\tContent-Length: 3\r\n\r\n", HeaderLine),
        ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", HeaderLine),
        ("HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n", HeaderLine),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", HeaderLine),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", HeaderLine),
        ("HTTP/1.1 200 OK\r\nA\u{e9}: b\r\n\r\n", HeaderLine),
        ("HTTP/1.1 200 OK\r\nA(: b\r\n\r\n", HeaderLine),
    ];
    for (response, expected) in cases {
        assert_eq!(error(response.as_bytes()), *expected, "{response:?}");
    }
}

#[test]
fn a_head_that_is_cut_is_an_error_when_the_connection_is_closed() {
    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for len in 0..whole.len() {
        let mut exchange = Exchange::new(&POST);
        assert_eq!(exchange.feed(&whole[..len]), Ok(false));
        let expected = match len {
            0 => HttpError::NoResponse,
            1..38 => HttpError::ClosedInHead,
            _ => HttpError::ClosedInBody,
        };
        assert_eq!(exchange.close(), Err(expected), "{len}");
        assert_eq!(exchange.feed(&whole[len..]), Err(expected));
    }
}

#[test]
fn texts_of_errors_name_their_limits() {
    assert!(HttpError::TooManyHeaders.to_string().contains(&format!(" {MAX_FIELDS} ")));
    let limits = [
        (HttpError::HeadTooLong, MAX_HEAD),
        (HttpError::BodyTooLong, affinity::http::MAX_BODY),
        (HttpError::ExtensionsTooLong, affinity::http::MAX_EXTENSIONS),
        (HttpError::TrailerTooLong, affinity::http::MAX_TRAILER),
    ];
    for (error, limit) in limits {
        assert!(error.to_string().ends_with(&format!(" {} KiB", limit / 1024)), "{error}");
    }
}
