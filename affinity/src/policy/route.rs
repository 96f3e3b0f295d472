//! Where a request goes.

use super::rules::{Policy, Unavailable, Unknown};
use crate::table::Kind;

/// What `$upstream_sticky_status` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The request carries no id.
    None,
    /// A session was learned from the response.
    New,
    /// The request went to its session's server.
    Hit,
    /// The request carries an id without a session.
    Unknown,
    /// The session's server was not available, and may come back; or nobody could be asked for it.
    Unavailable,
    /// The session's server was not available, and counts as gone.
    Gone,
    /// The session has moved to the server that answered.
    Rebound,
    /// The session was lost, and nginx has opened it again at the server that answered.
    Revived,
}

impl Status {
    /// The text of the variable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::None => "NONE",
            Status::New => "NEW",
            Status::Hit => "HIT",
            Status::Unknown => "UNKNOWN",
            Status::Unavailable => "UNAVAILABLE",
            Status::Gone => "GONE",
            Status::Rebound => "REBOUND",
            Status::Revived => "REVIVED",
        }
    }
}

/// What the zone knows of the id that a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// There is no id.
    NoId,
    /// The id has no session.
    Unknown(Kind),
    /// The zone has no session of the id, and whoever was to be asked for it has not answered.
    Unanswered(Kind),
    /// The id has no session, and the request has a revision of MCP without sessions.
    Leftover,
    /// There are several ids, and they contradict each other.
    Ambiguous,
    /// The id has a session.
    Session,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the server that the balancer chooses.
    Balance,
    /// To the server that the balancer chooses, and the session is forgotten.
    Afresh,
    /// To the session's server.
    Server,
    /// Nowhere.
    Reject(Rejection),
}

/// An answer given instead of the upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// 404: there is no such session, and there will be none.
    NotFound,
    /// 404, and the session is forgotten.
    Gone,
    /// 503 with `Retry-After`: the session's server may come back, or the id may be found.
    Unavailable,
    /// 400: the request's ids contradict each other. A server may use another one than nginx.
    Ambiguous,
}

/// Why a session's server is not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It cannot be reached, or is down.
    Unreachable,
    /// It has been so for so long that it counts as gone; or it is no longer in the upstream.
    Gone,
    /// It is not in this upstream, but in another one of the zone, and nginx has redirected the request
    /// here from an upstream (`X-Accel-Redirect`, `error_page`). The session is still alive.
    Elsewhere,
    /// At `max_conns`.
    Full,
}

impl Policy {
    /// Where the request goes, by what the zone knows of its id.
    pub fn on_lookup(&self, presented: Presented) -> (Status, Route) {
        match (presented, self.unknown) {
            (Presented::NoId, _) => (Status::None, Route::Balance),
            (Presented::Session, _) => (Status::Hit, Route::Server),
            (Presented::Unknown(Kind::Session), Unknown::Reject) => {
                (Status::Unknown, Route::Reject(Rejection::NotFound))
            }
            (Presented::Unanswered(Kind::Session), Unknown::Reject) => {
                (Status::Unavailable, Route::Reject(Rejection::Unavailable))
            }
            (Presented::Unanswered(_), _) => (Status::Unavailable, Route::Balance),
            // No server needs to have issued an id in a query: it may be a user's key.
            (Presented::Unknown(_) | Presented::Leftover, _) => (Status::Unknown, Route::Balance),
            (Presented::Ambiguous, _) => (Status::Unknown, Route::Reject(Rejection::Ambiguous)),
        }
    }

    /// Where the request goes when the server of its session, or task, is not available. `opens_stream`:
    /// the request opens a stream of HTTP+SSE. A stream begins at any server and names its own session.
    pub fn on_unavailable(
        &self,
        kind: Kind,
        absence: Absence,
        opens_stream: bool,
    ) -> (Status, Route) {
        let gone = matches!(absence, Absence::Gone | Absence::Elsewhere);
        let status = if gone { Status::Gone } else { Status::Unavailable };
        let route = match (self.unavailable, gone) {
            (Unavailable::Balance | Unavailable::Rebind, _) => Route::Balance,
            (Unavailable::Reject, _) if kind == Kind::Sse && opens_stream => Route::Balance,
            (Unavailable::Reject, true) if kind == Kind::Task => Route::Afresh,
            (Unavailable::Reject, true) => Route::Reject(Rejection::Gone),
            (Unavailable::Reject, false) => Route::Reject(Rejection::Unavailable),
        };
        (status, route)
    }

    /// Whether a request that is rejected for an id of this kind goes to another server instead if it is an
    /// `initialize`: it opens a session, and the client has only kept the id.
    pub fn spares_initialize(&self, kind: Kind, why: Rejection) -> bool {
        self.mcp && kind == Kind::Session && why != Rejection::Ambiguous
    }
}
