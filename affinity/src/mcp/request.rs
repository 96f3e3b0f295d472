//! Which session or task a request names.

use super::response::{Content, Effects};
use super::target;
use crate::policy::Presented;
use crate::table::Kind;
use crate::text::bounded::{Id, MAX_ID};
use crate::text::{name, query};

/// The first revision without sessions. Its servers check `Mcp-Method` and `Mcp-Name` against the body.
const STATELESS: &[u8] = b"2026-07-28";

const SESSION_ID: &[u8] = b"mcp-session-id";

/// The parts of a request that name a session. A part that is missing is empty.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Its HTTP method.
    pub verb: Verb,
    /// The first line of `Mcp-Session-Id`; see [`RequestHead::add_session`].
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
    /// Path and query as in the request line.
    pub target: &'a [u8],
}

/// The lines of a request's `Mcp-Session-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// There is none.
    None,
    /// There is one, or several that are equal.
    Alike,
    /// There are several, and not all are equal. Each server chooses one of them, perhaps another one
    /// than nginx would.
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

impl RequestHead<'static> {
    /// A request without any of the parts.
    pub const EMPTY: Self = RequestHead {
        verb: Verb::Other,
        session: b"",
        lines: Lines::None,
        version: b"",
        method: b"",
        name: b"",
        query: b"",
        target: b"",
    };
}

impl<'a> RequestHead<'a> {
    /// Adds a header; its name is in lower case. If a header comes several times, the first that is not
    /// empty counts.
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

    /// Adds a line of `Mcp-Session-Id`.
    #[inline]
    pub fn add_session(&mut self, line: &'a [u8]) {
        let line = trim(line);
        if self.lines == Lines::None {
            (self.session, self.lines) = (line, Lines::Alike);
        } else if self.session != line {
            self.lines = Lines::Differ;
        }
    }

    /// The id that is looked up first. An id that must be decoded is put into `scratch`.
    ///
    /// - `Mcp-Name` of a request about a task, at a stateless revision. A task is on one server. A session
    ///   id beside it is a leftover of the client: that revision has no sessions, and its servers do not
    ///   read the header.
    /// - `Mcp-Session-Id`, at any revision. If there is one, the URI names no session: users put keys of
    ///   their own into queries (`?session_id=KEY`).
    /// - The name of a stream of HTTP+SSE: the target, if it can have an id of its own, else the session
    ///   id in the query (see `target.rs`).
    ///
    /// Neither the version nor `Accept` distinguishes the transports: clients of HTTP+SSE send both.
    #[inline]
    pub fn id<'s>(&'s self, scratch: &'s mut Id) -> Option<(Kind, &'s [u8])> {
        // The usual case: no revision with sessions has `Mcp-Method`.
        if !self.session.is_empty() && self.method.is_empty() {
            return (self.lines == Lines::Alike).then_some((Kind::Session, self.session));
        }
        self.other_id(scratch)
    }

    /// The id of a request that has `Mcp-Method` or no session. Out of line: `id` stays short.
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

    /// The id that is looked up if the first one is unknown.
    pub fn second_id<'s>(&'s self, scratch: &'s mut Id) -> Option<(Kind, &'s [u8])> {
        match (self.session.is_empty(), self.names_task(self.is_stateless())) {
            // A task that nginx does not know, of a client with a known session: probably the session's
            // server has the task.
            (false, true) => Some((Kind::Session, self.session)),
            (true, false) if self.may_be_announced() => {
                query::session_id(self.query, scratch).map(|id| (Kind::Sse, id))
            }
            _ => None,
        }
    }

    /// What the request presents if the zone knows none of its ids.
    pub fn unknown(&self) -> Presented {
        let stateless = self.is_stateless();
        match self.lines {
            Lines::Differ => Presented::Ambiguous,
            // Sessions begin by `initialize`, which a stateless revision does not have: the id is a
            // leftover.
            Lines::Alike if !self.session.is_empty() && stateless => Presented::Leftover,
            Lines::Alike if !self.session.is_empty() => Presented::Unknown(Kind::Session),
            _ if self.names_task(stateless) => Presented::Unknown(Kind::Task),
            // An unknown target is no id: it may be any URI.
            _ if query::session_id(self.query, &mut Id::new()).is_none() => Presented::NoId,
            _ => Presented::Unknown(Kind::Sse),
        }
    }

    /// What the answer may do to sessions.
    #[inline]
    pub fn effects(&self) -> Effects {
        let stateless = self.is_stateless();
        Effects {
            opens: !stateless,
            ends: self.verb == Verb::Delete,
            ambiguous: self.lines == Lines::Differ,
            body: match self.verb {
                _ if stateless && self.method == b"tools/call" => Content::Task,
                // Also with an id in the query: the event may bring another one.
                Verb::Get if self.session.is_empty() => Content::Endpoint,
                _ => Content::Nothing,
            },
        }
    }

    fn names_task(&self, stateless: bool) -> bool {
        stateless && matches!(self.method, b"tasks/get" | b"tasks/update" | b"tasks/cancel")
    }

    /// Whether an `endpoint` event can have announced the target.
    fn may_be_announced(&self) -> bool {
        self.target.len() <= MAX_ID && target::may_be_announced(self.target)
    }

    /// A revision is a date (`2026-07-28`). A value that is no date counts as an older revision, with
    /// sessions.
    fn is_stateless(&self) -> bool {
        // First the comparisons that decide for most versions.
        let is_date = self.version.len() == STATELESS.len()
            && self.version >= STATELESS
            && self.version.iter().zip(STATELESS).all(|(byte, like)| match like {
                b'-' => *byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        is_date
    }
}

/// Whether the name of a header is that of `Mcp-Session-Id`, with underscores for hyphens.
#[cold]
fn is_session_id(name: &[u8]) -> bool {
    let unfolded = name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte });
    unfolded.eq(SESSION_ID.iter().copied())
}

/// A header's value without the spaces and tabs around it (RFC 9110, section 5.5). nginx keeps some of
/// them.
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
