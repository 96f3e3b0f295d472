//! What all workers share of one server, and how an event changes it.

use super::run::{later, Run};
use super::state::{Known, Reason, Source};
use crate::time::{Span, Tick};

/// Evidence about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server has accepted a connection.
    Accepted,
    /// The header of an answer has arrived.
    Answered,
    /// A request ended by the read timeout without a byte of an answer.
    Silent,
    /// A request could not connect to it.
    Failed(Reason),
    /// An attempt of this module could not connect to it. `alone`: no other server of its upstreams can
    /// be reached either. Then the fault is probably on this side, and the attempt proves nothing.
    AttemptFailed {
        /// Why.
        reason: Reason,
        /// See above.
        alone: bool,
    },
    /// The server's name has addresses, and this one is not among them.
    Missing,
    /// The address is among those of the server's name, or the name has none at all.
    Listed,
}

/// What the upstreams of a zone configure together.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Longest pause between two failed attempts that count together.
    pub pause: Span,
    /// A server is gone in each upstream of the zone when attempts have failed for this long.
    pub gone_after: Span,
}

/// Silent requests in a row after which a server is slow.
pub const SLOW_CALLS: u8 = 3;

/// What all workers share of one server of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What is known.
    pub known: Known,
    /// Why.
    pub reason: Reason,
    /// The source of that.
    pub source: Source,
    /// Since when; none while no event has changed the state.
    pub since: Option<Tick>,
    /// Silent requests in a row, at most [`SLOW_CALLS`].
    pub silent: u8,
    /// Its address came from DNS while nginx runs, and may be removed without a reload.
    pub resolved: bool,
    /// Failed attempts, while it is unreachable or gone.
    pub failing: Option<Run>,
    /// Answers of DNS that lack it.
    pub missing: Option<Run>,
    /// When it failed last, by request or attempt.
    pub last_failure: Option<Tick>,
    /// When it last answered or accepted a connection. Not noted for each request of a server that is
    /// up.
    pub last_success: Option<Tick>,
    /// Since when an upstream of the zone has had it `down`.
    pub down_since: Option<Tick>,
}

impl Record {
    /// Whether the record has no effect: the server is up, and no count has begun that an answer would
    /// end.
    pub fn is_plain(&self) -> bool {
        self.known == Known::Up && self.silent == 0 && self.missing.is_none()
    }

    /// Whether the server needs no place in the zone's list for the sake of its record.
    pub fn is_blank(&self) -> bool {
        self.is_plain() && self.down_since.is_none()
    }

    /// Whether the server has come back since `begun`. Then the failure of a connection that was begun
    /// at that moment proves nothing.
    pub fn is_back_since(&self, begun: Tick) -> bool {
        self.known == Known::Up && self.since.is_some_and(|since| since.since(begun) > Span(0))
    }

    /// The record after an event: the table of states.
    ///
    /// | | up | slow | unreachable | gone |
    /// |---|---|---|---|---|
    /// | accepted | up | slow | up | up |
    /// | answered | up | up | up | up |
    /// | silent | up, from the third on slow | slow | unreachable | gone |
    /// | failed | unreachable | unreachable | unreachable | gone |
    /// | attempt failed | unreachable | unreachable | unreachable, after `gone_after` gone | gone |
    /// | missing, listed | up | slow | unreachable | gone |
    #[must_use]
    pub fn apply(self, event: Event, now: Tick, rules: &Thresholds) -> Record {
        let mut next = self;
        match (self.known, event) {
            (_, Event::Missing) => {
                next.missing = Some(Run::extended(self.missing, now, rules.pause));
                return next;
            }
            (_, Event::Listed) => {
                next.missing = None;
                return next;
            }
            (Known::Up | Known::Slow, Event::Accepted) => return next.succeeded(now),
            (Known::Up, Event::Answered) => {
                next.silent = 0;
                return next.succeeded(now);
            }
            (Known::Slow, Event::Answered) => next = next.up(now, Source::Request),
            (Known::Unreachable | Known::Gone, Event::Accepted) => {
                next = next.up(now, Source::Attempt);
            }
            (Known::Unreachable | Known::Gone, Event::Answered) => {
                next = next.up(now, Source::Request);
            }
            (Known::Up | Known::Slow, Event::Silent) => {
                next.silent = (self.silent + 1).min(SLOW_CALLS);
                if next.silent == SLOW_CALLS {
                    next = next.in_state(Known::Slow, Reason::Silent, Source::Request, now);
                }
            }
            (Known::Unreachable | Known::Gone, Event::Silent) => (),
            (Known::Up | Known::Slow, Event::Failed(reason)) => {
                next = next.unreachable(reason, Source::Request, now);
            }
            // Attempts of this module come regularly; a request proves nothing more.
            (Known::Unreachable | Known::Gone, Event::Failed(_)) => (),
            (Known::Up | Known::Slow, Event::AttemptFailed { reason, .. }) => {
                next = next.unreachable(reason, Source::Attempt, now);
            }
            (Known::Unreachable, Event::AttemptFailed { reason, alone }) => {
                let run = match alone {
                    true => Run::at(now),
                    false => Run::extended(self.failing, now, rules.pause),
                };
                next.failing = Some(run);
                (next.reason, next.source) = (reason, Source::Attempt);
                if run.length() >= rules.gone_after {
                    next = next.in_state(Known::Gone, reason, Source::Attempt, now);
                }
            }
            (Known::Gone, Event::AttemptFailed { reason, .. }) => {
                next.failing = self.failing.map(|run| Run { last: later(run.last, now), ..run });
                next.reason = reason;
            }
        }
        next.last_failure = match (next.failing, event) {
            (Some(run), _) => Some(run.last),
            (None, Event::Silent) => Some(now),
            (None, _) => next.last_failure,
        };
        next
    }

    fn in_state(self, known: Known, reason: Reason, source: Source, now: Tick) -> Record {
        Record { known, reason, source, since: Some(now), ..self }
    }

    fn up(self, now: Tick, source: Source) -> Record {
        let up = Record { silent: 0, failing: None, ..self };
        up.in_state(Known::Up, Reason::None, source, now).succeeded(now)
    }

    fn unreachable(self, reason: Reason, source: Source, now: Tick) -> Record {
        let failing = Some(Run::at(now));
        Record { failing, ..self }.in_state(Known::Unreachable, reason, source, now)
    }

    fn succeeded(self, now: Tick) -> Record {
        Record { last_success: Some(now), ..self }
    }
}
