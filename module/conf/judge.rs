//! A judge of requests that nginx cannot simply end: their server has given a small answer of which nothing has been
//! sent, or none can be asked.

use affinity::ask::Ticket;
use affinity::policy::Rejection;
use affinity::table::Span;

use crate::nginx::request::Request;

/// A request that is held.
pub struct Case<'a> {
    pub request: Request<'static>,
    /// Names the case, for a verdict that comes later.
    pub ticket: Ticket,
    /// The body of the answer, which has come as a whole; `None` if the request has left its upstream without one.
    pub body: Option<&'a [u8]>,
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `hold::settle` is called later, with the ticket; not before the judge has returned.
    Wait,
    /// The judge is asked again after so many milliseconds.
    Later(u64),
    /// The answer is sent as it came; a request without one is rejected as unavailable.
    PassOn,
    /// The request runs on from its content handler, with its body.
    Again,
    /// It is answered with this status and no body.
    Status(u16),
    /// It is rejected, if it has no answer.
    Reject(Rejection),
}

/// An upstream's judge. It is asked in the event loop, so it must not block.
pub trait Judge {
    /// Whether an answer with this status has to be held. `r` has the headers of the answer.
    fn holds(&self, r: Request<'static>, status: u16) -> bool;

    /// What becomes of a held request.
    fn judge(&self, case: &Case<'_>) -> Verdict;

    /// How long a request is held at most, from the first question to the judge on; then its answer is passed on.
    fn timeout(&self, has_answer: bool) -> Span;
}
