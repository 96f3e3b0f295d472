//! The state of a server in one upstream.

use super::record::Record;
use super::state::{Known, Reason, Source};
use crate::time::{Span, Tick};

/// The state of a server in one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The state.
    pub known: Known,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Option<Tick>,
    /// The source of that.
    pub source: Source,
}

/// A server as a member of one upstream.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The upstream's `gone_after`.
    pub gone_after: Span,
    /// The server is configured as `down`.
    pub down: bool,
    /// No other server of the upstream can be reached.
    pub alone: bool,
}

/// Whether and why new sessions go to another server. A server with a larger value is avoided more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Avoided {
    /// They do not.
    No,
    /// Requests to it got no answer.
    Slow,
    /// No connection to it can be established.
    Unreachable,
    /// It drains: it gets no new sessions, even if there is no other server.
    Draining,
}

impl Record {
    /// The state of the server in one upstream.
    ///
    /// No server is gone while no other one of its upstream can be reached.
    pub fn view(&self, place: &Member, now: Tick) -> View {
        let long_enough = |time: Span| time >= place.gone_after && !place.alone;
        let lost = |time| if long_enough(time) { Known::Gone } else { Known::Unreachable };
        if place.down {
            let known = lost(self.down_since.map_or(Span(0), |since| now.since(since)));
            let (reason, since) = (Reason::Administrator, self.down_since);
            return View { known, reason, since, source: Source::None };
        }
        if let Some(missing) = self.missing.filter(|missing| long_enough(missing.length())) {
            let (reason, since) = (Reason::NotInDns, Some(missing.first));
            return View { known: Known::Gone, reason, since, source: Source::None };
        }
        let known = match self.known {
            Known::Unreachable | Known::Gone => {
                lost(self.failing.map_or(Span(0), |failing| failing.length()))
            }
            known => known,
        };
        let view = View { known, reason: self.reason, since: self.since, source: self.source };
        match self.missing {
            Some(missing) if known == Known::Up => {
                let (reason, since) = (Reason::NotInDns, Some(missing.first));
                View { reason, since, source: Source::None, ..view }
            }
            _ => view,
        }
    }

    /// Whether new sessions avoid the server. A slow one gets new sessions again after `fail_timeout`.
    pub fn avoids_new(&self, fail_timeout: Span, now: Tick) -> Avoided {
        match self.known {
            Known::Unreachable | Known::Gone => Avoided::Unreachable,
            Known::Slow if self.since.is_some_and(|since| now.since(since) <= fail_timeout) => {
                Avoided::Slow
            }
            Known::Up | Known::Slow => Avoided::No,
        }
    }
}
