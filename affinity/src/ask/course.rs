//! The course of a request whose id is asked for: states, events, and one function from both to the next
//! state.

use crate::policy::Presented;
use crate::table::Kind;

/// Where a request is in its course. The last three states are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The source of answers is asked.
    Asked,
    /// The source will answer later.
    Waiting,
    /// Nobody has the session, and the source makes a server take it over. The request waits for that as
    /// well.
    Reviving,
    /// A server has the session.
    Found,
    /// Nobody has it.
    Unknown,
    /// It is not known whether a server has it.
    Unavailable,
}

/// What happens to such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The source names a server.
    Server,
    /// The source knows that nobody has the session.
    Nobody,
    /// The source answers later.
    Wait,
    /// The source cannot answer.
    Failed,
    /// The source has not answered in time.
    TimedOut,
    /// The source was not asked: too many requests wait.
    Refused,
}

impl State {
    /// The state after an event. `revives`: the source can make a server take over a session that nobody has.
    /// A final state stays: a late answer changes nothing.
    pub fn on(self, event: Event, revives: bool) -> State {
        match (self, event) {
            (State::Found | State::Unknown | State::Unavailable, _) => self,
            (_, Event::Server) => State::Found,
            (State::Asked | State::Waiting, Event::Nobody) if revives => State::Reviving,
            (_, Event::Nobody) => State::Unknown,
            (State::Reviving, Event::Wait) => State::Reviving,
            (_, Event::Wait) => State::Waiting,
            (_, Event::Failed | Event::TimedOut | Event::Refused) => State::Unavailable,
        }
    }

    /// Whether the course has ended.
    pub fn is_final(self) -> bool {
        matches!(self, State::Found | State::Unknown | State::Unavailable)
    }

    /// What the request presents if the table does not have its id at the end of this course. A session that
    /// was found may have been removed from the table since.
    pub fn presented(self, kind: Kind) -> Presented {
        match self {
            State::Unknown => Presented::Unknown(kind),
            _ => Presented::Unanswered(kind),
        }
    }
}
