//! The rules of an upstream, as its configuration sets them.

use crate::time::Span;

/// What to do with an id that the zone does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Route the request as if it had no id.
    Balance,
    /// Answer 404.
    Reject,
}

/// What to do while a session's server cannot be reached, is down or full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Send this request to another server, keep the session.
    Balance,
    /// Send it to another server, and move the session to that one if it answers below 400 (in MCP mode
    /// 2xx). The session stays if its own server is only full, or if a backup server answered.
    Rebind,
    /// Answer 503, or 404 once the server is gone.
    Reject,
}

/// When the session table learns from a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the first byte of the response is sent to the client.
    Header,
    /// When the response has ended.
    End,
}

/// The directive whose rules apply to ids and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// `sticky_learn`: a lookup refreshes a session, and the answer of another server moves it only with
    /// `unavailable=rebind`.
    Affinity,
    /// NGINX Plus's `sticky learn`: an answer refreshes a session, and moves it to the server that
    /// answered.
    Plus,
}

/// The rules of one upstream.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The directive whose rules apply.
    pub rules: Rules,
    /// When the session table learns from a response.
    pub learn: Moment,
    /// What to do with an id that the zone does not know.
    pub unknown: Unknown,
    /// What to do while a session's server is not available.
    pub unavailable: Unavailable,
    /// How long a server may be unavailable before it counts as gone.
    pub gone_after: Span,
    /// MCP's rules apply: only a 2xx answer changes a session, an answer may end one, an id in a new
    /// answer belongs to the server that sent it, and a task is never rejected with 404, since its server
    /// may share a store with others.
    pub mcp: bool,
}
