//! What the answers of servers to `initialize` say.

use affinity::mcp::BodyFormat;
use affinity::revive::{Misfit, Negotiated};
use proptest::prelude::*;
use serde_json::json;

use super::model::{answer, read_answer};
use super::*;

const RESULT: &str = r#"{"jsonrpc":"2.0","id":"x","result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"s","version":"1"}}}"#;

fn read(format: BodyFormat, text: &str) -> Option<(String, Vec<(String, String)>)> {
    let whole = read_answer(format, [text.as_bytes()]);
    assert_eq!(read_answer(format, text.as_bytes().chunks(1)), whole);
    whole
}

fn expected() -> Option<(String, Vec<(String, String)>)> {
    let names = [("logging", ""), ("tools", ""), ("tools", "listChanged")];
    let names = names.map(|(name, part)| (name.to_string(), part.to_string()));
    Some((String::from("2025-06-18"), names.to_vec()))
}

#[test]
fn an_answer_is_read_as_json_and_as_events() {
    assert_eq!(read(BodyFormat::Json, RESULT), expected());
    assert_eq!(read(BodyFormat::Json, &format!(" [{RESULT}]\n")), expected());
    let event = |data: &str| format!("event: message\r\ndata: {data}\r\n\r\n");
    assert_eq!(read(BodyFormat::Sse, &event(RESULT)), expected());
    // A priming event, a notification, and lines of data.
    let lines = RESULT.replace(",\"result\"", ",\ndata: \"result\"");
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    let stream = format!("id: 1\ndata: \n\n{}data: {lines}\n\ndata: x\n\n", event(notification));
    assert_eq!(read(BodyFormat::Sse, &stream), expected());
}

#[test]
fn an_answer_without_a_session_or_that_cannot_be_read_says_nothing() {
    let error = r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"x"}}"#;
    let texts = [
        String::new(),
        String::from("{"),
        error.to_string(),
        RESULT.replace("2.0", "1.0"),
        RESULT.replace("protocolVersion", "version"),
        RESULT.replace("\"2025-06-18\"", "7"),
        RESULT.replace("2025-06-18", ""),
        RESULT.replace("2025-06-18", "2025\\\"06"),
        RESULT.replace("2025-06-18", &"1".repeat(33)),
        RESULT.replace("capabilities", "abilities"),
        RESULT.replace("{}", "{},\"tools\":{}},\"capabilities\":{\"x\":{}"),
        RESULT.replace("logging", &"x".repeat(256)),
        format!("{RESULT}x"),
        RESULT.replace("\"s\"", &format!("\"{}\"", "s".repeat(70_000))),
        String::from(r#"{"jsonrpc":"2.0","id":0,"result":["2025-06-18",{}]}"#),
    ];
    for text in texts {
        assert_eq!(read(BodyFormat::Json, &text), None, "{text:.200}");
        assert_eq!(read(BodyFormat::Sse, &format!("data: {text}\n\n")), None, "{text:.200}");
    }
    // The event does not end, or is of another type.
    assert_eq!(read(BodyFormat::Sse, &format!("data: {RESULT}\n")), None);
    assert_eq!(read(BodyFormat::Sse, &format!("event: x\ndata: {RESULT}\n\n")), None);
}

#[test]
fn a_new_server_fits_with_the_same_version_and_at_least_the_capabilities() {
    let server = |version: &str, capabilities: serde_json::Value| {
        let result = json!({"protocolVersion": version, "capabilities": capabilities});
        let response = json!({"jsonrpc": "2.0", "id": 0, "result": result});
        Negotiated::read(response.to_string().as_bytes()).unwrap()
    };
    let old = server("2025-06-18", json!({"tools": {"listChanged": true}, "logging": {}}));
    let kept = Record { version: old.version(), capabilities: old.capabilities(), ..record() };
    let fits = |version, capabilities| server(version, capabilities).fits(&kept);
    let more = json!({"tools": {"listChanged": true, "x": 1}, "logging": {}, "prompts": {}});
    assert_eq!(old.fits(&kept), Ok(()));
    assert_eq!(fits("2025-06-18", more.clone()), Ok(()));
    assert_eq!(fits("2025-11-25", more), Err(Misfit::Version));
    for less in [
        json!({}),
        json!({"tools": {"listChanged": true}}),
        json!({"tools": {}, "logging": {}}),
        json!({"tools": {"listChanged": false}, "logging": {}}),
    ] {
        assert_eq!(fits("2025-06-18", less), Err(Misfit::Capability));
    }
    let nothing = Record { capabilities: Capabilities::default(), ..kept };
    assert_eq!(server("2025-06-18", json!({})).fits(&nothing), Ok(()));
}

fn some_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(false)),
        Just(json!(true)),
        Just(json!(7)),
        Just(json!([{}])),
        "[a-z\"é\\\\]{0,5}".prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        proptest::collection::btree_map("[a-z\"é]{0,6}", inner, 0..4).prop_map(|map| json!(map))
    })
}

proptest! {
    #[test]
    fn what_is_read_is_what_a_parser_of_the_whole_says(
        version in proptest::sample::select(&["2025-06-18", "2026-01-01", "x", "a b"][..]),
        capabilities in some_value(),
        cut in 1usize..50,
        is_pretty: bool,
    ) {
        let result = json!({"capabilities": capabilities, "protocolVersion": version});
        let response = json!({"jsonrpc": "2.0", "id": 3, "result": result});
        let text = match is_pretty {
            true => serde_json::to_string_pretty(&response).unwrap(),
            false => response.to_string(),
        };
        let expected = answer(&response).filter(|_| version != "a b");
        prop_assert_eq!(read_answer(BodyFormat::Json, [text.as_bytes()]), expected.clone());
        let stream = format!("data: {}\n\n", text.replace('\n', "\ndata: "));
        prop_assert_eq!(read_answer(BodyFormat::Sse, stream.as_bytes().chunks(cut)), expected);
    }
}
