//! What an answer changes.

use super::rules::{Policy, Rules, Unavailable};
use crate::table::Existing;

/// An answer of an upstream server, as far as it can change a session.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Which server answered, if the request has a session.
    pub session: Option<AnsweredBy>,
    /// The id that `create` found in the response, if any.
    pub created: Option<Created>,
    /// The answer ends the session, if the session's own server sent it.
    pub ends: bool,
    /// A backup server sent it, which stands in for the session's own.
    pub stands_in: bool,
}

/// Which server answered a request with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// The session's own server.
    Own,
    /// Another one, though the request could have gone to the session's own, or has gone there first.
    Other,
    /// Another one, because the session's own could not be reached.
    Instead,
}

/// An id in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The id that the request carried.
    Presented,
    /// The id that the request carried, if nobody could be asked for its session.
    Unanswered,
    /// Another id.
    Other,
}

/// What the body of an answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// A task.
    Task,
    /// A stream of HTTP+SSE, by a session id, or by a target with an id in a parameter that names one.
    Stream,
    /// A stream of HTTP+SSE, by a target with a text that only looks like an id.
    Target,
}

/// Which server has the session that the body of an answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// None, or the server that answered.
    None,
    /// Another server.
    Other,
    /// Another server, which is gone.
    Gone,
}

/// What becomes of the session that the body of an answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// It is bound to the server that answered, unless another server has it.
    Keep,
    /// It is bound to the server that answered.
    Move,
    /// It ends, if it exists: several servers announce the text, so it names no session.
    End,
}

/// What an answer changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// No session changes.
    Nothing,
    /// Bind the id of the response to the server that answered.
    BindCreated(Existing),
    /// Bind the id of the request to it, if it is still a session.
    BindPresented(Existing),
    /// The session of the request has ended.
    End,
}

impl Policy {
    /// What an answer changes.
    pub fn on_answer(&self, answer: &Answer) -> Change {
        if self.mcp && answer.ends && answer.session == Some(AnsweredBy::Own) {
            return Change::End;
        }
        // The session may be at another server: only an answer to the question moves it here.
        if answer.created == Some(Created::Unanswered) {
            return Change::Nothing;
        }
        let success = is_success(answer.status);
        if self.mcp && !success {
            return Change::Nothing;
        }
        match self.rules {
            Rules::Plus => match (answer.created, answer.session) {
                (Some(_), _) => Change::BindCreated(Existing::Move),
                (None, Some(_)) => Change::BindPresented(Existing::Move),
                (None, None) => Change::Nothing,
            },
            Rules::Affinity => {
                let existing = match answer.stands_in {
                    true => Existing::Keep,
                    false => self.existing(answer.status),
                };
                match (answer.created, answer.session) {
                    // The lookup has refreshed the session already.
                    (None | Some(Created::Presented), Some(AnsweredBy::Own)) => Change::Nothing,
                    (None, Some(AnsweredBy::Instead)) if existing == Existing::Move => {
                        Change::BindPresented(existing)
                    }
                    (None, _) => Change::Nothing,
                    (Some(Created::Presented), Some(AnsweredBy::Other)) => {
                        Change::BindCreated(Existing::Keep)
                    }
                    // The newest binding wins: the server that answers an `initialize` has the session.
                    (Some(_), None) if self.mcp => Change::BindCreated(Existing::Move),
                    // The client made the id, and may have sent it with several requests at once.
                    (Some(Created::Presented), None) if !self.mcp => {
                        Change::BindCreated(Existing::Keep)
                    }
                    (Some(_), _) => Change::BindCreated(existing),
                }
            }
        }
    }

    /// What becomes of the session that the body of an answer names. `shared`: its target is one of
    /// [`SharedTargets`](crate::mcp::SharedTargets). With `Clash::End` the caller notes the target there.
    ///
    /// - A task keeps its first server: the result of a tool may repeat the id of any task.
    /// - A stream is announced by its own server. If the client has chosen the id, another server announces
    ///   it when the client opens its stream again. The newest stream counts.
    /// - A target that only seems to have an id and that two servers announce is the same for every
    ///   stream. From then on it is bound to none, or the requests of all streams would follow the latest
    ///   one.
    pub fn on_announced(&self, announced: Announced, holder: Holder, shared: bool) -> Clash {
        match (announced, holder) {
            (Announced::Target, Holder::Other) => Clash::End,
            (Announced::Target, _) if shared => Clash::End,
            (Announced::Task, Holder::Other) | (_, Holder::None) => Clash::Keep,
            (_, Holder::Gone) | (Announced::Stream, Holder::Other) => Clash::Move,
        }
    }

    /// What becomes of the session that an answer's id already has with another server.
    pub(super) fn existing(&self, status: u16) -> Existing {
        match self.rules {
            Rules::Affinity if self.unavailable != Unavailable::Rebind || !self.moves(status) => {
                Existing::Keep
            }
            _ => Existing::Move,
        }
    }

    /// Whether an answer shows that its server has taken over a session.
    fn moves(&self, status: u16) -> bool {
        if self.mcp {
            is_success(status)
        } else {
            (100..400).contains(&status)
        }
    }
}

/// HTTP's 2xx.
fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}
