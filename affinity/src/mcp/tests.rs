use super::*;
use crate::policy::Presented;
use crate::table::Kind;

const NEW: &[u8] = b"2026-07-28";

const REQUEST: RequestHead<'static> = RequestHead { target: b"/mcp", ..RequestHead::EMPTY };

fn with(session: &'static [u8]) -> RequestHead<'static> {
    let mut request = REQUEST;
    request.add_session(session);
    request
}

fn second(request: RequestHead) -> Option<(Kind, Vec<u8>)> {
    request.second_id(&mut Id::new()).map(|(kind, id)| (kind, id.to_vec()))
}

fn id(request: RequestHead) -> Option<(Kind, Vec<u8>)> {
    request.id(&mut Id::new()).map(|(kind, id)| (kind, id.to_vec()))
}

fn found(kind: Kind, id: &[u8]) -> Option<(Kind, Vec<u8>)> {
    Some((kind, id.to_vec()))
}

#[test]
fn a_session_header_names_a_session_exactly() {
    assert_eq!(id(with(b"a%2B=c")), found(Kind::Session, b"a%2B=c"));
    assert_eq!(id(with(b" \ta b\t ")), found(Kind::Session, b"a b"));
    assert_eq!(id(with(b" \t ")), None);
    assert_eq!(id(REQUEST), None);
    assert_eq!(REQUEST.unknown(), Presented::NoId);
    assert_eq!(with(b"").unknown(), Presented::NoId);
    assert_eq!(with(b"s").unknown(), Presented::Unknown(Kind::Session));
}

#[test]
fn lines_that_differ_name_nothing_and_equal_ones_one_session() {
    for lines in [&["a", "a "][..], &["\ta", "a", "a"]] {
        let mut request = REQUEST;
        lines.iter().for_each(|line| request.add_session(line.as_bytes()));
        assert_eq!(id(request), found(Kind::Session, b"a"));
        assert!(!request.effects().is_ambiguous());
    }
    for lines in [&["a", "b"][..], &["a", "a", "b"], &["a", "b", "a"], &["", "a"], &["a", ""]] {
        let mut request = RequestHead { query: b"sessionId=s", ..REQUEST };
        lines.iter().for_each(|line| request.add_session(line.as_bytes()));
        assert_eq!(id(request), None, "{lines:?}");
        assert_eq!(request.unknown(), Presented::Ambiguous);
        assert!(request.effects().is_ambiguous());
    }
}

#[test]
fn an_underscore_in_the_name_of_the_session_header_is_a_hyphen() {
    let of = |headers: &[(&'static str, &'static str)]| {
        let mut request = REQUEST;
        for (name, value) in headers {
            request.add_header(name.as_bytes(), value.as_bytes());
        }
        request
    };
    for name in ["mcp-session-id", "mcp_session_id", "mcp-session_id", "mcp_session-id"] {
        assert_eq!(id(of(&[(name, "a")])), found(Kind::Session, b"a"));
        for (other, differs) in [("a", false), ("b", true)] {
            let both = of(&[("mcp-session-id", "a"), (name, other)]);
            assert_eq!(both.effects().is_ambiguous(), differs, "{name}");
            let both = of(&[(name, other), ("mcp-session-id", "a")]);
            assert_eq!(both.effects().is_ambiguous(), differs, "{name}");
        }
    }
    for name in ["mcp-session-ix", "mcp--session-id", "mcpsession-id", "mcp-session-id-", ""] {
        assert_eq!(id(of(&[(name, "a")])), None, "{name}");
    }
    let request = of(&[
        ("mcp-protocol-version", ""),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-method", "tasks/get"),
        ("mcp_name", "no"),
        ("mcp-name", "t"),
    ]);
    assert_eq!(id(request), found(Kind::Task, b"t"));
}

#[test]
fn a_query_names_a_stream_unless_a_header_names_a_session() {
    let query = b"x=1&sessionId=s%31";
    assert_eq!(id(RequestHead { query, ..REQUEST }), found(Kind::Sse, b"s1"));
    assert_eq!(RequestHead { query, ..REQUEST }.unknown(), Presented::Unknown(Kind::Sse));
    let both = RequestHead { query, target: b"/m?x=1&sessionId=s%31&clientId=c", ..with(b"h") };
    assert_eq!(id(both), found(Kind::Session, b"h"));
    assert_eq!(second(both), None);
    assert_eq!(both.unknown(), Presented::Unknown(Kind::Session));
}

#[test]
fn a_target_with_an_id_of_its_own_is_asked_for_before_the_query() {
    let target = b"/m/5f0c12?session_id=s";
    let request = RequestHead { query: b"session_id=s", target, ..REQUEST };
    for version in [&b""[..], b"2025-06-18", NEW] {
        let request = RequestHead { version, ..request };
        assert_eq!(id(request), found(Kind::Sse, target));
        assert_eq!(second(request), found(Kind::Sse, b"s"));
        assert_eq!(request.unknown(), Presented::Unknown(Kind::Sse));
    }
    let alone = RequestHead { query: b"", target: b"/m/5f0c12", ..REQUEST };
    assert_eq!(id(alone), found(Kind::Sse, b"/m/5f0c12"));
    assert_eq!(second(alone), None);
    assert_eq!(alone.unknown(), Presented::NoId);
    let plain = RequestHead { target: b"/m?session_id=s", ..request };
    assert_eq!(id(plain), found(Kind::Sse, b"s"));
    assert_eq!(second(plain), None);
    let (query, target) = (&b"session_id=key&sessionId=s"[..], b"/m?session_id=key&sessionId=s");
    let several = RequestHead { query, target, ..request };
    assert_eq!(id(several), found(Kind::Sse, target));
    assert_eq!(second(several), found(Kind::Sse, b"key"));
    let long = [b"/m/5f0c12?x=", &[b'x'; MAX_ID][..]].concat();
    assert_eq!(id(RequestHead { target: &long, ..request }), found(Kind::Sse, b"s"));
}

#[test]
fn a_task_is_named_by_its_three_methods_at_a_version_whose_servers_check_them() {
    let task = RequestHead { version: NEW, name: b"t-1", ..REQUEST };
    for method in [&b"tasks/get"[..], b"tasks/update", b"tasks/cancel"] {
        assert_eq!(id(RequestHead { method, ..task }), found(Kind::Task, b"t-1"));
        assert_eq!(id(RequestHead { method, version: b"2025-11-25", ..task }), None);
        assert_eq!(id(RequestHead { method, version: b"", ..task }), None);
        assert_eq!(RequestHead { method, ..task }.unknown(), Presented::Unknown(Kind::Task));
        assert_eq!(id(RequestHead { method, name: b"", ..task }), None);
        assert_eq!(
            id(RequestHead { method, name: b"=?base64?w6k=?=", ..task }),
            found(Kind::Task, "é".as_bytes())
        );
        assert_eq!(id(RequestHead { method, name: b"=?base64?w6l=?=", ..task }), None);
    }
    for method in [&b""[..], b"tools/call", b"tasks/list", b"tasks/result", b"Tasks/Get"] {
        assert_eq!(id(RequestHead { method, ..task }), None);
    }
}

#[test]
fn an_id_is_asked_for_at_a_stateless_revision_and_none_is_opened() {
    for version in [&b"2026-07-28"[..], b"2026-07-29", b"2026-08-01", b"2030-01-01"] {
        let request = RequestHead { version, query: b"sessionId=q", ..with(b"s") };
        assert_eq!(id(request), found(Kind::Session, b"s"));
        assert_eq!(request.unknown(), Presented::Leftover);
        assert!(!request.effects().opens(200));
        let request = RequestHead { version, query: b"sessionId=q", ..REQUEST };
        assert_eq!(id(request), found(Kind::Sse, b"q"));
    }
}

#[test]
fn a_leftover_does_not_keep_a_task_from_its_server() {
    let request = RequestHead { version: NEW, method: b"tasks/get", name: b"t", ..with(b"s") };
    assert_eq!(id(request), found(Kind::Task, b"t"));
    assert_eq!(second(request), found(Kind::Session, b"s"));
    assert_eq!(request.unknown(), Presented::Leftover);
    for request in [
        RequestHead { version: b"2025-11-25", ..request },
        RequestHead { method: b"tools/call", ..request },
        RequestHead { method: b"", ..request },
    ] {
        assert_eq!(id(request), found(Kind::Session, b"s"));
        assert_eq!(second(request), None);
    }
    let broken = RequestHead { name: b"=?base64?w6l=?=", ..request };
    assert_eq!(id(broken), found(Kind::Session, b"s"));
    let differ = RequestHead { lines: Lines::Differ, ..request };
    assert_eq!(id(differ), None);
}

#[test]
fn what_is_no_date_is_an_old_version() {
    for version in [
        &b""[..],
        b"2025-11-25",
        b"2026-07-27",
        b"2026-07-2",
        b"2026-07-280",
        b"2026-07-28 ",
        b"2026.07.28",
        b"3026-0a-28",
        b"DRAFT-2026",
        b"\xff\xff\xff\xff-\xff\xff-\xff\xff",
    ] {
        let request = RequestHead { version, ..with(b"s") };
        assert_eq!(request.unknown(), Presented::Unknown(Kind::Session), "{version:?}");
        assert!(request.effects().opens(200));
    }
}

#[test]
fn only_success_opens_a_session() {
    for (status, opens) in [(199, false), (200, true), (202, true), (299, true), (400, false)] {
        assert_eq!(REQUEST.effects().opens(status), opens);
    }
}

#[test]
fn a_session_ends_by_a_delete_that_worked_and_by_nothing_else() {
    let delete = RequestHead { verb: Verb::Delete, ..REQUEST };
    for kind in [Kind::Session, Kind::Sse] {
        for status in [200, 202, 204] {
            assert!(delete.effects().ends(kind, status));
            assert!(!REQUEST.effects().ends(kind, status));
        }
        for status in [400, 403, 404, 405, 410, 500, 503] {
            assert!(!delete.effects().ends(kind, status));
            assert!(!REQUEST.effects().ends(kind, status));
        }
    }
    assert!(!REQUEST.effects().ends(Kind::Task, 404));
    assert!(!delete.effects().ends(Kind::Task, 200));
}

const SSE: ResponseHead<'static> =
    ResponseHead { status: 200, content_type: b"text/event-stream", encoding: b"" };
const JSON: ResponseHead<'static> = ResponseHead { content_type: b"application/json", ..SSE };

#[test]
fn a_stream_may_bring_an_endpoint_unless_a_header_names_a_session() {
    let get = RequestHead { verb: Verb::Get, ..REQUEST };
    assert_eq!(get.effects().watch(&SSE), Watch::Endpoint);
    assert!(get.effects().opens_stream());
    assert!(!REQUEST.effects().opens_stream());
    assert_eq!(get.effects().watch(&JSON), Watch::Nothing);
    assert_eq!(get.effects().watch(&ResponseHead { status: 202, ..SSE }), Watch::Nothing);
    assert_eq!(get.effects().watch(&ResponseHead { content_type: b"", ..SSE }), Watch::Nothing);
    assert_eq!(REQUEST.effects().watch(&SSE), Watch::Nothing);
    let mut of_session = get;
    of_session.add_session(b"s");
    assert_eq!(of_session.effects().watch(&SSE), Watch::Nothing);
    assert!(!of_session.effects().opens_stream());
    for version in [&b"2025-11-25"[..], NEW] {
        let get = RequestHead { version, query: b"session_id=s", ..get };
        assert_eq!(get.effects().watch(&SSE), Watch::Endpoint);
    }
}

#[test]
fn a_tool_call_may_bring_a_task() {
    let call = RequestHead { version: NEW, method: b"tools/call", name: b"slow", ..REQUEST };
    assert_eq!(call.effects().watch(&JSON), Watch::Task(BodyFormat::Json));
    assert_eq!(call.effects().watch(&SSE), Watch::Task(BodyFormat::Sse));
    assert_eq!(
        call.effects().watch(&ResponseHead { status: 202, ..JSON }),
        Watch::Task(BodyFormat::Json)
    );
    assert_eq!(call.effects().watch(&ResponseHead { status: 400, ..JSON }), Watch::Nothing);
    assert_eq!(
        RequestHead { version: b"2025-11-25", ..call }.effects().watch(&JSON),
        Watch::Nothing
    );
    assert_eq!(
        RequestHead { method: b"tools/list", ..call }.effects().watch(&JSON),
        Watch::Nothing
    );
}

#[test]
fn an_encoded_body_is_not_read() {
    let get = RequestHead { verb: Verb::Get, ..REQUEST };
    let call = RequestHead { version: NEW, method: b"tools/call", ..REQUEST };
    for encoding in [&b"gzip"[..], b"br", b"zstd", b"identity, gzip", b"x"] {
        assert_eq!(get.effects().watch(&ResponseHead { encoding, ..SSE }), Watch::Nothing);
        assert_eq!(call.effects().watch(&ResponseHead { encoding, ..JSON }), Watch::Nothing);
    }
    for encoding in [&b"identity"[..], b"Identity"] {
        assert_eq!(get.effects().watch(&ResponseHead { encoding, ..SSE }), Watch::Endpoint);
        assert_eq!(
            call.effects().watch(&ResponseHead { encoding, ..JSON }),
            Watch::Task(BodyFormat::Json)
        );
    }
}

#[test]
fn a_media_type_is_caseless_and_may_have_parameters() {
    let get = RequestHead { verb: Verb::Get, ..REQUEST };
    for (content_type, expected) in [
        (&b"Text/Event-Stream"[..], Watch::Endpoint),
        (b"text/event-stream; charset=utf-8", Watch::Endpoint),
        (b"text/event-stream ;x", Watch::Endpoint),
        (b"text/event-streams", Watch::Nothing),
        (b"text/plain; text/event-stream", Watch::Nothing),
        (b";text/event-stream", Watch::Nothing),
    ] {
        assert_eq!(get.effects().watch(&ResponseHead { content_type, ..SSE }), expected);
    }
}
