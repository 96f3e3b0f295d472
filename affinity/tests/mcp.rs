//! Bodies and heads of MCP as servers and clients write them, valid and invalid.

#[path = "common/mcp.rs"]
mod model;

use affinity::mcp::{
    BodyFormat, Fault, Id, Learned, Lines, Progress, Reader, RequestHead, Verb, Watch, MAX_ID,
    MAX_WATCHED,
};
use affinity::policy::{Announced, Rejection};
use affinity::table::{Kind, Span};
use base64::prelude::{Engine, BASE64_STANDARD};
use proptest::prelude::*;

/// The id of a body, and its time to live in milliseconds if there is one.
type BodyId = Option<(Kind, Vec<u8>, Option<Span>)>;

/// The URI of the streams.
const URI: &str = "/sse?key=a1b2c3d4";

fn read<'b>(watch: Watch, chunks: impl IntoIterator<Item = &'b [u8]>) -> BodyId {
    let mut reader = Reader::new(watch, URI.as_bytes()).unwrap();
    for chunk in chunks {
        match reader.feed(chunk) {
            Progress::More => {}
            Progress::Nothing | Progress::Faulty(_) => return None,
            Progress::Found(learned) => {
                return Some((learned.kind, learned.id.to_vec(), learned.ttl));
            }
        }
    }
    None
}

/// Reads the body whole, byte by byte, and cut in two at every place. The result is always the same.
fn learned(watch: Watch, body: &[u8]) -> BodyId {
    let whole = read(watch, [body]);
    assert_eq!(read(watch, body.chunks(1)), whole);
    for cut in 0..=body.len().min(1000) {
        let (first, second) = body.split_at(cut);
        assert_eq!(read(watch, [first, second]), whole, "cut at {cut}");
    }
    whole
}

fn stream(body: &str) -> Option<String> {
    learned(Watch::Endpoint, body.as_bytes()).map(|(kind, id, ttl)| {
        assert_eq!((kind, ttl), (Kind::Sse, None));
        String::from_utf8(id).unwrap()
    })
}

fn task(body: &str) -> Option<(String, Option<u64>)> {
    task_as(BodyFormat::Json, body)
}

fn task_as(format: BodyFormat, body: &str) -> Option<(String, Option<u64>)> {
    learned(Watch::Task(format), body.as_bytes()).map(|(kind, id, ttl)| {
        assert_eq!(kind, Kind::Task);
        (String::from_utf8(id).unwrap(), ttl.map(Span::as_millis))
    })
}

/// A request without anything.
const REQUEST: RequestHead<'static> = RequestHead {
    verb: Verb::Other,
    session: b"",
    lines: Lines::None,
    version: b"",
    method: b"",
    name: b"",
    query: b"",
    target: b"/mcp",
};

fn query(query: &[u8]) -> Option<Vec<u8>> {
    RequestHead { query, ..REQUEST }.id(&mut Id::new()).map(|(_, id)| id.to_vec())
}

/// The task that `Mcp-Name` names.
fn name(field: &[u8]) -> Option<Vec<u8>> {
    let request =
        RequestHead { version: b"2026-07-28", method: b"tasks/get", name: field, ..REQUEST };
    request.id(&mut Id::new()).map(|(_, id)| id.to_vec())
}

fn result(members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{members}}}}}"#)
}

const TASK: &str = r#""resultType":"task","taskId":"t-1","status":"working","ttlMs":60032"#;

fn t1(ttl: Option<u64>) -> Option<(String, Option<u64>)> {
    Some(("t-1".into(), ttl))
}

// HTTP+SSE

#[test]
fn an_endpoint_event_names_its_session_as_the_sdks_write_it() {
    let python = "event: endpoint\r\ndata: /messages/?session_id=0a1b\r\n\r\n";
    assert_eq!(stream(python).as_deref(), Some("0a1b"));
    let typescript = "event: endpoint\ndata: /message?sessionId=6b2f-41\n\n";
    assert_eq!(stream(typescript).as_deref(), Some("6b2f-41"));
}

#[test]
fn an_endpoint_is_absolute_or_relative_and_may_have_other_parameters_and_a_fragment() {
    for (uri, id) in [
        ("http://h:80/m?sessionId=s", Some("s")),
        ("?sessionId=s", Some("s")),
        ("m?a=b&sessionId=s&c", Some("s")),
        ("m?a=?&sessionId=s?", Some("s?")),
        ("m?sessionId=s#sessionId=t", Some("s")),
        ("m?a#&sessionId=s", None),
        ("m#?sessionId=s", None),
        ("m&sessionId=s", Some("/m&sessionId=s")),
        ("sessionId=s", Some("/sessionId=s")),
        ("", None),
    ] {
        let body = format!("event: endpoint\ndata: {uri}\n\n");
        assert_eq!(stream(&body).as_deref(), id, "{uri}");
    }
}

/// The id of an endpoint, or why there is none.
fn endpoint(data: &str, uri: &str) -> Result<String, Fault> {
    let body = format!("event: endpoint\ndata: {data}\n\n");
    let mut reader = Reader::new(Watch::Endpoint, uri.as_bytes()).unwrap();
    match reader.feed(body.as_bytes()) {
        Progress::Found(learned) => Ok(String::from_utf8(learned.id.to_vec()).unwrap()),
        Progress::Faulty(why) => Err(why),
        other => panic!("{data}: {other:?}"),
    }
}

#[test]
fn the_target_of_an_endpoint_names_its_session_whatever_it_looks_like() {
    for (data, id) in [
        ("/messages?sessionid=ABC", "ABC"),
        ("/messages?SessionId=abc", "abc"),
        ("/messages?clientId=abc", "/messages?clientId=abc"),
        ("/messages?client_id=abc", "/messages?client_id=abc"),
        ("/messages?session=abc", "/messages?session=abc"),
        ("/messages;sessionId=abc", "/messages;sessionId=abc"),
        ("/messages/5f0c1a2b", "/messages/5f0c1a2b"),
        ("/messages/5f0c1a2b/send", "/messages/5f0c1a2b/send"),
        ("messages/5f0c1a2b", "/api/messages/5f0c1a2b"),
        ("./messages/5f0c1a2b", "/api/messages/5f0c1a2b"),
        ("../messages/5f0c1a2b", "/messages/5f0c1a2b"),
        ("/../x:/../5f0c1a2b", "/5f0c1a2b"),
        ("/x:/5f0c1a2b", "/x:/5f0c1a2b"),
        ("http://h:1/messages/5f0c1a2b?x", "/messages/5f0c1a2b?x"),
        ("/messages?sessionId=a&session_id=b", "/messages?sessionId=a&session_id=b"),
        ("/messages?sessionId=a&session_id=a&sessionid=", "a"),
        (r#""/m?sessionId=a&session_id=b""#, "a"),
        ("/messages?sessionId=%61%2B", "a+"),
        ("/messages?clientId=%61%2B", "/messages?clientId=%61%2B"),
        (r#"{"url":"/m?sessionId=X"}"#, "X"),
        (r#""/m?x=1&sessionId=X""#, "X"),
        ("/m?sessionId=é", "é"),
    ] {
        assert_eq!(endpoint(data, "/api/sse").as_deref(), Ok(id), "{data}");
    }
}

#[test]
fn an_id_in_a_body_says_whether_it_is_named_so() {
    for (data, announced) in [
        ("/messages?sessionId=abc", Announced::Stream),
        ("/messages?clientId=bob", Announced::Stream),
        ("/v2beta1/messages;session=bob", Announced::Stream),
        ("/v2beta1/messages", Announced::Target),
        ("/messages?sid=5f0c1a2b", Announced::Target),
    ] {
        let body = format!("event: endpoint\ndata: {data}\n\n");
        let mut reader = Reader::new(Watch::Endpoint, b"/sse").unwrap();
        let progress = reader.feed(body.as_bytes());
        assert!(
            matches!(progress, Progress::Found(learned) if learned.announced == announced),
            "{data}: {progress:?}"
        );
    }
    let mut reader = Reader::new(Watch::Task(BodyFormat::Json), b"/mcp").unwrap();
    let body = result(TASK);
    let progress = reader.feed(body.as_bytes());
    let is_task = |learned: Learned| learned.announced == Announced::Task;
    assert!(matches!(progress, Progress::Found(learned) if is_task(learned)));
}

#[test]
fn a_target_without_an_id_of_its_own_is_refused_and_says_why() {
    for data in ["/messages", "/mcp", "/mcp/notifications", "", "?a=b", "/m?key=a1b2c3d4"] {
        assert_eq!(endpoint(data, "/mcp?key=a1b2c3d4"), Err(Fault::NoId), "{data}");
    }
    for data in [r#"{"url":"/m"}"#, "\"/messages/5f0c1a2b\"", "ftp://h/m/5f0c1a2b", "/m/5f0c1a2b x"]
    {
        assert_eq!(endpoint(data, "/mcp"), Err(Fault::NoTarget), "{data}");
    }
    for len in [MAX_ID, 2 * MAX_ID] {
        let data = format!("/m?clientId={}", "x".repeat(len));
        assert_eq!(endpoint(&data, "/mcp"), Err(Fault::TooLong));
        let data = format!("/m?sessionId={}", "x".repeat(len + 1));
        assert_eq!(endpoint(&data, "/mcp"), Err(Fault::TooLong));
    }
}

#[test]
fn an_id_that_the_stream_has_as_well_gives_way_to_one_that_it_has_not() {
    let uri = "/sse?sessionId=mine";
    assert_eq!(endpoint("/m?sessionId=fresh", uri).as_deref(), Ok("fresh"));
    assert_eq!(endpoint("/m?sessionId=mine", uri).as_deref(), Ok("mine"));
    let both = "/m?sessionId=mine&clientId=c";
    assert_eq!(endpoint(both, uri).as_deref(), Ok(both));
    assert_eq!(endpoint(both, "/sse").as_deref(), Ok("mine"));
    let keyed = "/m?sessionId=mine&session_id=fresh";
    for stream in [uri, "/sse", "/sse?session_id=fresh", "/sse?sessionId=mine&session_id=fresh"] {
        assert_eq!(endpoint(keyed, stream).as_deref(), Ok(keyed), "{stream}");
    }
}

#[test]
fn comments_and_other_events_may_come_before_the_endpoint() {
    let body = ": ping\n\nevent: hello\ndata: ?sessionId=no\n\n\u{feff}x\nevent: endpoint\n\n\
                data: ?sessionId=yes\nid: 1\nevent: endpoint\n\nevent: endpoint\ndata: ?sessionId=late\n\n";
    assert_eq!(stream(body).as_deref(), Some("yes"));
}

#[test]
fn the_last_type_of_an_event_is_its_type() {
    let body = "event: endpoint\nevent: x\ndata: ?sessionId=no\n\n\
                event: x\ndata: ?sessionId=yes\nevent: endpoint\n\n";
    assert_eq!(stream(body).as_deref(), Some("yes"));
    let body = format!("event: x\nevent: message\ndata: {}\n\n", result(TASK));
    assert_eq!(task_as(BodyFormat::Sse, &body), t1(Some(60_032)));
}

#[test]
fn lines_of_an_endpoint_are_one_uri_without_blanks() {
    let body = "event: endpoint\ndata: /m?session\ndata: Id=a%4\ndata: 1b \n\n";
    assert_eq!(stream(body).as_deref(), Some("aAb"));
}

#[test]
fn only_the_first_endpoint_counts() {
    let body = "event: endpoint\ndata: /m\n\nevent: endpoint\ndata: ?sessionId=s\n\n";
    assert_eq!(stream(body), None);
}

#[test]
fn an_endpoint_is_learned_with_its_last_byte() {
    let mut reader = Reader::new(Watch::Endpoint, b"/sse").unwrap();
    assert_eq!(reader.feed(b"event: endpoint\r\ndata: ?sessionId=s\r\n"), Progress::More);
    assert!(matches!(reader.feed(b"\r"), Progress::Found(learned) if learned.id == b"s"));
    assert_eq!(reader.feed(b"\n"), Progress::Nothing);
}

// The query

#[test]
fn a_query_is_decoded_as_servers_decode_it() {
    for (text, id) in [
        (&b"sessionId=s"[..], Some(&b"s"[..])),
        (b"session_id=s", Some(b"s")),
        (b"a=1&session_id=s&b=2", Some(b"s")),
        (b"sessionId=&session_id=s", Some(b"s")),
        (b"sessionId&session_id=s", Some(b"s")),
        (b"sessionId=a&session_id=b", Some(b"a")),
        (b"session%49d=%61%2Bb+c", Some(b"a+b c")),
        (b"sessionId=%zz%4", Some(b"%zz%4")),
        (b"sessionId=%%41", Some(b"%A")),
        (b"sessionId=%4%41", Some(b"%4A")),
        (b"sessionId=a=b", Some(b"a=b")),
        (b"sessionId=a%26b%00%ff", Some(b"a&b\0\xff")),
        (b"sessionid=s", Some(b"s")),
        (b"SESSION_ID=s", Some(b"s")),
        (b"xsessionId=s", None),
        (b"sessionIdx=s", None),
        (b"x?sessionId=s", None),
        (b"sessionId%3Ds", None),
        (b"", None),
    ] {
        assert_eq!(query(text).as_deref(), id, "{}", text.escape_ascii());
    }
}

#[test]
fn an_id_may_have_so_many_bytes_and_no_more() {
    let id = "x".repeat(MAX_ID);
    assert_eq!(query(format!("sessionId={id}").as_bytes()), Some(id.clone().into_bytes()));
    assert_eq!(query(format!("sessionId={id}x&session_id=s").as_bytes()), None);
    let long = |id: &str| result(&format!(r#""resultType":"task","taskId":"{id}""#));
    assert_eq!(task(&long(&id)), Some((id.clone(), None)));
    assert_eq!(task(&long(&(id + "x"))), None);
}

#[test]
fn what_a_scratch_has_held_before_does_not_matter() {
    let mut scratch = Id::new();
    let stream = RequestHead { query: b"sessionId=s1", ..REQUEST };
    let name = b"=?base64?w6k=?=";
    let task = RequestHead { version: b"2026-07-28", method: b"tasks/get", name, ..REQUEST };
    for _ in 0..2 {
        assert_eq!(stream.id(&mut scratch), Some((Kind::Sse, &b"s1"[..])));
        assert_eq!(task.id(&mut scratch), Some((Kind::Task, "é".as_bytes())));
        assert_eq!(REQUEST.id(&mut scratch), None);
    }
}

#[test]
fn base64_is_canonical_and_holds_utf_8() {
    for (field, value) in [
        ("=?base64?w6k=?=", Some("é")),
        ("=?base64?YQ==?=", Some("a")),
        ("=?base64?YWJj?=", Some("abc")),
        ("=?base64?YQ?=", None),
        ("=?base64?YQ=?=", None),
        ("=?base64?YQ===?=", None),
        ("=?base64?Y?=", None),
        ("=?base64?====?=", None),
        ("=?base64?YR==?=", None),
        ("=?base64?YQ==YQ==?=", None),
        ("=?base64?YW-j?=", None),
        ("=?base64? YWJj?=", None),
        ("=?base64?/w==?=", None),
        ("=?base64??=", None),
        ("=?base64?=", Some("=?base64?=")),
        ("=?BASE64?YQ==?=", Some("=?BASE64?YQ==?=")),
        ("=?base64?YQ==", Some("=?base64?YQ==")),
        ("t 1", Some("t 1")),
    ] {
        assert_eq!(name(field.as_bytes()).as_deref(), value.map(str::as_bytes), "{field}");
    }
}

#[test]
fn base64_holds_an_id_of_so_many_bytes_and_no_more() {
    for (len, is_id) in
        [(MAX_ID - 1, true), (MAX_ID, true), (MAX_ID + 1, false), (2 * MAX_ID, false)]
    {
        let value = "x".repeat(len);
        let field = model::name_of(&value);
        assert_eq!(name(field.as_bytes()), is_id.then_some(value.into_bytes()), "{len} bytes");
    }
}

// Tasks

#[test]
fn a_task_is_learned_from_a_result_with_its_time_to_live() {
    assert_eq!(task(&result(TASK)), t1(Some(60_032)));
}

#[test]
fn members_come_in_any_order_with_anything_between_them() {
    let body = r#" { "result" : { "_meta":{"taskId":"no","resultType":"complete","ttlMs":1},
        "ttlMs" : null , "x":[[{"taskId":"no"}],"taskId",-1.5e+3,true,false,null,{}],
        "taskId":"t-1", "resultType":"task" } , "id":"taskId", "jsonrpc":"2.0" } "#;
    assert_eq!(task(body), t1(None));
}

#[test]
fn a_result_of_another_type_is_no_task() {
    for members in [
        r#""resultType":"complete","taskId":"t-1""#,
        r#""resultType":"task""#,
        r#""taskId":"t-1""#,
        r#""resultType":"task","taskId":"""#,
        r#""resultType":"task","taskId":7"#,
        r#""resultType":"tasks","taskId":"t-1""#,
        r#""resultType":["task"],"taskId":"t-1""#,
        r#""resultType":"task","task":{"taskId":"t-1"}"#,
        r#""resultType":"task","taskId":["t-1"]"#,
        "",
    ] {
        assert_eq!(task(&result(members)), None, "{members}");
    }
    for body in [
        r#"{"error":{"resultType":"task","taskId":"t-1"}}"#,
        r#"{"params":{"resultType":"task","taskId":"t-1"}}"#,
        r#"{"resultType":"task","taskId":"t-1"}"#,
        r#"{"result":[{"resultType":"task","taskId":"t-1"}]}"#,
        r#"{"x":{"result":{"resultType":"task","taskId":"t-1"}}}"#,
        r#"[{"result":{"resultType":"task","taskId":"t-1"}}]"#,
        r#"[{"result":1},{"resultType":"task","taskId":"t-1"}]"#,
        r#"{"result":[{"resultType":1},"task",{"taskId":1},"t-1"]}"#,
        r#""task""#,
        "1 ",
    ] {
        assert_eq!(task(body), None, "{body}");
    }
}

#[test]
fn of_two_members_with_one_name_the_last_counts() {
    let twice =
        r#""taskId":"x","taskId":"t-1","resultType":1,"resultType":"task","ttlMs":1,"ttlMs":64"#;
    assert_eq!(task(&result(twice)), t1(Some(64)));
    let twice = r#""resultType":"x","resultType":"task","taskId":"t-1","ttlMs":1,"ttlMs":null"#;
    assert_eq!(task(&result(twice)), t1(None));
    assert_eq!(task(&result(r#""resultType":"task","taskId":"x","taskId":null"#)), None);
    assert_eq!(task(&result(r#""taskId":"x","resultType":"task","resultType":0"#)), None);
    assert_eq!(
        task(&format!(r#"{{"result":{{"ttlMs":1}},"result":{{{TASK}}}}}"#)),
        t1(Some(60_032))
    );
    assert_eq!(task(&format!(r#"{{"result":{{{TASK}}},"result":null}}"#)), None);
    assert_eq!(task(&format!(r#"{{"result":{{{TASK}}},"result":{{}}}}"#)), None);
}

#[test]
fn names_and_values_may_be_escaped() {
    let members =
        r#""result\u0054ype":"\u0074ask","t\u0061skId":"\"\\\/\b\f\n\r\té\u00e9\ud83d\uDE00""#;
    assert_eq!(task(&result(members)).unwrap().0, "\"\\/\u{8}\u{c}\n\r\téé😀");
}

#[test]
fn a_time_to_live_that_makes_no_sense_is_none_and_a_huge_one_the_longest() {
    let ttl = |text: &str| {
        task(&result(&format!(r#""resultType":"task","taskId":"t-1","ttlMs":{text}"#))).unwrap().1
    };
    assert_eq!(ttl("6.4e4"), Some(64_000));
    for none in ["null", "0", "-1", "-1e9", "0.9", "\"60000\"", "[60000]", "true"] {
        assert_eq!(ttl(none), None, "{none}");
    }
    assert_eq!(ttl("1e400"), Some(Span::from_millis(u64::MAX).as_millis()));
}

#[test]
fn a_text_that_is_no_json_has_no_task() {
    let good = result(TASK);
    for bad in [
        format!("x{good}"),
        format!("{{{good}"),
        good.replace("\"jsonrpc\":", "\"jsonrpc\"::"),
        good.replace(":1,", ":01,"),
        good.replace(":1,", ":-,"),
        good.replace(":1,", ":1.,"),
        good.replace(":1,", ":1e,"),
        good.replace(":1,", ":.5,"),
        good.replace(":1,", ":+1,"),
        good.replace(":1,", ":NaN,"),
        good.replace(":1,", ":nul,"),
        good.replace(":1,", ":truee,"),
        good.replace(":1,", ":[1},"),
        good.replace(":1,", ":[1,],"),
        good.replace(":1,", ":1,,"),
        good.replace("2.0", "2\n0"),
        good.replace("2.0", "2\0"),
        good.replace("2.0", r"\x"),
        good.replace("2.0", r"\u12g4"),
        good.replace("2.0", r"\ud83d"),
        good.replace("2.0", r"\ud83dx"),
        good.replace("2.0", r"\ud83d\n"),
        good.replace("2.0", r"\ud83d\u0041"),
        good.replace("2.0", r"\ude00"),
        good.replace("60032}", "60032,}"),
        good.replace("60032}", "60032]"),
    ] {
        assert_ne!(bad, good);
        assert_eq!(task(&bad), None, "{bad}");
    }
    for bytes in
        [&b"\xff"[..], b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x28"]
    {
        let first = [b"{\"a\":\"", bytes, b"\",", &good.as_bytes()[1..]].concat();
        let last = [&good.as_bytes()[..good.len() - 1], b",\"a\":\"", bytes, b"\"}"].concat();
        for bad in [first, last] {
            assert_eq!(
                learned(Watch::Task(BodyFormat::Json), &bad),
                None,
                "{}",
                bad.escape_ascii()
            );
        }
    }
}

#[test]
fn a_task_is_learned_with_the_last_brace() {
    let body = result(TASK);
    let (most, last) = body.split_at(body.len() - 1);
    let mut reader = Reader::new(Watch::Task(BodyFormat::Json), b"").unwrap();
    assert_eq!(reader.feed(most.as_bytes()), Progress::More);
    assert!(
        matches!(reader.feed(last.as_bytes()), Progress::Found(learned) if learned.id == b"t-1")
    );
}

#[test]
fn what_follows_the_message_does_not_matter() {
    assert_eq!(task(&(result(TASK) + "x")), t1(Some(60_032)));
    assert_eq!(task(&(result("") + &result(TASK))), None);
}

#[test]
fn in_a_stream_a_task_may_follow_notifications_and_rubbish() {
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"taskId":"no"}}"#;
    let body = format!(
        "id: 1\ndata:\n\nevent: message\ndata: {progress}\n\ndata: {{rubbish\n\nevent: ping\n\
         data: {}\n\nevent: message\r\ndata: {}\r\n\r\n",
        result(r#""resultType":"task","taskId":"no""#),
        result(TASK)
    );
    assert_eq!(task_as(BodyFormat::Sse, &body), t1(Some(60_032)));
}

#[test]
fn in_a_stream_a_message_may_have_several_lines() {
    let body = format!("data: {}\n\n", result(TASK).replace(',', ",\ndata:"));
    assert_eq!(task_as(BodyFormat::Sse, &body), t1(Some(60_032)));
    let body = format!("data: {}\n\n", result(TASK).replace("t-1", "t\ndata: -1"));
    assert_eq!(task_as(BodyFormat::Sse, &body), None);
}

#[test]
fn a_stream_has_no_more_to_say_after_the_response() {
    let after = |response: &str| format!("data: {response}\n\ndata: {}\n\n", result(TASK));
    assert_eq!(task_as(BodyFormat::Sse, &after(&result(""))), None);
    assert_eq!(task_as(BodyFormat::Sse, &after(r#"{"error":{}}"#)), None);
    assert_eq!(task_as(BodyFormat::Sse, &after(r#"{"method":"x"}"#)), t1(Some(60_032)));
    let of_another_type = format!("event: x\ndata: {{\"error\":{{}}}}\n\n{}", after("{}"));
    assert_eq!(task_as(BodyFormat::Sse, &of_another_type), t1(Some(60_032)));
    let mut reader = Reader::new(Watch::Task(BodyFormat::Sse), b"").unwrap();
    assert_eq!(reader.feed(b"data: {\"result\":{}}\n\n"), Progress::Nothing);
    assert_eq!(reader.feed(format!("data: {}\n\n", result(TASK)).as_bytes()), Progress::Nothing);
}

// Bombs

#[test]
fn a_depth_bomb_has_no_task_and_64_levels_are_read() {
    let nested = |depth| {
        format!(r#"{{"a":{}{},{}"#, "[".repeat(depth), "]".repeat(depth), &result(TASK)[1..])
    };
    assert_eq!(
        read(Watch::Task(BodyFormat::Json), [nested(63).as_bytes()]).map(|t| t.1),
        Some(b"t-1".to_vec())
    );
    assert_eq!(read(Watch::Task(BodyFormat::Json), [nested(64).as_bytes()]), None);
    let unlike = format!(r#"{{"result":{{{TASK}}},"a":{}{}"#, "[".repeat(64), "]".repeat(65));
    assert_eq!(read(Watch::Task(BodyFormat::Json), [unlike.as_bytes()]), None);
    let bomb = "{\"a\":".repeat(10_000);
    assert_eq!(read(Watch::Task(BodyFormat::Json), bomb.as_bytes().chunks(4096)), None);
}

#[test]
fn nothing_is_looked_at_beyond_the_limit() {
    let last = |watch, size: usize, end: &str, fill: &dyn Fn(usize) -> String| {
        let body = format!("{}{end}", fill(size - end.len()));
        assert_eq!(body.len(), size);
        read(watch, body.as_bytes().chunks(5000)).is_some()
    };
    let members = result(TASK);
    for (watch, end, fill) in [
        (
            Watch::Task(BodyFormat::Json),
            &members[..],
            &(|n| " ".repeat(n)) as &dyn Fn(usize) -> String,
        ),
        (Watch::Endpoint, "\nevent: endpoint\ndata: ?sessionId=s\n\n", &|n| ":".repeat(n)),
    ] {
        assert!(last(watch, MAX_WATCHED, end, fill));
        assert!(!last(watch, MAX_WATCHED + 1, end, fill));
    }
    let number = format!("{{\"a\":{}", "1".repeat(10 << 20));
    let mut reader = Reader::new(Watch::Task(BodyFormat::Json), b"").unwrap();
    assert_eq!(reader.feed(number.as_bytes()), Progress::Nothing);
    assert_eq!(reader.feed(b"}"), Progress::Nothing);
}

// Rejections

#[test]
fn a_rejection_is_a_json_rpc_error() {
    use affinity::mcp::rejection::body;
    for rejection in [Rejection::NotFound, Rejection::Gone] {
        assert_eq!(
            body(rejection),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#
        );
    }
    let ambiguous = body(Rejection::Ambiguous);
    assert!(ambiguous.starts_with(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"#));
    assert!(body(Rejection::Unavailable).starts_with(r#"{"jsonrpc":"2.0","id":null,"error":{"#));
}

// Anything at all

proptest! {
    #[test]
    fn a_query_means_what_percent_encoding_says(words in words(QUERY)) {
        prop_assert_eq!(query(&words), model::query(&words));
    }

    #[test]
    fn a_name_means_what_base64_says(
        bytes in prop::collection::vec(any::<u8>(), 0..20),
        text in "[ -~é]{0,20}",
        damage in prop::option::of((any::<prop::sample::Index>(), "[A-Za-z0-9+/=?]")),
    ) {
        for bytes in [&bytes[..], text.as_bytes()] {
            let mut field = format!("=?base64?{}?=", BASE64_STANDARD.encode(bytes));
            if let Some((at, with)) = &damage {
                let at = at.index(field.len());
                field.replace_range(at..at + 1, with);
            }
            prop_assert_eq!(name(field.as_bytes()), model::name(field.as_bytes()));
            prop_assert_eq!(name(bytes), model::name(bytes));
        }
    }

    #[test]
    fn an_endpoint_is_the_one_of_the_whole_stream(words in words(ENDPOINT), cut in 1usize..20) {
        let whole = read(Watch::Endpoint, [&words[..]]);
        prop_assert_eq!(read(Watch::Endpoint, words.chunks(cut)), whole.clone());
        agree_on_endpoint(whole, model::endpoint(&words, URI))?;
    }

    #[test]
    fn a_target_is_where_the_url_crate_leads(words in words(REFERENCE), cut in 1usize..20) {
        let event = [b"event:endpoint\ndata:", &words[..], b"\n\n"].concat();
        let whole = read(Watch::Endpoint, [&event[..]]);
        prop_assert_eq!(read(Watch::Endpoint, event.chunks(cut)), whole.clone());
        agree_on_endpoint(whole, model::reference(&words, URI))?;
    }

    #[test]
    fn a_task_is_what_serde_json_says(text in message(), after in "[x\n}{]?", cut in 1usize..20) {
        let text = text + &after;
        let whole = read(Watch::Task(BodyFormat::Json), [text.as_bytes()]);
        prop_assert_eq!(read(Watch::Task(BodyFormat::Json), text.as_bytes().chunks(cut)), whole.clone());
        agree(whole, model::message(text.as_bytes(), false))?;
    }

    #[test]
    fn a_task_is_the_first_response_of_a_stream(
        messages in prop::collection::vec((message(), event()), 0..4),
        cut in 1usize..20,
    ) {
        let stream: String = messages
            .into_iter()
            .map(|(message, (before, line, after))| {
                format!("{before}data:{}{after}", message.replace('\n', line))
            })
            .collect();
        let whole = read(Watch::Task(BodyFormat::Sse), [stream.as_bytes()]);
        prop_assert_eq!(read(Watch::Task(BodyFormat::Sse), stream.as_bytes().chunks(cut)), whole.clone());
        agree(whole, model::messages(stream.as_bytes()))?;
    }
}

fn agree_on_endpoint(learned: BodyId, meant: model::Endpoint) -> Result<(), TestCaseError> {
    let meant = match meant {
        model::Endpoint::None => None,
        model::Endpoint::Id(id) | model::Endpoint::Target(id) => Some((Kind::Sse, id, None)),
        model::Endpoint::Beyond => return Ok(()),
    };
    prop_assert_eq!(learned, meant);
    Ok(())
}

fn agree(learned: BodyId, meant: model::Message) -> Result<(), TestCaseError> {
    match (learned, meant) {
        (_, model::Message::Beyond) => {}
        (Some((kind, id, ttl)), model::Message::Task(meant_id, meant_ttl)) => {
            prop_assert_eq!((kind, id), (Kind::Task, meant_id));
            let ttl = ttl.map(Span::as_millis);
            prop_assert!(model::is_ttl(ttl, meant_ttl), "{:?} for {:?}", ttl, meant_ttl);
        }
        (learned, meant) => {
            prop_assert!(learned.is_none() && !matches!(meant, model::Message::Task(..)));
        }
    }
    Ok(())
}

fn words(of: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(of), 0..40).prop_map(|words| words.concat().into())
}

const QUERY: &[&str] = &[
    "sessionId=",
    "session_id=",
    "sessionId",
    "session",
    "Id",
    "&",
    "&",
    "=",
    "%",
    "%4",
    "%41",
    "%2B",
    "%00",
    "%ff",
    "+",
    "#",
    "?",
    "x",
    "7",
    "é",
];

const REFERENCE: &[&str] = &[
    "/",
    "/",
    "?",
    "&",
    "=",
    "#",
    ";",
    ":",
    "//",
    ".",
    "..",
    "/../",
    "/./",
    "%2e",
    "%2E",
    "%",
    "%41",
    "http:",
    "https://",
    "h",
    "x:",
    "messages",
    "sse",
    "sessionId=",
    "session_id",
    "clientId=",
    "5f0c1a2b",
    "a1b2c3d4",
    "key=",
    "s",
    "é",
    "\"",
    "{",
    "}",
    "\\",
    "'",
    " ",
    "\t",
    "@",
    "[",
    "]",
    "~",
];

const ENDPOINT: &[&str] = &[
    "event: endpoint",
    "event:",
    "event: x",
    "endpoint",
    "data: /m?",
    "data:",
    "data: ?sessionId=7",
    "?",
    "sessionId=",
    "session_id=",
    "&",
    "#",
    "%41",
    "%",
    "4",
    "x",
    " ",
    ":",
    "\n",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\u{feff}",
    "\0",
];

/// A JSON-RPC message, mostly valid, with line ends between its tokens.
fn message() -> impl Strategy<Value = String> {
    let members = |names: &'static [&'static str], value: BoxedStrategy<String>| {
        let member =
            (prop::sample::select(names), value).prop_map(|(n, v)| format!("\"{n}\" :\n{v}"));
        prop::collection::vec(member, 0..5)
            .prop_map(|members| format!("{{{}}}", members.join(",\n")))
    };
    let leaf = prop_oneof![
        4 => Just("\"task\"".to_owned()),
        4 => Just("\"t-1\"".to_owned()),
        1 => "\"[a-z\\\\\"\u{0}é😀]{0,9}\"",
        1 => "\"(\\\\[\"\\\\/bfnrtu]|\\\\u[dD][89cC][0-9a-f]{2}|\\\\u00[0-9a-f]{2}|x){0,4}\"",
        2 => "-?[0-9]{1,5}(\\.[0-9]{0,3})?([eE][-+]?[0-9]{0,2})?",
        1 => Just("null".to_owned()),
        1 => Just("tru".to_owned()),
    ];
    const NAMES: &[&str] =
        &["resultType", "taskId", "ttlMs", "result", "task\\u0049d", "resultTypes", "", "error"];
    let value = leaf.prop_recursive(3, 20, 4, move |inner| {
        prop_oneof![
            members(NAMES, inner.clone().boxed()),
            prop::collection::vec(inner, 0..3).prop_map(|values| format!("[{}]", values.join(","))),
        ]
    });
    let result = members(
        &["resultType", "taskId", "resultType", "taskId", "ttlMs", "result\\u0054ype", "x"],
        value.clone().boxed(),
    );
    let good = prop::sample::select(
        &[
            r#"{"resultType":"task","taskId":"t-1"}"#,
            r#"{"ttlMs":6e4,"taskId":"t","resultType":"task"}"#,
        ][..],
    );
    let outer = prop_oneof![4 => result, 2 => value, 2 => good.prop_map(str::to_owned)];
    members(&["result", "result", "result", "error", "method", "res\\u0075lt"], outer.boxed())
}

/// The text before an event's message, the line ends, and the text behind it.
fn event() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    (
        prop::sample::select(
            &["", "event: message\n", "event: x\r", ": x\r\n", "\u{feff}", "\n"][..],
        ),
        prop::sample::select(&["", "\ndata:", "\rdata: ", "\r\ndata:", "\n"][..]),
        prop::sample::select(&["\n\n", "\r\r", "\r\n\r\n", "\nevent:x\n\n", "\n", ""][..]),
    )
}
