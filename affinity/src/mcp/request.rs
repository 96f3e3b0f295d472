//! What a request names, what its answer can teach, and what ends.

use super::text::bounded::{Id, MAX_ID};
use super::text::query;
use super::{name, target};
use crate::policy::Presented;
use crate::table::Kind;

/// The revision that did away with sessions, and whose servers check `Mcp-Method` and `Mcp-Name`
/// against the body.
const STATELESS: &[u8] = b"2026-07-28";

const SESSION_ID: &[u8] = b"mcp-session-id";

/// A request, as far as it matters here. What it does not have is empty.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its HTTP method.
    pub verb: Verb,
    /// `Mcp-Session-Id`, the first line of it; see [`Request::add_session`].
    pub session: &'a [u8],
    /// How many lines of that header there are.
    pub lines: Lines,
    /// `MCP-Protocol-Version`.
    pub version: &'a [u8],
    /// `Mcp-Method`.
    pub method: &'a [u8],
    /// `Mcp-Name`.
    pub name: &'a [u8],
    /// The query, undecoded, without its question mark.
    pub query: &'a [u8],
    /// Path and query as the request line has them.
    pub target: &'a [u8],
}

/// The lines of a request's `Mcp-Session-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// There is none.
    None,
    /// There is one, or several that are equal.
    Alike,
    /// There are several, and not all are equal. Each server chooses one, and it may not be the one
    /// that nginx would go by.
    Differ,
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Opens a stream.
    Get,
    /// Ends a session.
    Delete,
    /// `POST`, and what MCP does not use.
    Other,
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Its status code.
    pub status: u16,
    /// `Content-Type` with its parameters; empty if there is none.
    pub content_type: &'a [u8],
    /// `Content-Encoding`; empty if there is none.
    pub encoding: &'a [u8],
}

/// What to look for in the body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Nothing: let it pass.
    Nothing,
    /// The `endpoint` event of a stream of the transport HTTP+SSE.
    Endpoint,
    /// The result of `tools/call`, if it is a task.
    Task(Format),
}

/// How a response to a JSON-RPC request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As one JSON text.
    Json,
    /// As an event stream, after notifications.
    Sse,
}

impl<'a> Request<'a> {
    /// Takes a header; its name is in lower case. Of one that comes twice the first counts that is not
    /// empty.
    ///
    /// An underscore in the name of `Mcp-Session-Id` is a hyphen: nginx passes such names on with
    /// `underscores_in_headers on`, and servers that read headers by CGI's rules (RFC 3875, section
    /// 4.1.18), as WSGI's and FastCGI's do, cannot tell the two.
    #[inline]
    pub fn add_header(&mut self, name: &[u8], value: &'a [u8]) {
        if name == SESSION_ID {
            return self.add_session(value);
        }
        let place = match name {
            b"mcp-protocol-version" => &mut self.version,
            b"mcp-method" => &mut self.method,
            b"mcp-name" => &mut self.name,
            name => {
                if name.len() == SESSION_ID.len() && is_session_id(name) {
                    self.add_session(value);
                }
                return;
            }
        };
        if place.is_empty() {
            *place = value;
        }
    }

    /// Takes a line of `Mcp-Session-Id`.
    #[inline]
    pub fn add_session(&mut self, line: &'a [u8]) {
        let line = trim(line);
        if self.lines == Lines::None {
            (self.session, self.lines) = (line, Lines::Alike);
        } else if self.session != line {
            self.lines = Lines::Differ;
        }
    }

    /// The id that is asked for first. An id that must be decoded is put into `scratch`.
    ///
    /// - `Mcp-Name` of a request about a task, at a stateless revision. A task is on one server, whatever
    ///   session id the client has left over from another time: there are no sessions at that revision,
    ///   and its servers do not read the header.
    /// - `Mcp-Session-Id`, at any revision. Where there is one, nothing in the URI is a session's: users
    ///   put keys of their own into queries (`?session_id=KEY`).
    /// - What names a stream of HTTP+SSE: the target, if it can have an id of its own, else the session
    ///   id in the query (see `target.rs`).
    ///
    /// Neither the version nor `Accept` tells the transports apart: clients of HTTP+SSE send both.
    #[inline]
    pub fn id<'s>(&'s self, scratch: &'s mut Id) -> Option<(Kind, &'s [u8])> {
        // Nearly all, since no revision with sessions has `Mcp-Method`.
        if !self.session.is_empty() && self.method.is_empty() {
            return (self.lines == Lines::Alike).then_some((Kind::Session, self.session));
        }
        self.other_id(scratch)
    }

    #[inline(never)]
    fn other_id<'s>(&'s self, scratch: &'s mut Id) -> Option<(Kind, &'s [u8])> {
        if self.lines == Lines::Differ {
            return None;
        }
        let session = Some((Kind::Session, self.session)).filter(|(_, id)| !id.is_empty());
        if self.names_task(self.is_stateless()) {
            name::decode(self.name, scratch).map(|id| (Kind::Task, id)).or(session)
        } else if session.is_some() {
            session
        } else if self.may_be_announced() {
            Some((Kind::Sse, self.target))
        } else {
            query::session_id(self.query, scratch).map(|id| (Kind::Sse, id))
        }
    }

    /// The id that is asked for where the first one is unknown.
    pub fn second_id<'s>(&'s self, scratch: &'s mut Id) -> Option<(Kind, &'s [u8])> {
        match (self.session.is_empty(), self.names_task(self.is_stateless())) {
            // A task that nginx has not seen, of a client with a known session: its server may be the one.
            (false, true) => Some((Kind::Session, self.session)),
            (true, false) if self.may_be_announced() => {
                query::session_id(self.query, scratch).map(|id| (Kind::Sse, id))
            }
            _ => None,
        }
    }

    /// What a request is if the zone knows none of its ids.
    pub fn unknown(&self) -> Presented {
        let stateless = self.is_stateless();
        match self.lines {
            Lines::Differ => Presented::Ambiguous,
            // Sessions begin by `initialize`, which a stateless revision does not have: a leftover.
            Lines::Alike if !self.session.is_empty() && stateless => Presented::Leftover,
            Lines::Alike if !self.session.is_empty() => Presented::Stranger(Kind::Session),
            _ if self.names_task(stateless) => Presented::Stranger(Kind::Task),
            // An unknown target may be any URI.
            _ if query::session_id(self.query, &mut Id::new()).is_none() => Presented::NoId,
            _ => Presented::Stranger(Kind::Sse),
        }
    }

    /// What its answer may teach.
    #[inline]
    pub fn outlook(&self) -> Outlook {
        let stateless = self.is_stateless();
        Outlook {
            opens: !stateless,
            ends: self.verb == Verb::Delete,
            ambiguous: self.lines == Lines::Differ,
            body: match self.verb {
                _ if stateless && self.method == b"tools/call" => Body::Task,
                // Whatever id is in its query: the event may bring another.
                Verb::Get if self.session.is_empty() => Body::Endpoint,
                _ => Body::Nothing,
            },
        }
    }

    fn names_task(&self, stateless: bool) -> bool {
        stateless && matches!(self.method, b"tasks/get" | b"tasks/update" | b"tasks/cancel")
    }

    /// Whether the target can be that of an `endpoint` event.
    fn may_be_announced(&self) -> bool {
        self.target.len() <= MAX_ID && target::may_be_announced(self.target)
    }

    /// Revisions are dates. What is none is older than the stateless ones.
    fn is_stateless(&self) -> bool {
        // Nearly all versions are older.
        let is_date = self.version.len() == STATELESS.len()
            && self.version >= STATELESS
            && self.version.iter().zip(STATELESS).all(|(byte, like)| match like {
                b'-' => *byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        is_date
    }
}

/// What the answer to a request may teach, once its head is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// It may name a session.
    opens: bool,
    /// It may end the session of the request.
    ends: bool,
    /// The request's ids contradict each other.
    ambiguous: bool,
    body: Body,
}

/// What a body may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Nothing,
    Endpoint,
    Task,
}

impl Outlook {
    /// Whether the request is to be refused: its `Mcp-Session-Id` lines differ.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Whether the request may be one that opens a stream of HTTP+SSE: a GET without `Mcp-Session-Id`.
    pub fn opens_stream(&self) -> bool {
        self.body == Body::Endpoint
    }

    /// Whether the `Mcp-Session-Id` of an answer with this status names a session.
    pub fn opens(&self, status: u16) -> bool {
        self.opens && is_success(status)
    }

    /// Whether the answer of the session's own server, with this status, ends the session.
    ///
    /// Only a `DELETE` that is answered 2xx does. A 404 ends nothing: servers also answer it to a
    /// method that they do not have (`GET` where only `POST` is routed), to a path that does not
    /// exist, and to a stranger who presents somebody else's id. A task is not ended by a request.
    pub fn ends(&self, kind: Kind, status: u16) -> bool {
        match kind {
            Kind::Session | Kind::Sse => self.ends && is_success(status),
            Kind::Task => false,
        }
    }

    /// What the body of the answer can teach.
    pub fn teaches(&self, response: &Response) -> Watch {
        if is_encoded(response.encoding) {
            return Watch::Nothing;
        }
        let format = if is_media_type(response.content_type, b"text/event-stream") {
            Format::Sse
        } else if is_media_type(response.content_type, b"application/json") {
            Format::Json
        } else {
            return Watch::Nothing;
        };
        match (self.body, format) {
            (Body::Task, format) if is_success(response.status) => Watch::Task(format),
            (Body::Endpoint, Format::Sse) if response.status == 200 => Watch::Endpoint,
            _ => Watch::Nothing,
        }
    }
}

/// Whether a name of a header is that of `Mcp-Session-Id` but for underscores.
#[cold]
fn is_session_id(name: &[u8]) -> bool {
    let unfolded = name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte });
    unfolded.eq(SESSION_ID.iter().copied())
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Without the spaces and tabs around a header's value (RFC 9110, section 5.5), which nginx keeps in
/// part.
#[inline]
pub fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) {
        trim_blanks(value)
    } else {
        value
    }
}

#[cold]
fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether the body is in an encoding. HTTP does not want `identity` to be named, and some name it.
fn is_encoded(encoding: &[u8]) -> bool {
    !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")
}

fn is_media_type(content_type: &[u8], media_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &[u8] = b"2026-07-28";

    const REQUEST: Request<'static> = Request {
        verb: Verb::Other,
        session: b"",
        lines: Lines::None,
        version: b"",
        method: b"",
        name: b"",
        query: b"",
        target: b"/mcp",
    };

    fn with(session: &'static [u8]) -> Request<'static> {
        let mut request = REQUEST;
        request.add_session(session);
        request
    }

    fn second(request: Request) -> Option<(Kind, Vec<u8>)> {
        request.second_id(&mut Id::new()).map(|(kind, id)| (kind, id.to_vec()))
    }

    fn id(request: Request) -> Option<(Kind, Vec<u8>)> {
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
        assert_eq!(with(b"s").unknown(), Presented::Stranger(Kind::Session));
    }

    #[test]
    fn lines_that_differ_name_nothing_and_equal_ones_one_session() {
        for lines in [&["a", "a "][..], &["\ta", "a", "a"]] {
            let mut request = REQUEST;
            lines.iter().for_each(|line| request.add_session(line.as_bytes()));
            assert_eq!(id(request), found(Kind::Session, b"a"));
            assert!(!request.outlook().is_ambiguous());
        }
        for lines in [&["a", "b"][..], &["a", "a", "b"], &["a", "b", "a"], &["", "a"], &["a", ""]] {
            let mut request = Request { query: b"sessionId=s", ..REQUEST };
            lines.iter().for_each(|line| request.add_session(line.as_bytes()));
            assert_eq!(id(request), None, "{lines:?}");
            assert_eq!(request.unknown(), Presented::Ambiguous);
            assert!(request.outlook().is_ambiguous());
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
                assert_eq!(both.outlook().is_ambiguous(), differs, "{name}");
                let both = of(&[(name, other), ("mcp-session-id", "a")]);
                assert_eq!(both.outlook().is_ambiguous(), differs, "{name}");
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
        assert_eq!(id(Request { query, ..REQUEST }), found(Kind::Sse, b"s1"));
        assert_eq!(Request { query, ..REQUEST }.unknown(), Presented::Stranger(Kind::Sse));
        let both = Request { query, target: b"/m?x=1&sessionId=s%31&clientId=c", ..with(b"h") };
        assert_eq!(id(both), found(Kind::Session, b"h"));
        assert_eq!(second(both), None);
        assert_eq!(both.unknown(), Presented::Stranger(Kind::Session));
    }

    #[test]
    fn a_target_with_an_id_of_its_own_is_asked_for_before_the_query() {
        let target = b"/m/5f0c12?session_id=s";
        let request = Request { query: b"session_id=s", target, ..REQUEST };
        for version in [&b""[..], b"2025-06-18", NEW] {
            let request = Request { version, ..request };
            assert_eq!(id(request), found(Kind::Sse, target));
            assert_eq!(second(request), found(Kind::Sse, b"s"));
            assert_eq!(request.unknown(), Presented::Stranger(Kind::Sse));
        }
        let alone = Request { query: b"", target: b"/m/5f0c12", ..REQUEST };
        assert_eq!(id(alone), found(Kind::Sse, b"/m/5f0c12"));
        assert_eq!(second(alone), None);
        assert_eq!(alone.unknown(), Presented::NoId);
        let plain = Request { target: b"/m?session_id=s", ..request };
        assert_eq!(id(plain), found(Kind::Sse, b"s"));
        assert_eq!(second(plain), None);
        let (query, target) =
            (&b"session_id=key&sessionId=s"[..], b"/m?session_id=key&sessionId=s");
        let several = Request { query, target, ..request };
        assert_eq!(id(several), found(Kind::Sse, target));
        assert_eq!(second(several), found(Kind::Sse, b"key"));
        let long = [b"/m/5f0c12?x=", &[b'x'; MAX_ID][..]].concat();
        assert_eq!(id(Request { target: &long, ..request }), found(Kind::Sse, b"s"));
    }

    #[test]
    fn a_task_is_named_by_its_three_methods_at_a_version_whose_servers_check_them() {
        let task = Request { version: NEW, name: b"t-1", ..REQUEST };
        for method in [&b"tasks/get"[..], b"tasks/update", b"tasks/cancel"] {
            assert_eq!(id(Request { method, ..task }), found(Kind::Task, b"t-1"));
            assert_eq!(id(Request { method, version: b"2025-11-25", ..task }), None);
            assert_eq!(id(Request { method, version: b"", ..task }), None);
            assert_eq!(Request { method, ..task }.unknown(), Presented::Stranger(Kind::Task));
            assert_eq!(id(Request { method, name: b"", ..task }), None);
            assert_eq!(
                id(Request { method, name: b"=?base64?w6k=?=", ..task }),
                found(Kind::Task, "é".as_bytes())
            );
            assert_eq!(id(Request { method, name: b"=?base64?w6l=?=", ..task }), None);
        }
        for method in [&b""[..], b"tools/call", b"tasks/list", b"tasks/result", b"Tasks/Get"] {
            assert_eq!(id(Request { method, ..task }), None);
        }
    }

    #[test]
    fn an_id_is_asked_for_at_a_stateless_revision_and_none_is_opened() {
        for version in [&b"2026-07-28"[..], b"2026-07-29", b"2026-08-01", b"2030-01-01"] {
            let request = Request { version, query: b"sessionId=q", ..with(b"s") };
            assert_eq!(id(request), found(Kind::Session, b"s"));
            assert_eq!(request.unknown(), Presented::Leftover);
            assert!(!request.outlook().opens(200));
            let request = Request { version, query: b"sessionId=q", ..REQUEST };
            assert_eq!(id(request), found(Kind::Sse, b"q"));
        }
    }

    #[test]
    fn a_leftover_does_not_keep_a_task_from_its_server() {
        let request = Request { version: NEW, method: b"tasks/get", name: b"t", ..with(b"s") };
        assert_eq!(id(request), found(Kind::Task, b"t"));
        assert_eq!(second(request), found(Kind::Session, b"s"));
        assert_eq!(request.unknown(), Presented::Leftover);
        for request in [
            Request { version: b"2025-11-25", ..request },
            Request { method: b"tools/call", ..request },
            Request { method: b"", ..request },
        ] {
            assert_eq!(id(request), found(Kind::Session, b"s"));
            assert_eq!(second(request), None);
        }
        let broken = Request { name: b"=?base64?w6l=?=", ..request };
        assert_eq!(id(broken), found(Kind::Session, b"s"));
        let differ = Request { lines: Lines::Differ, ..request };
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
            let request = Request { version, ..with(b"s") };
            assert_eq!(request.unknown(), Presented::Stranger(Kind::Session), "{version:?}");
            assert!(request.outlook().opens(200));
        }
    }

    #[test]
    fn only_success_opens_a_session() {
        for (status, opens) in [(199, false), (200, true), (202, true), (299, true), (400, false)] {
            assert_eq!(REQUEST.outlook().opens(status), opens);
        }
    }

    #[test]
    fn a_session_ends_by_a_delete_that_worked_and_by_nothing_else() {
        let delete = Request { verb: Verb::Delete, ..REQUEST };
        for kind in [Kind::Session, Kind::Sse] {
            for status in [200, 202, 204] {
                assert!(delete.outlook().ends(kind, status));
                assert!(!REQUEST.outlook().ends(kind, status));
            }
            for status in [400, 403, 404, 405, 410, 500, 503] {
                assert!(!delete.outlook().ends(kind, status));
                assert!(!REQUEST.outlook().ends(kind, status));
            }
        }
        assert!(!REQUEST.outlook().ends(Kind::Task, 404));
        assert!(!delete.outlook().ends(Kind::Task, 200));
    }

    const SSE: Response<'static> =
        Response { status: 200, content_type: b"text/event-stream", encoding: b"" };
    const JSON: Response<'static> = Response { content_type: b"application/json", ..SSE };

    #[test]
    fn a_stream_may_bring_an_endpoint_unless_a_header_names_a_session() {
        let get = Request { verb: Verb::Get, ..REQUEST };
        assert_eq!(get.outlook().teaches(&SSE), Watch::Endpoint);
        assert!(get.outlook().opens_stream());
        assert!(!REQUEST.outlook().opens_stream());
        assert_eq!(get.outlook().teaches(&JSON), Watch::Nothing);
        assert_eq!(get.outlook().teaches(&Response { status: 202, ..SSE }), Watch::Nothing);
        assert_eq!(get.outlook().teaches(&Response { content_type: b"", ..SSE }), Watch::Nothing);
        assert_eq!(REQUEST.outlook().teaches(&SSE), Watch::Nothing);
        let mut of_session = get;
        of_session.add_session(b"s");
        assert_eq!(of_session.outlook().teaches(&SSE), Watch::Nothing);
        assert!(!of_session.outlook().opens_stream());
        for version in [&b"2025-11-25"[..], NEW] {
            let get = Request { version, query: b"session_id=s", ..get };
            assert_eq!(get.outlook().teaches(&SSE), Watch::Endpoint);
        }
    }

    #[test]
    fn a_tool_call_may_bring_a_task() {
        let call = Request { version: NEW, method: b"tools/call", name: b"slow", ..REQUEST };
        assert_eq!(call.outlook().teaches(&JSON), Watch::Task(Format::Json));
        assert_eq!(call.outlook().teaches(&SSE), Watch::Task(Format::Sse));
        assert_eq!(
            call.outlook().teaches(&Response { status: 202, ..JSON }),
            Watch::Task(Format::Json)
        );
        assert_eq!(call.outlook().teaches(&Response { status: 400, ..JSON }), Watch::Nothing);
        assert_eq!(
            Request { version: b"2025-11-25", ..call }.outlook().teaches(&JSON),
            Watch::Nothing
        );
        assert_eq!(
            Request { method: b"tools/list", ..call }.outlook().teaches(&JSON),
            Watch::Nothing
        );
    }

    #[test]
    fn an_encoded_body_teaches_nothing() {
        let get = Request { verb: Verb::Get, ..REQUEST };
        let call = Request { version: NEW, method: b"tools/call", ..REQUEST };
        for encoding in [&b"gzip"[..], b"br", b"zstd", b"identity, gzip", b"x"] {
            assert_eq!(get.outlook().teaches(&Response { encoding, ..SSE }), Watch::Nothing);
            assert_eq!(call.outlook().teaches(&Response { encoding, ..JSON }), Watch::Nothing);
        }
        for encoding in [&b"identity"[..], b"Identity"] {
            assert_eq!(get.outlook().teaches(&Response { encoding, ..SSE }), Watch::Endpoint);
            assert_eq!(
                call.outlook().teaches(&Response { encoding, ..JSON }),
                Watch::Task(Format::Json)
            );
        }
    }

    #[test]
    fn a_media_type_is_caseless_and_may_have_parameters() {
        let get = Request { verb: Verb::Get, ..REQUEST };
        for (content_type, expected) in [
            (&b"Text/Event-Stream"[..], Watch::Endpoint),
            (b"text/event-stream; charset=utf-8", Watch::Endpoint),
            (b"text/event-stream ;x", Watch::Endpoint),
            (b"text/event-streams", Watch::Nothing),
            (b"text/plain; text/event-stream", Watch::Nothing),
            (b";text/event-stream", Watch::Nothing),
        ] {
            assert_eq!(get.outlook().teaches(&Response { content_type, ..SSE }), expected);
        }
    }
}
