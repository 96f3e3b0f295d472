//! Observations that count together.

use crate::time::{Span, Tick};

/// Observations without too long a pause between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first one.
    pub first: Tick,
    /// The last one.
    pub last: Tick,
}

impl Run {
    pub(super) fn at(now: Tick) -> Run {
        Run { first: now, last: now }
    }

    /// The run with one more observation; a new one after too long a pause.
    pub(super) fn extended(run: Option<Run>, now: Tick, pause: Span) -> Run {
        match run {
            Some(run) if now.since(run.last) <= pause => {
                Run { first: run.first, last: later(run.last, now) }
            }
            _ => Run::at(now),
        }
    }

    /// How long it has lasted.
    pub fn length(self) -> Span {
        self.last.since(self.first)
    }
}

pub(super) fn later(one: Tick, other: Tick) -> Tick {
    if other.since(one).0 > 0 {
        other
    } else {
        one
    }
}
