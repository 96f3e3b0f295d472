//! The requests of servers, and the answers of clients to them.

use affinity::revive::{ClientBody, RpcId};
use proptest::prelude::*;

use super::mcp_model::events;
use super::model::{check_body, messages, read_body, read_requests, rpc_id, Message};

fn body(text: &str) -> ClientBody {
    let whole = read_body([text.as_bytes()]);
    let bytes = read_body(text.as_bytes().chunks(1));
    assert_eq!(whole.is_answer(), bytes.is_answer());
    check_body(&whole, text.as_bytes());
    whole
}

fn id(text: &str) -> RpcId {
    rpc_id(text).unwrap()
}

#[test]
fn a_body_that_answers_the_server_is_told_from_a_call() {
    for text in [
        r#"{"jsonrpc":"2.0","id":0,"result":{}}"#,
        r#"{"result":null,"id":0}"#,
        r#"{"id":"a","error":{"code":-1,"message":"method"}}"#,
        "\u{feff} {\"id\":1,\"result\":{\"method\":\"x\"}} ",
        r#"[{"id":1,"result":{}},{"id":2,"error":{}}]"#,
        r#"{"id":1,"r\u0065sult":{}}"#,
    ] {
        assert!(body(text).is_answer(), "{text}");
    }
    for text in [
        r#"{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{"result":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
        r#"{"id":0,"result":{},"method":"x"}"#,
        r#"[{"id":1,"result":{}},{"id":2,"method":"x"}]"#,
        r#"{"id":1,"result":{}"#,
        r#"{"id":1,"result":{}} {}"#,
        r#"{"id":1}"#,
        r#"[{"id":1,"result":{}},7]"#,
        r#"[{"id":1,"result":{}},[]]"#,
        "[]",
        "7",
        "",
    ] {
        assert!(!body(text).is_answer(), "{text}");
    }
}

#[test]
fn each_answer_of_a_body_needs_its_question() {
    let sent = |text: &str, open: &[RpcId]| body(text).may_be_sent(|id| open.contains(&id));
    let one = r#"{"id":1,"result":{}}"#;
    assert!(sent(one, &[id("1")]));
    assert!(!sent(one, &[]));
    assert!(!sent(one, &[id("\"1\""), id("2"), id("1.0")]));
    assert!(sent(r#"{"id":"\u0061","error":{}}"#, &[id("\"a\"")]));
    let two = r#"[{"id":1,"result":{}},{"id":2,"result":{}}]"#;
    assert!(sent(two, &[id("1"), id("2")]));
    assert!(!sent(two, &[id("1")]));
    assert!(!sent(r#"[{"id":1,"result":{}},{"result":{}}]"#, &[id("1")]));
    // No id that can be read, or too many answers.
    assert!(!sent(r#"{"result":{}}"#, &[]));
    assert!(!sent(r#"{"id":null,"result":{}}"#, &[]));
    assert!(!sent(&format!(r#"{{"id":"{}","result":{{}}}}"#, "x".repeat(65)), &[]));
    let many = |count: usize| format!("[{}]", vec![one; count].join(","));
    assert!(sent(&many(16), &[id("1")]));
    assert!(!sent(&many(17), &[id("1")]));
    // Calls need none.
    for text in [r#"{"id":1,"method":"x"}"#, r#"{"method":"x"}"#, "[]", ""] {
        assert!(sent(text, &[]), "{text}");
    }
}

#[test]
fn a_body_that_cannot_be_read_is_sent_only_as_a_call() {
    let deep = |members: &str| {
        let nested = ["[".repeat(70), "]".repeat(70)].concat();
        format!(r#"{{{members}"x":{nested}}}"#)
    };
    let may_be_sent = |text: &str| body(text).may_be_sent(|_| true);
    assert!(may_be_sent(&deep(r#""method":"x","#)));
    assert!(!may_be_sent(&deep(r#""id":1,"result":{},"#)));
    assert!(!may_be_sent(&deep("")));
    assert!(!may_be_sent("{"));
}

#[test]
fn requests_of_a_server_are_found_in_a_stream() {
    let stream = concat!(
        ": a comment\r\n",
        "id: 7\r\nevent: message\r\ndata: {\"id\":0,\"method\":\"ping\"}\r\n\r\n",
        "data: {\"id\":1,\ndata: \"method\":\"roots/list\",\ndata: \"params\":{}}\n\n",
        "data: {\"method\":\"notifications/x\",\"params\":{\"id\":5}}\n\n",
        "data: {\"id\":2,\"result\":{\"id\":6,\"method\":\"x\"}}\n\n",
        "data: no json\n\n",
        "data: [{\"id\":\"a\",\"method\":\"x\"},{\"id\":3,\"result\":1}]\n\n",
        "data: {\"id\":4,\"method\":\"sampling/createMessage\"}\n",
    );
    let expected = [id("0"), id("1"), id("\"a\""), id("4")];
    assert_eq!(read_requests([stream.as_bytes()]), expected);
    assert_eq!(read_requests(stream.as_bytes().chunks(1)), expected);
}

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"id\"",
    "\"method\"",
    "\"result\"",
    "\"error\"",
    "\"a\"",
    "\"\\u0061\"",
    "0",
    "1",
    "-1.5e3",
    "null",
    "true",
    " ",
    "\u{feff}",
    "{\"id\":1,\"result\":{}}",
    "{\"id\":2,\"method\":\"x\"}",
    "\"id\":3",
    "\"method\":\"y\"",
];

const LINES: &[&str] = &[
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "data:",
    "data: ",
    "event: message\n",
    "event: x\n",
    "id: 1\n",
    "{\"id\":1,\"method\":\"x\"}",
    "{\"id\":2,",
    "\"method\":\"x\"}",
    "\"result\":1}",
    "{",
    "}",
];

proptest! {
    #[test]
    fn a_body_is_what_a_parser_of_the_whole_says_however_it_is_cut(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..25),
        cut in 1usize..9,
    ) {
        let text = words.concat().into_bytes();
        let (whole, pieces) = (read_body([&text[..]]), read_body(text.chunks(cut)));
        check_body(&whole, &text);
        let all = |body: &ClientBody| (body.is_answer(), body.may_be_sent(|_| true));
        prop_assert_eq!(all(&whole), all(&pieces));
    }

    #[test]
    fn a_response_is_an_answer_and_a_call_is_none(
        members in proptest::collection::vec(
            proptest::sample::select(&["\"id\":1", "\"id\":\"b\"", "\"method\":\"x\"", "\"result\":[{}]",
                "\"error\":{}", "\"jsonrpc\":\"2.0\""][..]),
            0..6,
        ),
    ) {
        let text = format!("{{{}}}", members.join(","));
        let expected = matches!(&messages(text.as_bytes()).unwrap()[..], [Message::Response(_)]);
        prop_assert_eq!(body(&text).is_answer(), expected, "{}", text);
    }

    #[test]
    fn no_request_that_a_client_sees_is_missed(
        words in proptest::collection::vec(proptest::sample::select(LINES), 0..40),
        cut in 1usize..9,
    ) {
        let stream = words.concat().into_bytes();
        let found = read_requests([&stream[..]]);
        prop_assert_eq!(&read_requests(stream.chunks(cut)), &found);
        for (kind, data) in events(&stream) {
            if !kind.is_empty() && kind != b"message" {
                continue;
            }
            for message in messages(&data).unwrap_or_default() {
                if let Message::Request(Some(id)) = message {
                    prop_assert!(found.contains(&id));
                }
            }
        }
    }
}
