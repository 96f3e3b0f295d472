//! What a zone keeps beside its table: the tally of requests, and which servers drain.

use crate::policy::{Rejection, Status};
use crate::time::Tick;

/// How many requests ended with each status, how many were rejected, and what became of lost sessions. The
/// table counts hits, by server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub [u64; Tally::LEN]);

impl Tally {
    /// How many counters there are.
    pub const LEN: usize = 16;

    /// The counter of a status; none for hits.
    pub const fn of_status(status: Status) -> Option<usize> {
        Some(match status {
            Status::Hit => return None,
            Status::None => 0,
            Status::New => 1,
            Status::Unknown => 2,
            Status::Unavailable => 3,
            Status::Gone => 4,
            Status::Rebound => 5,
            Status::Revived => 9,
        })
    }

    /// The counter of a rejection. A request whose ids contradict each other counts like one with an
    /// unknown id.
    pub const fn of_rejection(rejection: Rejection) -> usize {
        match rejection {
            Rejection::NotFound | Rejection::Ambiguous => 6,
            Rejection::Gone => 7,
            Rejection::Unavailable => 8,
        }
    }

    /// The counter of what happens to a session that may be lost.
    pub const fn of_loss(loss: Loss) -> usize {
        match loss {
            Loss::Pinged => 10,
            Loss::Lost => 11,
            Loss::Revived => 12,
            Loss::NotRevived(Refused::NoServer) => 13,
            Loss::NotRevived(Refused::Misfit) => 14,
            Loss::NotRevived(Refused::Error) => 15,
        }
    }

    /// How often that has happened.
    pub(super) fn losses(&self, loss: Loss) -> u64 {
        self.0.get(Tally::of_loss(loss)).copied().unwrap_or(0)
    }

    /// Requests with that status.
    pub(super) fn requests(&self, status: Status) -> u64 {
        Tally::of_status(status).and_then(|index| self.0.get(index)).copied().unwrap_or(0)
    }

    /// Requests with that rejection.
    pub(super) fn rejected(&self, rejection: Rejection) -> u64 {
        self.0.get(Tally::of_rejection(rejection)).copied().unwrap_or(0)
    }
}

/// What happens to a session that may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its server was asked a `ping`.
    Pinged,
    /// It is lost: it is revived now, or ends.
    Lost,
    /// It was revived.
    Revived,
    /// It could not be revived.
    NotRevived(Refused),
}

/// Why a session could not be revived, as the last server says that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no other server, or it did not answer.
    NoServer,
    /// The server speaks another version of the protocol, or lacks a capability of the old one.
    Misfit,
    /// The server answered with an error.
    Error,
}

impl Refused {
    /// The text of the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refused::NoServer => "no_server",
            Refused::Misfit => "misfit",
            Refused::Error => "error",
        }
    }
}

/// An upstream server's flags in the zone: whether it drains, and until when sessions may stay.
///
/// Both are in one word, so that they change at once. The lowest bit is set if the server drains. The
/// other bits are the deadline in ticks, rounded up to an even number; zero stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining(pub u32);

impl Draining {
    /// The flags of a server that does not drain.
    pub const NO: Draining = Draining(0);

    /// The flags of a server that drains.
    pub fn until(deadline: Option<Tick>) -> Draining {
        let deadline = deadline.map_or(0, |tick| (tick.0.wrapping_add(1) & !1).max(2));
        Draining(1 | deadline)
    }

    /// Whether the server drains.
    pub fn is_on(self) -> bool {
        self.0 & 1 != 0
    }

    /// When its sessions will be forgotten.
    pub fn deadline(self) -> Option<Tick> {
        match self.0 & !1 {
            0 => None,
            tick => Some(Tick(tick)),
        }
    }
}
