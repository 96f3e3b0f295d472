//! Ids of a server's requests with the number of the revival.

use affinity::revive::{IdTag, RpcId, TaggedStream, MAX_LINE};
use proptest::prelude::*;

use super::model::{read_body, rpc_id};

/// What the client gets of a stream, and the ids that were reported.
fn tagged<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> (Vec<u8>, Vec<RpcId>) {
    let mut stream = TaggedStream::new(IdTag::new(3));
    let (mut out, mut ids) = (Vec::new(), Vec::new());
    pieces.into_iter().for_each(|piece| stream.feed(piece, &mut out, |id| ids.push(id)));
    stream.finish(&mut out);
    (out, ids)
}

fn tagged_text(stream: &str) -> String {
    String::from_utf8(tagged([stream.as_bytes()]).0).unwrap()
}

fn removed(body: &str) -> Option<String> {
    let body = IdTag::new(3).remove_from(body.as_bytes())?;
    Some(String::from_utf8(body).unwrap())
}

#[test]
fn ids_of_requests_get_the_number_of_the_revival() {
    for (stream, expected) in [
        (
            "id: 0\r\nevent: message\r\ndata: {\"id\":0,\"method\":\"x\"}\r\n\r\n",
            "id: 0\r\nevent: message\r\ndata: {\"id\":\"nginx-3-n0\",\"method\":\"x\"}\r\n\r\n",
        ),
        (
            "data:{\"method\":\"x\",\"params\":{\"id\":1},\"id\" : \"a\" }\n",
            "data:{\"method\":\"x\",\"params\":{\"id\":1},\"id\" : \"nginx-3-sa\" }\n",
        ),
        (
            "data: [{\"id\":1,\"result\":1},{\"id\":-2,\"method\":\"x\"},7,{\"id\":2,\"method\":\"\"}]\r",
            "data: [{\"id\":1,\"result\":1},{\"id\":\"nginx-3-n-2\",\"method\":\"x\"},7,\
             {\"id\":\"nginx-3-n2\",\"method\":\"\"}]\r",
        ),
        (
            "data: {\"params\":{\"requestId\":0},\"method\":\"notifications/cancelled\"}\n\n",
            "data: {\"params\":{\"requestId\":\"nginx-3-n0\"},\"method\":\"notifications/cancelled\"}\n\n",
        ),
    ] {
        assert_eq!(tagged_text(stream), expected);
    }
}

#[test]
fn all_else_is_passed_on_as_it_is() {
    let long = format!("data: {{\"id\":0,\"method\":\"{}\"}}\n", "x".repeat(MAX_LINE));
    for stream in [
        "data: {\"id\":0,\"result\":{\"method\":1}}\n\n",
        "data: {\"id\":0,\"method\":\"x\"}",
        "dat: {\"id\":0,\"method\":\"x\"}\n",
        "data: {\"id\":null,\"method\":\"x\"}\n",
        "data: {\"id\":\"\\u0061\",\"method\":\"x\"}\n",
        "data: {\"params\":{\"requestId\":0},\"method\":\"x\"}\n",
        "data: {\"id\":0,\ndata: \"method\":\"x\"}\n\n",
        ": {\"id\":0,\"method\":\"x\"}\n",
        &long,
    ] {
        let (out, ids) = tagged([stream.as_bytes()]);
        assert!(out == stream.as_bytes() && ids.is_empty(), "{stream:.60}");
        assert!(tagged(stream.as_bytes().chunks(7)) == (out, ids));
    }
}

#[test]
fn a_comment_and_the_end_of_a_line_do_not_wait() {
    let mut stream = TaggedStream::new(IdTag::new(1));
    let mut out = Vec::new();
    for piece in [": ping", "\n", "\n", "event: m", "\ndata: x\n"] {
        out.clear();
        stream.feed(piece.as_bytes(), &mut out, |_| ());
        assert_eq!(out, piece.as_bytes());
    }
}

#[test]
fn an_answer_reaches_the_server_with_its_id() {
    for (body, expected) in [
        ("{\"id\":\"nginx-3-n0\",\"result\":{}}", "{\"id\":0,\"result\":{}}"),
        ("\u{feff}{\"result\":{},\"id\":\"nginx-3-sa\"}", "{\"result\":{},\"id\":\"a\"}"),
        ("{\"id\":\"nginx\\u002d3-s\\\"\",\"error\":{}}", "{\"id\":\"\\\"\",\"error\":{}}"),
        (
            "[{\"id\":\"nginx-3-n1\",\"result\":{}}, {\"id\":\"nginx-3-n2\",\"error\":{}}]",
            "[{\"id\":1,\"result\":{}}, {\"id\":2,\"error\":{}}]",
        ),
    ] {
        assert_eq!(removed(body).as_deref(), Some(expected));
    }
    for body in [
        "{\"id\":0,\"result\":{}}",
        "{\"id\":\"nginx-2-n0\",\"result\":{}}",
        "{\"id\":\"nginx-3-n0\",\"method\":\"x\"}",
        "{\"id\":\"nginx-3-n0,1\",\"result\":{}}",
        "{\"id\":\"nginx-3-\",\"result\":{}}",
        "{\"id\":1,\"result\":{\"id\":\"nginx-3-n0\"}}",
        "{",
        "",
    ] {
        assert_eq!(removed(body), None, "{body}");
    }
}

#[test]
fn an_answer_to_the_lost_session_has_no_open_request() {
    let (_, open) = tagged([&b"data: {\"id\":0,\"method\":\"elicitation/create\"}\n\n"[..]]);
    assert_eq!(open, [rpc_id("\"nginx-3-n0\"").unwrap()]);
    let may_be_sent = |id: &str| {
        let body = format!("{{\"id\":{id},\"result\":{{}}}}");
        read_body([body.as_bytes()]).may_be_sent(|id| open.contains(&id))
    };
    assert!(may_be_sent("\"nginx-3-n0\""));
    for id in ["0", "\"0\"", "\"nginx-2-n0\"", "\"nginx-3-s0\"", "\"nginx-3-n1\""] {
        assert!(!may_be_sent(id), "{id}");
    }
}

const WORDS: &[&str] = &[
    "\n",
    "\r",
    "\r\n",
    "d",
    "data:",
    "data: ",
    "event: x\n",
    ": c",
    "{\"id\":1,\"method\":\"x\"}",
    "{\"id\":2,",
    "\"method\":\"x\"}",
    "\"result\":1}",
    "[",
    ",",
    "]",
    "é",
];

proptest! {
    #[test]
    fn a_stream_is_the_same_however_it_is_cut(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40),
        cut in 1usize..9,
    ) {
        let stream = words.concat().into_bytes();
        prop_assert_eq!(tagged([&stream[..]]), tagged(stream.chunks(cut)));
    }

    #[test]
    fn each_id_comes_back_as_it_was(
        id in prop_oneof!["(0|-?[1-9][0-9]{0,18})", "-?[1-9]\\.[0-9]{1,3}e[+-]?[0-9]{1,2}", "\"[^\"\\\\\\p{C}]{0,16}\""],
        is_last in any::<bool>(),
    ) {
        let request = match is_last {
            true => format!("{{\"method\":\"x\",\"id\":{id}}}"),
            false => format!("{{\"id\":{id},\"method\":\"x\"}}"),
        };
        let sent = tagged_text(&format!("data: {request}\n"));
        let got: serde_json::Value = serde_json::from_str(&sent["data: ".len()..]).unwrap();
        let answer = |id: &str| format!("{{\"id\":{id},\"result\":{{}}}}");
        prop_assert!(got["id"].as_str().unwrap().starts_with("nginx-3-"));
        prop_assert_eq!(removed(&answer(&got["id"].to_string())), Some(answer(&id)));
    }
}
