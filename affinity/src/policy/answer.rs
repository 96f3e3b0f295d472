//! What an answer changes.

use super::rules::{Policy, Rules, Unavailable};
use crate::table::Existing;

/// An answer of an upstream server, as far as it can teach.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// The session that the request was found to belong to, if any.
    pub session: Option<AnsweredBy>,
    /// The id that `create` found in the response, if any.
    pub created: Option<Created>,
    /// The session ends with it, if its own server says so.
    pub ends: bool,
    /// It is that of a backup server, which stands in for the session's own.
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
    /// The one that the request carried.
    Presented,
    /// Another one.
    Other,
}

/// What the body of an answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// A task.
    Task,
    /// A stream of HTTP+SSE, by a session id, or by a target with one: it is named so.
    Stream,
    /// A stream of HTTP+SSE, by a target that only looks as if it had an id.
    Target,
}

/// Who has the session that the body of an answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody, or the server that answered.
    None,
    /// Another server.
    Other,
    /// Another server, which is gone.
    Gone,
}

/// What becomes of the session that the body of an answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// It is bound to the server that answered, unless another one has it.
    Keep,
    /// It is bound to the server that answered.
    Move,
    /// It ends, if there is one: the text names no session, several servers have it.
    End,
}

/// What an answer teaches.
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
    /// What the session table learns from an answer.
    pub fn on_answer(&self, answer: &Answer) -> Change {
        if self.mcp && answer.ends && answer.session == Some(AnsweredBy::Own) {
            return Change::End;
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
                    // The lookup has refreshed it already.
                    (None | Some(Created::Presented), Some(AnsweredBy::Own)) => Change::Nothing,
                    (None, Some(AnsweredBy::Instead)) if existing == Existing::Move => {
                        Change::BindPresented(existing)
                    }
                    (None, _) => Change::Nothing,
                    (Some(Created::Presented), Some(AnsweredBy::Other)) => {
                        Change::BindCreated(Existing::Keep)
                    }
                    // The newest binding wins: who answers an `initialize` holds the session.
                    (Some(_), None) if self.mcp => Change::BindCreated(Existing::Move),
                    // The client made the id, and has perhaps sent it with several requests at once.
                    (Some(Created::Presented), None) if !self.mcp => {
                        Change::BindCreated(Existing::Keep)
                    }
                    (Some(_), _) => Change::BindCreated(existing),
                }
            }
        }
    }

    /// What becomes of the session that the body of an answer names. `shared` says whether its target is
    /// one of [`SharedTargets`](crate::mcp::SharedTargets), and whether it is to be noted as one if the
    /// session ends.
    ///
    /// A task keeps its first server: tools repeat what they are told. A stream is announced by its own
    /// server: an id that the client has chosen comes from another one when it opens its stream anew, and
    /// its newest stream counts. A target without such an id that two servers announce is the same for every stream: it is bound to none of
    /// them from then on, or the requests of all streams would follow the latest one.
    pub fn on_announced(&self, announced: Announced, holder: Holder, shared: bool) -> Clash {
        match (announced, holder) {
            (Announced::Target, Holder::Other) => Clash::End,
            (Announced::Target, _) if shared => Clash::End,
            (Announced::Task, Holder::Other) | (_, Holder::None) => Clash::Keep,
            (_, Holder::Gone) | (Announced::Stream, Holder::Other) => Clash::Move,
        }
    }

    /// What becomes of a session that an answer's id already has with another server.
    pub(super) fn existing(&self, status: u16) -> Existing {
        match self.rules {
            Rules::Affinity if self.unavailable != Unavailable::Rebind || !self.moves(status) => {
                Existing::Keep
            }
            _ => Existing::Move,
        }
    }

    /// Whether an answer shows that its server has taken a session over.
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
