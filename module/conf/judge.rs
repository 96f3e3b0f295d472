//! A judge of answers: decides what becomes of a small answer of a server before anything of it is sent.

use affinity::ask::Ticket;
use affinity::table::Span;

use crate::nginx::request::Request;

/// An answer that has come as a whole and is held.
#[cfg_attr(
    not(feature = "testing"),
    expect(dead_code, reason = "the judge of the product is the revival of sessions")
)]
pub struct HeldAnswer<'a> {
    pub request: Request<'static>,
    /// Names the answer, for a verdict that comes later.
    pub ticket: Ticket,
    pub body: &'a [u8],
}

/// What becomes of a held answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "testing"),
    expect(dead_code, reason = "the judge of the product is the revival of sessions")
)]
pub enum Verdict {
    /// `hold::settle` is called later, with the ticket; not before the judge has returned.
    Wait,
    /// It is sent as it came.
    PassOn,
    /// It is dropped. The request runs on from the last handler of PRECONTENT, with its body.
    Again,
}

/// An upstream's judge of answers. It is asked in the event loop, so it must not block.
pub trait Judge {
    /// Whether an answer with this status has to be held. `r` has the headers of the answer.
    fn holds(&self, r: Request<'static>, status: u16) -> bool;

    /// What becomes of a held answer. Asked once for a request.
    fn judge(&self, answer: &HeldAnswer<'_>) -> Verdict;

    /// How long an answer is held at most, from the moment at which it is complete; then it is passed on.
    fn timeout(&self) -> Span;
}
