//! The rules of an upstream, as its configuration sets them.

use crate::time::Span;

/// What to do with an id that the zone does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Treat it as if there were none.
    Balance,
    /// Answer 404.
    Reject,
}

/// What to do while a session's server cannot be reached, is down or full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Send this request elsewhere, keep the session.
    Balance,
    /// Send it elsewhere, and move the session to the server that answers below 400 (in MCP mode 2xx),
    /// unless its own is only full, or that is a backup server.
    Rebind,
    /// Answer 503, or 404 once the server is gone.
    Reject,
}

/// When a response teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the first byte of the response leaves for the client.
    Header,
    /// When the response has ended.
    End,
}

/// Which directive's rules hold for ids and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// `sticky_learn`: lookups refresh, a foreign answer does not take a session over unless asked.
    Affinity,
    /// NGINX Plus's `sticky learn`: answers refresh, and a session follows the server that answered.
    Plus,
}

/// The rules of one upstream.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// AnsweredBy rules hold.
    pub rules: Rules,
    /// When a response teaches.
    pub learn: Moment,
    /// What an id without a session meets.
    pub unknown: Unknown,
    /// What a session without its server meets.
    pub unavailable: Unavailable,
    /// How long a server may be unavailable before it counts as gone.
    pub gone_after: Span,
    /// MCP's rules hold: only 2xx teaches, an answer may end a session, a new answer's id belongs to
    /// the server that gave it, and a task is never rejected for good, since its server may share a
    /// store with others.
    pub mcp: bool,
}
