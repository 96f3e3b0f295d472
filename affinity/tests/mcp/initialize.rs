//! Bodies of requests: which ones are an `initialize`.

use super::*;

/// What is read of a body in pieces.
fn read<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> bool {
    let mut reader = InitializeReader::new();
    for chunk in chunks {
        if !reader.feed(chunk) {
            break;
        }
    }
    reader.is_initialize()
}

/// Reads the body whole, byte by byte, and cut in two at every place. The result is always the same.
pub fn is_initialize(body: &[u8]) -> bool {
    let whole = read([body]);
    assert_eq!(read(body.chunks(1)), whole);
    for cut in 0..=body.len().min(1000) {
        let (first, second) = body.split_at(cut);
        assert_eq!(read([first, second]), whole, "cut at {cut}");
    }
    whole
}

#[track_caller]
fn yes(body: &str) {
    assert!(is_initialize(body.as_bytes()), "{body}");
}

#[track_caller]
fn no(body: &str) {
    assert!(!is_initialize(body.as_bytes()), "{body}");
}

#[test]
fn the_requests_of_the_sdks() {
    yes(
        r#"{"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{"listChanged":true}},"clientInfo":{"name":"test","version":"1"}},"jsonrpc":"2.0","id":0}"#,
    );
    no(r#"{"method":"notifications/initialized","jsonrpc":"2.0"}"#);
    no(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"initialize"}}"#);
    no(r#"{"jsonrpc":"2.0","id":1,"result":{"method":"initialize"}}"#);
}

#[test]
fn the_method_may_be_anywhere_and_written_in_any_way() {
    yes(r#"{"params":{"method":"ping","x":[[{}]]},"method":"initialize"}"#);
    yes("\r\n\t {\n\"method\"\t:\r\"initialize\" , \"id\" : -1.5e+3 }\n");
    yes(r#"{"\u006dethod":"\u0069nitiali\u007ae"}"#);
    no(r#"{"method":"initialize\u0000"}"#);
    no(r#"{"method":"Initialize"}"#);
    no(r#"{"method":"initializ"}"#);
    no(r#"{"methods":"initialize"}"#);
    no(r#"{"":"initialize"}"#);
}

#[test]
fn of_several_methods_the_last_one_counts() {
    yes(r#"{"method":"ping","method":"initialize"}"#);
    no(r#"{"method":"initialize","method":"ping"}"#);
    no(r#"{"method":"initialize","method":null}"#);
    no(r#"{"method":"initialize","method":["initialize"]}"#);
    no(r#"{"method":"initialize","method":{"method":"initialize"}}"#);
    no(r#"{"method":"initialize","\u006dethod":"ping"}"#);
}

#[test]
fn a_batch_is_an_initialize_if_one_of_its_messages_is() {
    yes(r#"[{"method":"initialize"}]"#);
    yes(r#"[{"method":"ping"},{"id":1,"method":"initialize"},{"method":"ping"}]"#);
    yes(r#"[1,"x",null,[],{"method":"initialize"}]"#);
    no(r#"[]"#);
    no(r#"["initialize"]"#);
    no(r#"["method","initialize"]"#);
    no(r#"[["method","initialize"]]"#);
    no(r#"[[{"method":"initialize"}]]"#);
    no(r#"[{"method":1},["initialize"]]"#);
    no(r#"[{"method":"ping"},"initialize"]"#);
    no(r#"[{"params":{"method":"initialize"}}]"#);
    no(r#"[{"method":"initialize","method":"ping"},{}]"#);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    yes("\u{feff}{\"method\":\"initialize\"}");
    no("\u{feff}");
    no("\u{feff}\u{feff}{\"method\":\"initialize\"}");
    assert!(!is_initialize(b"\xef{\"method\":\"initialize\"}"));
    assert!(!is_initialize(b"\xef\xbb{\"method\":\"initialize\"}"));
    no("{\u{feff}\"method\":\"initialize\"}");
}

#[test]
fn other_texts_are_none() {
    for body in
        ["", " ", "initialize", "\"initialize\"", "1", "null", "{}", "{", "[", "method=initialize"]
    {
        no(body);
    }
    // gRPC, gzip, UTF-16.
    assert!(!is_initialize(b"\0\0\0\0\x17{\"method\":\"initialize\"}"));
    assert!(!is_initialize(b"\x1f\x8b\x08\0{\"method\":\"initialize\"}"));
    assert!(!is_initialize(b"\xff\xfe{\0\"\0m\0"));
}

#[test]
fn what_cannot_be_read_on_is_what_was_read() {
    let deep = "[".repeat(100);
    // Servers read such strings and such depths.
    yes(&format!(r#"{{"method":"initialize","params":{deep}"#));
    yes(r#"{"method":"initialize","params":"\ud800"}"#);
    yes(r#"{"method":"initialize""#);
    no(&format!(r#"{{"params":{deep},"method":"initialize"}}"#));
    no(r#"{"params":tru,"method":"initialize"}"#);
    yes(r#"{"method":"initialize"} and more"#);
    no(r#"{"method":"ping"}{"method":"initialize"}"#);
}

#[test]
fn a_method_counts_when_its_text_has_ended() {
    no(r#"{"method":"initialize"#);
    no("{\"method\":\"initialize\0\"}");
    assert!(!is_initialize(b"[{\"method\":\"initialize\xfe\xff\xff\xff\xff\0\"}"));
    assert!(!is_initialize(b"{\"method\":\"initialize\xc3\"}"));
    no(r#"{"method":"initialize\x"}"#);
    no(r#"{"method":"initialize\u00"#);
}

#[test]
fn a_body_is_read_for_64_kib() {
    let padded = |size: usize| {
        let body =
            |padding| format!(r#"{{"params":"{}","method":"initialize"}}"#, "x".repeat(padding));
        let empty = body(0).len();
        body(size - empty)
    };
    assert!(read([padded(MAX_READ).as_bytes()]));
    // Without its end, the method is complete up to this size.
    assert!(read([padded(MAX_READ + 1).as_bytes()]));
    let beyond = padded(MAX_READ + 2);
    assert!(!read([beyond.as_bytes()]));
    assert!(!read(beyond.as_bytes().chunks(1)));
    // Icons in `clientInfo` may be large.
    let large = format!(r#"{{"method":"initialize","params":"{}"}}"#, "x".repeat(10 * MAX_READ));
    assert!(read([large.as_bytes()]));
    assert!(read(large.as_bytes().chunks(7)));
}

#[test]
fn a_reader_is_done_when_the_rest_does_not_matter() {
    let mut reader = InitializeReader::new();
    assert!(reader.feed(br#"{"method":"initialize""#));
    assert!(!reader.feed(b"}"));
    assert!(reader.is_initialize());

    let mut reader = InitializeReader::new();
    assert!(!reader.feed(b"x"));

    let mut reader = InitializeReader::new();
    assert!(!reader.feed(br#"[{"method":"initialize"}"#));

    let mut reader = InitializeReader::new();
    assert!(reader.feed(&[b' '; MAX_READ - 1]));
    assert!(!reader.feed(b" "));
    assert!(!reader.feed(br#"{"method":"initialize"}"#));
    assert!(!reader.is_initialize());
}
