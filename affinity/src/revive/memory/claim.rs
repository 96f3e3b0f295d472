//! Who may revive a session, and when: one process at a time, and not too often.

use core::sync::atomic::Ordering;

use super::slot::{one_more, Place, Slot};
use crate::revive::decision::Reply;
use crate::time::{Span, Tick};

/// How long a claim holds, if it is not renewed. A process renews it before each message that it sends, whose
/// answer it awaits for less than this.
pub(super) const HOLD: Span = Span::from_millis(5_000);

/// How long no further ping is asked in a session after the same answer: if the ping has shown it to be alive, or a new
/// session has answered alike. And after any answer, if the ping had none.
const PING_REST: Span = Span::from_millis(10_000);
const DISTRUST_REST: Span = Span::from_millis(600_000);
const SILENT_REST: Span = Span::from_millis(1_000);

/// How long no revival is tried after one, successful or not, and at most. The time doubles if the next one
/// comes soon after it.
const FIRST_REST: Span = Span::from_millis(1_000);
const LONGEST_REST: Span = Span::from_millis(60_000);

/// Bits of `Slot::state`: a claim holds until its deadline.
const CLAIMED: u32 = 1;
/// `Slot::next_ping` is valid.
const PINGED: u32 = 1 << 1;
/// From here on: how many revivals came soon after another.
const TRIED_SHIFT: u32 = 8;

/// Why a session is to be revived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its server is gone.
    Gone,
    /// Its server has answered as if it did not know the session. The claim begins with a ping.
    Answer(Reply),
}

/// The result of [`Store::claim`](super::store::Store::claim).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The caller revives the session.
    Mine(Ticket),
    /// Another request does, and its claim ends at this moment at the latest.
    Taken(Tick),
    /// The session was revived since, and the record has the new id. The answer to the ping that had shown it to be
    /// lost; none if its server was gone, or the session was revived more than once since.
    Revived(Option<Reply>),
    /// A ping has shown that such an answer is no evidence. None is asked until this moment.
    Alive(Tick),
    /// A revival was tried, with success or without. None is tried until this moment.
    Resting(Tick),
    /// Nothing is kept of the session.
    Absent,
}

/// A claim. It is valid until its deadline, or until another request has claimed the session after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub(super) u32);

/// How a claim has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// Nothing was done.
    Unused,
    /// A ping has shown the session to be alive, after this answer.
    Alive(Reply),
    /// A ping had no answer.
    Silent,
    /// A revival was tried.
    Tried,
    /// A revival was tried, and a ping in the new session has had this answer as well.
    Distrusted(Reply),
}

impl Slot {
    /// Claims the session. `revivals`: how often it was revived when the caller's request was sent.
    pub(super) fn claim(&self, place: Place, cause: Cause, revivals: u16, now: Tick) -> Claim {
        if place.revivals != revivals {
            let is_latest = place.revivals == one_more(revivals);
            let lost_by = unpacked(self.lost_by.load(Ordering::Relaxed));
            return Claim::Revived(lost_by.filter(|_| is_latest));
        }
        let state = self.state.load(Ordering::Relaxed);
        let deadline = Tick(self.deadline.load(Ordering::Relaxed));
        if state & CLAIMED != 0 && is_before(now, deadline) {
            return Claim::Taken(deadline);
        }
        let rests_until = Tick(self.rests_until.load(Ordering::Relaxed));
        if state >> TRIED_SHIFT != 0 && is_before(now, rests_until) {
            return Claim::Resting(rests_until);
        }
        if let Cause::Answer(reply) = cause {
            let next_ping = Tick(self.next_ping.load(Ordering::Relaxed));
            let rests_after = self.rests_after.load(Ordering::Relaxed);
            let rests = rests_after == ANY || rests_after == packed(Some(reply));
            if state & PINGED != 0 && rests && is_before(now, next_ping) {
                return Claim::Alive(next_ping);
            }
        }
        let ticket = self.ticket.load(Ordering::Relaxed).wrapping_add(1);
        self.ticket.store(ticket, Ordering::Relaxed);
        self.hold(now);
        self.state.store(state | CLAIMED, Ordering::Relaxed);
        Claim::Mine(Ticket(ticket))
    }

    /// Whether the claim of this ticket holds. It does beyond its deadline, while nobody else has claimed the
    /// session.
    pub(super) fn is_claimed_by(&self, ticket: Ticket) -> bool {
        self.state.load(Ordering::Relaxed) & CLAIMED != 0
            && self.ticket.load(Ordering::Relaxed) == ticket.0
    }

    /// Moves the deadline.
    pub(super) fn hold(&self, now: Tick) {
        self.deadline.store(now.0.wrapping_add(HOLD.0), Ordering::Relaxed);
    }

    /// Ends the claim.
    pub(super) fn release(&self, release: Release, now: Tick) {
        let state = match release {
            Release::Unused => self.state.load(Ordering::Relaxed) & !CLAIMED,
            Release::Alive(first) => self.rest_from_pings(now, PING_REST, packed(Some(first))),
            Release::Silent => self.rest_from_pings(now, SILENT_REST, ANY),
            Release::Tried => self.rest(now),
            Release::Distrusted(first) => {
                self.rest(now) | self.rest_from_pings(now, DISTRUST_REST, packed(Some(first)))
            }
        };
        self.state.store(state, Ordering::Relaxed);
    }

    /// Notes which answer has shown the session to be lost, when it is revived.
    pub(super) fn set_lost_by(&self, ping: Option<Reply>) {
        self.lost_by.store(packed(ping), Ordering::Relaxed);
    }

    fn rest_from_pings(&self, now: Tick, rest: Span, after: u64) -> u32 {
        self.next_ping.store(now.0.wrapping_add(rest.0), Ordering::Relaxed);
        self.rests_after.store(after, Ordering::Relaxed);
        PINGED
    }

    fn rest(&self, now: Tick) -> u32 {
        let tried = self.tried_soon_before(now);
        let rests_until = now.0.wrapping_add(rest_after(tried).0);
        self.rests_until.store(rests_until, Ordering::Relaxed);
        (tried + 1) << TRIED_SHIFT
    }

    /// How many revivals have come soon after another; zero if the last one has rested for long.
    fn tried_soon_before(&self, now: Tick) -> u32 {
        let tried = self.state.load(Ordering::Relaxed) >> TRIED_SHIFT;
        let rests_until = Tick(self.rests_until.load(Ordering::Relaxed));
        match tried.checked_sub(1) {
            Some(before) if now.since(rests_until) <= rest_after(before) => tried.min(16),
            _ => 0,
        }
    }
}

/// The packed form of no reply, and of one whose code has more than 32 bits; `Slot::rests_after`: any reply.
const ANY: u64 = 0;

fn packed(reply: Option<Reply>) -> u64 {
    let Some(Reply { status, code }) = reply else { return ANY };
    let has_code = u64::from(code.is_some()) << 16;
    match i32::try_from(code.unwrap_or(0)) {
        Ok(code) => u64::from(status) | has_code | u64::from(code as u32) << 32,
        Err(_) => ANY,
    }
}

fn unpacked(word: u64) -> Option<Reply> {
    let code = i64::from((word >> 32) as i32);
    let has_code = word >> 16 & 1 != 0;
    (word != ANY).then_some(Reply { status: word as u16, code: has_code.then_some(code) })
}

fn rest_after(tried: u32) -> Span {
    Span(FIRST_REST.0.saturating_mul(1 << tried.min(16)).min(LONGEST_REST.0))
}

fn is_before(moment: Tick, other: Tick) -> bool {
    other.since(moment) > Span(0)
}
