use proptest::prelude::*;

use super::*;
use crate::status::{Drain, SessionId};
use crate::table::Kind;

fn get(path: &'static str) -> ApiRequest<'static> {
    ApiRequest {
        method: Method::Get,
        path: path.as_bytes(),
        arguments: b"",
        accept: b"*/*",
        content_type: b"application/json",
        host: b"localhost:8000",
        origin: None,
    }
}

fn with(method: Method, path: &'static str) -> ApiRequest<'static> {
    ApiRequest { method, ..get(path) }
}

#[test]
fn a_path_names_a_resource() {
    let named = |path: &'static str| Resource::at(path.as_bytes());
    for path in ["", "/"] {
        assert_eq!(named(path), Some(Resource::Everything));
    }
    assert_eq!(named("/zones"), Some(Resource::Zones));
    assert_eq!(named("zones/"), Some(Resource::Zones));
    assert_eq!(named("/zones/z"), Some(Resource::Zone(b"z")));
    assert_eq!(named("/zones/z/session"), Some(Resource::Session(b"z")));
    assert_eq!(named("/upstreams"), Some(Resource::Upstreams));
    assert_eq!(named("/upstreams/u"), Some(Resource::Upstream(b"u")));
    assert_eq!(named("/upstreams/u/servers"), Some(Resource::Servers(b"u")));
    assert_eq!(named("/upstreams/u/servers/[::1]:80"), Some(Resource::Server(b"u", b"[::1]:80")));
    assert_eq!(
        named("/upstreams/u/servers/unix:/run/a.sock/sessions"),
        Some(Resource::Sessions(b"u", b"unix:/run/a.sock"))
    );
    for path in [
        "/zone",
        "//zones/",
        "/zones//session",
        "/upstreams/u/server",
        "/upstreams//servers",
        "/upstreams//servers/a",
        "/upstreams/u/servers//sessions",
        "/upstreams/u/peers/a",
    ] {
        assert_eq!(named(path), None, "{path}");
    }
}

#[test]
fn the_argument_format_wins_over_accept() {
    let root = ApiRequest { accept: b"text/html", ..get("/") };
    let task = |request: ApiRequest<'static>| request.task(false);
    let shown = |format| Ok(Task::Show(Resource::Everything, format));
    assert_eq!(task(root), shown(Format::Page));
    assert_eq!(task(ApiRequest { arguments: b"format=json", ..root }), shown(Format::Json));
    assert_eq!(
        task(ApiRequest { arguments: b"format=prometheus", ..root }),
        shown(Format::Prometheus)
    );
    assert_eq!(
        task(ApiRequest { path: b"/zones", ..root }),
        Ok(Task::Show(Resource::Zones, Format::Json))
    );
    for (path, arguments) in [
        (&b"/zones"[..], &b"format=prometheus"[..]),
        (b"/", b"format=xml"),
        (b"/", b"format=json&format=json"),
        (b"/", b"Format=json"),
        (b"/", b"x"),
    ] {
        let refused =
            task(ApiRequest { path, arguments, ..root }).map_err(|refusal| refusal.status);
        assert_eq!(refused, Err(400));
    }
}

#[test]
fn a_server_can_be_waited_for() {
    let server = get("/upstreams/u/servers/a");
    let wait = |arguments| ApiRequest { arguments, ..server }.task(false);
    assert_eq!(wait(b"wait=empty"), Ok(Task::Wait(b"u", b"a", 60_000)));
    assert_eq!(wait(b"wait=empty&timeout=90"), Ok(Task::Wait(b"u", b"a", 90_000)));
    assert_eq!(wait(b"timeout=2m&wait=empty"), Ok(Task::Wait(b"u", b"a", 120_000)));
    assert_eq!(wait(b"wait=empty&timeout=0"), Ok(Task::Wait(b"u", b"a", 0)));
    for arguments in [
        &b"wait"[..],
        b"wait=full",
        b"timeout=1s",
        b"wait=empty&timeout=",
        b"wait=empty&timeout=1y",
        b"wait=empty&timeout=25h",
        b"wait=empty&timeout=-1",
        b"wait=empty&timeout=99999999999999999999",
        b"wait=empty&format=json",
    ] {
        assert_eq!(wait(arguments).map_err(|refusal| refusal.status), Err(400));
    }
    let zone = ApiRequest { arguments: b"wait=empty", ..get("/zones/z") };
    assert_eq!(zone.task(true).map_err(|refusal| refusal.status), Err(400));
}

#[test]
fn nothing_is_changed_without_write() {
    for (request, task, allowed) in [
        (with(Method::Patch, "/upstreams/u/servers/a"), Task::Drain(b"u", b"a"), "GET, HEAD"),
        (
            with(Method::Delete, "/upstreams/u/servers/a/sessions"),
            Task::ForgetAll(b"u", b"a"),
            "GET, HEAD",
        ),
        (with(Method::Delete, "/zones/z/session"), Task::Forget(b"z"), "GET, HEAD, POST"),
    ] {
        assert_eq!(request.task(true), Ok(task));
        let refused = request.task(false).unwrap_err();
        assert_eq!((refused.status, refused.allow), (405, Some(allowed)));
    }
    let find = with(Method::Post, "/zones/z/session");
    assert_eq!(find.task(false), Ok(Task::FindByBody(b"z")));
    assert_eq!(get("/zones/z/session").task(false), Ok(Task::Find(b"z")));
}

#[test]
fn a_method_that_a_resource_does_not_take_is_405() {
    for (method, path, allowed) in [
        (Method::Post, "/", "GET, HEAD"),
        (Method::Delete, "/zones/z", "GET, HEAD"),
        (Method::Patch, "/zones/z/session", "GET, HEAD, POST, DELETE"),
        (Method::Delete, "/upstreams/u/servers/a", "GET, HEAD, PATCH"),
        (Method::Other, "/upstreams/u/servers/a/sessions", "GET, HEAD, DELETE"),
    ] {
        let refused = with(method, path).task(true).unwrap_err();
        assert_eq!((refused.status, refused.allow), (405, Some(allowed)), "{path}");
    }
}

#[test]
fn a_change_needs_the_type_of_json_and_no_foreign_origin() {
    let drain = with(Method::Patch, "/upstreams/u/servers/a");
    let status =
        |request: ApiRequest<'static>| request.task(true).map_err(|refusal| refusal.status);
    let done = Ok(Task::Drain(b"u", b"a"));
    for content_type in [&b"application/json"[..], b"Application/JSON; charset=utf-8"] {
        assert_eq!(status(ApiRequest { content_type, ..drain }), done);
    }
    for content_type in [&b""[..], b"text/plain", b"application/jsonp", b"multipart/form-data"] {
        assert_eq!(status(ApiRequest { content_type, ..drain }), Err(415));
    }
    for origin in [&b"http://localhost:8000"[..], b"https://LOCALHOST:8000"] {
        assert_eq!(status(ApiRequest { origin: Some(origin), ..drain }), done);
    }
    for origin in [
        &b"http://localhost"[..],
        b"http://localhost:8000.example.com",
        b"http://example.com",
        b"null",
        b"",
        b"http://",
        b"localhost:8000",
    ] {
        assert_eq!(status(ApiRequest { origin: Some(origin), ..drain }), Err(403));
        assert_eq!(status(ApiRequest { origin: Some(origin), host: b"", ..drain }), Err(403));
    }
    let arguments = ApiRequest { arguments: b"format=json", ..drain };
    assert_eq!(status(arguments), Err(400));
}

#[test]
fn a_drain_is_on_or_off_and_may_have_a_deadline() {
    let read = |body: &str| Drain::read(body.as_bytes()).map_err(|refusal| refusal.status);
    assert_eq!(read(r#"{"drain":true}"#), Ok(Drain { drain: true, deadline: None }));
    assert_eq!(read(r#"{"drain":false}"#), Ok(Drain { drain: false, deadline: None }));
    assert_eq!(
        read(r#" {"deadline":"10m","drain":true} "#),
        Ok(Drain { drain: true, deadline: Some(600_000) })
    );
    for body in [
        "",
        "{}",
        "true",
        r#"{"drain":1}"#,
        r#"{"drain":"true"}"#,
        r#"{"drain":true,"drain":true}"#,
        r#"{"drain":true,"more":1}"#,
        r#"{"drain":true} x"#,
        r#"{"drain":true,"deadline":"soon"}"#,
        r#"{"drain":true,"deadline":10}"#,
        r#"{"drain":false,"deadline":"10m"}"#,
    ] {
        assert_eq!(read(body), Err(400), "{body}");
    }
}

#[test]
fn an_id_stands_in_the_body_or_in_the_header() {
    let header = Some(&b"from-header"[..]);
    let id = |kind, id: &'static [u8], bind: &'static [u8]| {
        Ok(SessionId { kind, id: id.into(), bind: bind.into() })
    };
    let read = |body: &'static str| SessionId::read(body.as_bytes(), header).map_err(|r| r.status);
    assert_eq!(read(""), id(Kind::Session, b"from-header", b""));
    assert_eq!(read(r#"{"id":"a"}"#), id(Kind::Session, b"a", b""));
    assert_eq!(read(r#"{"id":"\u00e9","bind":"me"}"#), id(Kind::Session, b"\xc3\xa9", b"me"));
    assert_eq!(read(r#"{"id":"a","kind":"sse"}"#), id(Kind::Sse, b"a", b""));
    assert_eq!(read(r#"{"id":"a","kind":"task"}"#), id(Kind::Task, b"a", b""));
    for body in ["{}", r#"{"id":""}"#, r#"{"id":1}"#, r#"{"id":"a","kind":"user"}"#, "[", "null"] {
        assert_eq!(read(body), Err(400), "{body}");
    }
    for header in [None, Some(&b""[..])] {
        assert_eq!(SessionId::read(b"", header).map_err(|refusal| refusal.status), Err(400));
    }
}

#[test]
fn a_body_that_is_wrong_is_told_its_fields() {
    let refusal = Drain::read(br#"{"draining":true}"#).unwrap_err();
    assert!(["\"drain\"", "\"deadline\""].iter().all(|field| refusal.text.contains(field)));
    let refusal = SessionId::read(br#"{"session":"a"}"#, None).unwrap_err();
    assert!(["\"id\"", "\"kind\"", "\"bind\""].iter().all(|field| refusal.text.contains(field)));
}

fn any_method() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::Get),
        Just(Method::Post),
        Just(Method::Patch),
        Just(Method::Delete),
        Just(Method::Other),
    ]
}

proptest! {
    #[test]
    fn every_name_is_found_where_it_was_put(
        upstream in "[^/]{1,20}",
        address in "[^/]([^/]|/[^/]){0,20}",
    ) {
        prop_assume!(!address.ends_with("/sessions"));
        let (name, server) = (upstream.as_bytes(), address.as_bytes());
        let path = format!("/upstreams/{upstream}/servers/{address}");
        prop_assert_eq!(Resource::at(path.as_bytes()), Some(Resource::Server(name, server)));
        let path = format!("{path}/sessions");
        prop_assert_eq!(Resource::at(path.as_bytes()), Some(Resource::Sessions(name, server)));
        let path = format!("/zones/{upstream}/session");
        prop_assert_eq!(Resource::at(path.as_bytes()), Some(Resource::Session(name)));
    }

    #[test]
    fn whatever_comes_is_answered_and_changes_nothing_without_write(
        method in any_method(),
        path in prop_oneof![
            "(/(zones|upstreams|servers|sessions?|[a-z]{0,3})){0,6}/?".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..40),
        ],
        arguments in prop_oneof![
            "((wait|format|timeout)=(empty|json|[0-9]{0,30}[smh]?)&?){0,3}"
                .prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..40),
        ],
        other in proptest::collection::vec(any::<u8>(), 0..40),
        write in any::<bool>(),
    ) {
        let request = ApiRequest {
            method,
            path: &path,
            arguments: &arguments,
            accept: &other,
            content_type: b"application/json",
            host: b"localhost",
            origin: None,
        };
        match request.task(write) {
            Ok(Task::Drain(..) | Task::Forget(_) | Task::ForgetAll(..)) => prop_assert!(write),
            Ok(_) => prop_assert!(matches!(method, Method::Get | Method::Post)),
            Err(refusal) => {
                prop_assert!((400..500).contains(&refusal.status));
                prop_assert_eq!(refusal.allow.is_some(), refusal.status == 405);
            }
        }
    }

    #[test]
    fn no_body_is_too_strange(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Drain::read(&body);
        let _ = SessionId::read(&body, None);
    }
}
