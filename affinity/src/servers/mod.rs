//! The state of a server: what is known of it, from evidence alone.
//!
//! A session lives on one server, and no other can serve it. So its server is tried unless it cannot
//! be reached, and that is a fact of the network: a TCP connection that was refused or reset, or
//! that did not come about in time. A slow answer, an error, a broken TLS handshake, or a port that
//! this machine has run out of is the failure of one request and tells nothing of the server.
//!
//! [`Record`] is what all workers share of one server of a zone; [`Record::apply`] is the table
//! (state × event → state); [`Record::view`] is what one upstream makes of it. What the
//! administrator wants (drain, down) is a second value, which no event changes.

use crate::time::{Span, Tick};

/// What is known of a server, from connections to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Known {
    /// It gets requests of its sessions, and new sessions.
    #[default]
    Up = 0,
    /// Several calls in a row got no byte of an answer within the read timeout. No new sessions.
    Slow = 1,
    /// It could not be connected to. nginx goes on trying.
    Unreachable = 2,
    /// The same, for so long that its sessions count as lost.
    Gone = 3,
}

impl Known {
    /// All of them.
    pub const ALL: [Known; 4] = [Known::Up, Known::Slow, Known::Unreachable, Known::Gone];

    /// The text of the field `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Known::Up => "up",
            Known::Slow => "slow",
            Known::Unreachable => "unreachable",
            Known::Gone => "gone",
        }
    }

    fn from_code(code: u64) -> Known {
        match code & 3 {
            1 => Known::Slow,
            2 => Known::Unreachable,
            3 => Known::Gone,
            _ => Known::Up,
        }
    }
}

/// Why a server is in its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There is nothing to explain.
    #[default]
    None = 0,
    /// `ECONNREFUSED`, or the file of a Unix socket is missing.
    Refused = 1,
    /// `ECONNRESET`.
    Reset = 2,
    /// No answer to the attempt to connect.
    TimedOut = 3,
    /// `EHOSTUNREACH`, `EHOSTDOWN`.
    NoRoute = 4,
    /// Calls that ended by the read timeout without a byte.
    Silent = 5,
    /// Its name has other addresses now.
    NotInDns = 6,
    /// Its configuration says `down`.
    Administrator = 7,
    /// In no upstream of the zone.
    Removed = 8,
}

impl Reason {
    /// The text of the field `reason`; `None` if there is none.
    pub const fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Reason::None => return None,
            Reason::Refused => "connection refused",
            Reason::Reset => "connection reset",
            Reason::TimedOut => "connect timed out",
            Reason::NoRoute => "no route to host",
            Reason::Silent => "read timed out",
            Reason::NotInDns => "not in DNS",
            Reason::Administrator => "administrator",
            Reason::Removed => "not in the configuration",
        })
    }

    fn from_code(code: u64) -> Reason {
        match code & 0xf {
            1 => Reason::Refused,
            2 => Reason::Reset,
            3 => Reason::TimedOut,
            4 => Reason::NoRoute,
            5 => Reason::Silent,
            6 => Reason::NotInDns,
            7 => Reason::Administrator,
            8 => Reason::Removed,
            _ => Reason::None,
        }
    }
}

/// Where evidence comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// There is none yet.
    #[default]
    None = 0,
    /// A client's request.
    Request = 1,
    /// An attempt of nginx's own to connect.
    Attempt = 2,
}

impl Source {
    /// The text of the field `seen_by`; `None` if there is none.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Source::None => None,
            Source::Request => Some("request"),
            Source::Attempt => Some("attempt"),
        }
    }

    fn from_code(code: u64) -> Source {
        match code & 3 {
            1 => Source::Request,
            2 => Source::Attempt,
            _ => Source::None,
        }
    }
}

/// Something that happened with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has accepted a connection.
    Accepted,
    /// The header of an answer has come.
    Answered,
    /// A call ended by the read timeout without a byte of an answer.
    Silent,
    /// A request could not connect to it.
    Failed(Reason),
    /// An attempt of nginx's own could not connect to it. `alone`: no other server of its upstreams
    /// can be reached either, so that the fault is nearer and the attempt proves nothing.
    AttemptFailed {
        /// Why.
        reason: Reason,
        /// See above.
        alone: bool,
    },
    /// Its name has addresses, and this one is none of them.
    Missing,
    /// It is an address of its name, or the name has none at all.
    Listed,
}

/// What a zone's upstreams have set.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Longest pause between two failed attempts that count together.
    pub pause: Span,
    /// Attempts that have failed for so long make a server gone, in each upstream of the zone.
    pub gone_after: Span,
}

/// Silent calls in a row that make a server slow.
pub const SLOW_CALLS: u8 = 3;

/// Observations that follow each other without too long a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first one.
    pub first: Tick,
    /// The last one.
    pub last: Tick,
}

impl Run {
    fn at(now: Tick) -> Run {
        Run { first: now, last: now }
    }

    /// The run with one more observation; a new one after too long a pause.
    fn extended(run: Option<Run>, now: Tick, pause: Span) -> Run {
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

fn later(one: Tick, other: Tick) -> Tick {
    if other.since(one).0 > 0 {
        other
    } else {
        one
    }
}

/// What all workers share of one server of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What is known.
    pub known: Known,
    /// Why.
    pub reason: Reason,
    /// Where that was seen.
    pub source: Source,
    /// Since when; meaningless while nothing has happened.
    pub since: Option<Tick>,
    /// Silent calls in a row, [`SLOW_CALLS`] at most.
    pub silent: u8,
    /// Its address came from DNS while nginx runs, and may leave without a reload.
    pub resolved: bool,
    /// Failed attempts, while it is unreachable or gone.
    pub failing: Option<Run>,
    /// Answers of DNS that lack it.
    pub missing: Option<Run>,
    /// When it failed last, by request or attempt.
    pub last_failure: Option<Tick>,
    /// When it has answered, or accepted a connection, as far as that was worth noting.
    pub last_success: Option<Tick>,
    /// Since when an upstream of the zone has had it `down`.
    pub down_since: Option<Tick>,
}

/// What an upstream makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// State of the server there.
    pub known: Known,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Option<Tick>,
    /// Where that was seen.
    pub source: Source,
}

/// How an upstream has a server.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its `gone_after`.
    pub gone_after: Span,
    /// It says `down`.
    pub down: bool,
    /// No other server of it can be reached.
    pub alone: bool,
}

impl Record {
    /// Words that a record takes.
    pub const WORDS: usize = 4;

    /// Whether all workers can go on as if there were no record: the server is up, and no count has
    /// begun that an answer would end.
    pub fn is_plain(&self) -> bool {
        self.known == Known::Up && self.silent == 0 && self.missing.is_none()
    }

    /// Whether it says nothing that is worth a place in the zone's list.
    pub fn is_blank(&self) -> bool {
        self.is_plain() && self.down_since.is_none()
    }

    /// Whether the server has come back since `begun`: a connection that was begun before that, and
    /// fails later, proves nothing.
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
    pub fn apply(self, event: Event, now: Tick, rules: &Rules) -> Record {
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
            // Attempts of nginx's own come regularly; requests prove nothing that these do not.
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

    /// What an upstream makes of it.
    ///
    /// No server is gone while no other one of its upstream can be reached.
    pub fn view(&self, place: &Place, now: Tick) -> View {
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

    /// Whether new sessions avoid the server. A slow one is given another chance after
    /// `fail_timeout`.
    pub fn avoids_new(&self, fail_timeout: Span, now: Tick) -> Avoided {
        match self.known {
            Known::Unreachable | Known::Gone => Avoided::Unreachable,
            Known::Slow if self.since.is_some_and(|since| now.since(since) <= fail_timeout) => {
                Avoided::Slow
            }
            Known::Up | Known::Slow => Avoided::No,
        }
    }

    /// The record as words of shared memory.
    pub fn to_words(&self) -> [u64; Record::WORDS] {
        let run = |run: Option<Run>| {
            let (first, last) = run.map_or((0, 0), |run| (code(run.first), code(run.last)));
            u64::from(first) << 32 | u64::from(last)
        };
        let optional = |tick: Option<Tick>| u64::from(tick.map_or(0, code));
        let state = self.known as u64
            | (self.reason as u64) << 2
            | (self.source as u64) << 6
            | u64::from(self.silent & 3) << 8
            | u64::from(self.resolved) << 10;
        // `last_failure` takes the place of a run that there is not.
        let failing = match self.failing {
            Some(_) => run(self.failing),
            None => optional(self.last_failure),
        };
        [
            state | optional(self.since) << 32,
            failing,
            run(self.missing),
            optional(self.last_success) << 32 | optional(self.down_since),
        ]
    }

    /// The record that words of shared memory hold, whatever they are.
    pub fn from_words(words: [u64; Record::WORDS]) -> Record {
        let [state, failing, missing, times] = words;
        let optional = |code: u64| match code as u32 {
            0 => None,
            code => Some(Tick(code)),
        };
        let run = |word: u64| {
            let (first, last) = (optional(word >> 32)?, optional(word)?);
            Some(Run { first, last })
        };
        Record {
            known: Known::from_code(state),
            reason: Reason::from_code(state >> 2),
            source: Source::from_code(state >> 6),
            silent: (state >> 8 & 3) as u8,
            resolved: state >> 10 & 1 != 0,
            since: optional(state >> 32),
            failing: run(failing),
            missing: run(missing),
            last_failure: optional(failing),
            last_success: optional(times >> 32),
            down_since: optional(times),
        }
    }
}

/// Zero stands for none; a moment of that number counts as the next one.
fn code(tick: Tick) -> u32 {
    tick.0.max(1)
}

/// Whether and why new sessions go elsewhere; the larger, the rather.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Avoided {
    /// They do not.
    No,
    /// It has let calls wait for nothing.
    Slow,
    /// It cannot be connected to.
    Unreachable,
    /// It drains: it gets none, also when there is no other server.
    Draining,
}

#[cfg(test)]
mod tests;
