//! The `endpoint` event of a stream of HTTP+SSE.

use super::*;

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
