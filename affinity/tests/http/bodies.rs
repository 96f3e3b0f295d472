//! Bodies of responses, and whether the connection outlives them.

use affinity::http::{
    HttpError, HttpRequest, LimitedBuffer, MAX_BODY, MAX_EXTENSIONS, MAX_TRAILER,
};

use super::*;

fn of(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{body}").into()
}

fn chunked(body: &str) -> Vec<u8> {
    of("Transfer-Encoding: chunked", body)
}

#[test]
fn a_length_ends_a_body() {
    assert_eq!(complete(&of("Content-Length: 5", "hello")), (200, b"hello".to_vec(), true));
    assert_eq!(complete(&of("content-length:\t0 ", "")), (200, vec![], true));
    assert_eq!(complete(&of("Content-Length: 00005", "hello")), (200, b"hello".to_vec(), true));
    assert!(!read(&of("Content-Length: 5", "hell"), false).is_done);
}

#[test]
fn an_empty_chunk_ends_a_body() {
    assert_eq!(complete(&chunked("0\r\n\r\n")), (200, vec![], true));
    let body = "3\r\nabc\r\n0A;x=\"y;z\"\r\n0123\r\n6789\r\n1 \r\n!\r\n000\r\nA: b\r\nC: d\r\n\r\n";
    assert_eq!(complete(&chunked(body)), (200, b"abc0123\r\n6789!".to_vec(), true));
    assert_eq!(
        complete(&of("Transfer-Encoding: CHUNKED ", "1\r\na\r\n0\r\n\r\n")),
        (200, b"a".to_vec(), true)
    );
    for len in 0..body.len() {
        let seen = read(&chunked(&body[..len]), false);
        assert_eq!((seen.error, seen.is_done), (None, false), "{len}");
    }
}

#[test]
fn without_either_the_end_of_the_connection_ends_a_body() {
    for response in [of("A: b", "hello"), of("Connection: keep-alive", "hello")] {
        let mut exchange = Exchange::new(&POST);
        assert_eq!(exchange.feed(&response), Ok(false));
        assert_eq!(exchange.close(), Ok(()));
        assert_eq!(exchange.feed(b""), Ok(true));
        assert_eq!(exchange.body(), b"hello");
        assert!(!exchange.is_reusable());
    }
}

#[test]
fn some_responses_have_no_body_whatever_their_head_says() {
    for headers in ["Content-Length: 5", "Transfer-Encoding: chunked", "A: b"] {
        let head = String::from_utf8(of(headers, "")).unwrap();
        for status in ["204", "304"] {
            let response = head.replace("200", status);
            assert_eq!(complete(response.as_bytes()), (status.parse().unwrap(), vec![], true));
        }
        let seen = read(head.as_bytes(), true);
        assert_eq!((seen.is_done, seen.is_reusable, seen.error), (true, true, None));
        assert!(!read(head.as_bytes(), false).is_done);
    }
}

#[test]
fn the_server_and_its_version_decide_whether_the_connection_is_kept() {
    let cases = [
        ("1.1", "A: b", true),
        ("1.1", "Connection: keep-alive", true),
        ("1.1", "Connection: close", false),
        ("1.1", "Connection: x, CLOSE ,y", false),
        ("1.1", "Connection: x\r\nConnection: close", false),
        ("1.1", "Connection: closed", true),
        ("1.1", "Connection: keep-alive, close", false),
        ("1.0", "A: b", false),
        ("1.0", "Connection: Keep-Alive", true),
        ("1.0", "Connection: close", false),
    ];
    for (version, headers, kept) in cases {
        let response = format!("HTTP/{version} 200 OK\r\n{headers}\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(complete(response.as_bytes()).2, kept, "{version} {headers}");
    }
}

#[test]
fn a_request_that_says_close_is_the_last() {
    for (keep_alive, kept) in [(true, true), (false, false)] {
        let mut exchange = Exchange::new(&HttpRequest { keep_alive, ..POST });
        assert_eq!(exchange.feed(&of("Content-Length: 0", "")), Ok(true));
        assert_eq!(exchange.is_reusable(), kept);
    }
}

#[test]
fn bytes_after_the_end_make_the_connection_useless() {
    for response in [
        of("Content-Length: 1", "x"),
        of("Content-Length: 0", ""),
        chunked("1\r\nx\r\n0\r\n\r\n"),
        b"HTTP/1.1 204 \r\nContent-Length: 1\r\n\r\n".to_vec(),
    ] {
        assert!(complete(&response).2);
        let (_, body, is_reusable) = complete(&[&response[..], b"y"].concat());
        assert!(!body.contains(&b'y') && !is_reusable, "{}", response.escape_ascii());
    }
    let mut exchange = Exchange::new(&POST);
    assert_eq!(exchange.feed(&of("Content-Length: 0", "")), Ok(true));
    assert!(exchange.is_reusable());
    assert_eq!(exchange.close(), Ok(()));
    assert!(!exchange.is_reusable());
}

#[test]
fn hostile_framing_has_an_error_each() {
    use HttpError::*;
    let cases: &[(&str, HttpError)] = &[
        ("Content-Length: 5\r\nContent-Length: 6", SeveralLengths),
        ("Content-Length: 5\r\ncontent-length: 5", SeveralLengths),
        ("Content-Length: 5, 5", InvalidLength),
        ("Content-Length: +5", InvalidLength),
        ("Content-Length: -5", InvalidLength),
        ("Content-Length: 0x5", InvalidLength),
        ("Content-Length: 5 5", InvalidLength),
        ("Content-Length: ", InvalidLength),
        ("Content-Length: 18446744073709551616", InvalidLength),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", UnknownEncoding),
        ("Transfer-Encoding: gzip, chunked", UnknownEncoding),
        ("Transfer-Encoding: chunked, identity", UnknownEncoding),
        ("Transfer-Encoding: xchunked", UnknownEncoding),
        ("Transfer-Encoding: ", UnknownEncoding),
        ("Transfer-Encoding: identity", UnknownEncoding),
    ];
    for (headers, expected) in cases {
        assert_eq!(error(&of(headers, "")), *expected, "{headers:?}");
        // Also where there is no body.
        assert_eq!(read(&of(headers, ""), true).error, Some(*expected), "{headers:?}");
    }
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(error(old), UnknownEncoding);
}

#[test]
fn hostile_chunks_have_an_error_each() {
    use HttpError::*;
    let cases: &[(&str, HttpError)] = &[
        ("\r\n", ChunkSize),
        ("x", ChunkSize),
        ("-1", ChunkSize),
        ("0x1\r\n", ChunkSize),
        (" 1\r\n", ChunkSize),
        (";a\r\n", ChunkSize),
        ("00000000000000001", ChunkSize),
        ("10000000000000000", ChunkSize),
        ("1\n", BareLineFeed),
        ("1;a\n", BareLineFeed),
        ("1;\0", ControlCharacter),
        ("1;a\rb", BareReturn),
        ("1\r\r", BareReturn),
        ("1\r\nab", ChunkEnd),
        ("1\r\na\n", ChunkEnd),
        ("1\r\na\r0", ChunkEnd),
        ("0\r\nA: b\n", BareLineFeed),
        ("0\r\n\n", BareLineFeed),
        ("0\r\nA: \0", ControlCharacter),
        ("0\r\n\r0", BareReturn),
    ];
    for (body, expected) in cases {
        assert_eq!(error(&chunked(body)), *expected, "{body:?}");
    }
    let huge = read(&chunked("ffffffffffffffff\r\nabc"), false);
    assert_eq!((huge.error, huge.is_done, &huge.body[..]), (None, false, &b"abc"[..]));
}

#[test]
fn the_limits_of_a_body() {
    let text = "x".repeat(MAX_BODY + 1);
    let max = &text[..MAX_BODY];
    assert_eq!(complete(&of(&format!("Content-Length: {MAX_BODY}"), max)).1.len(), MAX_BODY);
    let long = of(&format!("Content-Length: {}", text.len()), &text);
    assert_eq!(error(&long), HttpError::BodyTooLong);
    assert_eq!(error(&of("A: b", &text)), HttpError::BodyTooLong);
    let chunks = |count: usize| chunked(&format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(count)));
    assert_eq!(complete(&chunks(MAX_BODY)).1.len(), MAX_BODY);
    assert_eq!(error(&chunks(MAX_BODY + 1)), HttpError::BodyTooLong);
    let mut exchange = Exchange::new(&POST);
    assert_eq!(exchange.feed(&long), Err(HttpError::BodyTooLong));
    assert_eq!(exchange.head().unwrap().status(), 200);
    assert_eq!(exchange.close(), Err(HttpError::BodyTooLong));

    let extensions = |len: usize| {
        let first = format!("1;{}\r\nx\r\n", "a".repeat(99));
        let left = len - 100 * 40;
        chunked(&format!("{}0;{}\r\n\r\n", first.repeat(40), "a".repeat(left - 1)))
    };
    assert_eq!(complete(&extensions(MAX_EXTENSIONS)).1.len(), 40);
    assert_eq!(error(&extensions(MAX_EXTENSIONS + 1)), HttpError::ExtensionsTooLong);

    let trailer = |len: usize| chunked(&format!("0\r\nA:{}\r\n\r\n", "x".repeat(len - 6)));
    assert!(complete(&trailer(MAX_TRAILER)).2);
    assert_eq!(error(&trailer(MAX_TRAILER + 1)), HttpError::TrailerTooLong);
}

#[test]
fn a_buffer_has_no_more_memory_than_its_limit() {
    let mut buffer = LimitedBuffer::new(1000, HttpError::BodyTooLong);
    for _ in 0..9 {
        buffer.append(&[b'x'; 110]).unwrap();
    }
    assert_eq!(buffer.append(&[b'x'; 11]), Err(HttpError::BodyTooLong));
    assert_eq!(buffer.as_bytes().len(), 990);
    assert_eq!(buffer.append(&[b'x'; 10]), Ok(()));
    let bytes = buffer.into_bytes();
    assert_eq!((bytes.len(), bytes.capacity()), (1000, 1000));
}
