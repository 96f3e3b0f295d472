//! What becomes of a request whose session may be lost.

use affinity::policy::{Absence, Rejection};
use affinity::revive::{decide, is_suspect, Cause, Claim, Evidence, Reply, RequestKind, Step};
use affinity::rpc::any_answer;
use affinity::servers::Known;
use affinity::status::Loss;
use affinity::table::{End, Kind, Span, Tick};

use super::course::{self, Course};
use super::session::{dropped_with, OwnSession};
use super::{choose, pings, rename};
use crate::conf::judge::{Case, Judge, Verdict};
use crate::conf::{MainConf, UpstreamConf};
use crate::hold;
use crate::nginx;
use crate::nginx::conf::Conf;
use crate::nginx::request::Request;

/// Milliseconds after which a request asks again: for the revival that another one does, and for its server. If many
/// wait, each asks more seldom.
const NEXT_LOOK: u64 = 50;
const MORE_SELDOM: usize = 10;
/// How long an answer is held at most: a ping, and a revival with two servers (milliseconds).
const LONGEST_HOLD: u64 = 30_000;
/// How long a request waits for its server beyond the `gone_after` of its upstream, and at most (milliseconds).
const BEYOND_GONE: u64 = 10_000;
const LONGEST_WAIT: u64 = 60_000;

/// The longest rest after a revival that a request waits for (milliseconds).
const LONGEST_REST: u64 = 5_000;

struct ReviveJudge {
    wait: Span,
}

/// Makes the judge of each upstream whose sessions are revived. To be called when `http {}` is read.
pub fn arrange(cf: &mut Conf<'_>) {
    let blocks: Vec<_> = cf.upstreams().collect();
    for block in blocks {
        // SAFETY: nginx reads its configuration, and this is the only reference in use.
        let Some(conf) = (unsafe { UpstreamConf::of_mut(block) }) else { continue };
        let crate::conf::Asked::Sessions(_, affinity) = &mut conf.asked else { continue };
        if affinity.revive.is_some() {
            let wait = affinity.policy.gone_after.as_millis().saturating_add(BEYOND_GONE);
            let wait = Span::from_millis(wait.min(LONGEST_WAIT));
            affinity.judge = Some(Box::new(ReviveJudge { wait }));
            if let Some(main) = MainConf::of(cf) {
                main.filters.hold = true;
            }
        }
    }
}

/// Whether the absence of a request's server may be the judge's matter: it has an owner that may wait.
#[cold]
pub fn refuses_absence(r: Request<'static>, kind: Kind, absence: Absence) -> bool {
    kind == Kind::Session
        && matches!(absence, Absence::Gone | Absence::Unreachable)
        && OwnSession::of(r).is_some_and(|session| {
            session.is_owner()
                && matches!(
                    session.kind,
                    RequestKind::Call
                        | RequestKind::Answer
                        | RequestKind::Stream
                        | RequestKind::Delete
                )
        })
}

/// Whether the session of a request can be revived by its owner.
#[cold]
pub fn is_kept(r: Request<'static>) -> bool {
    OwnSession::of(r).is_some()
}

/// Whether the session of a request may end by it: nothing is kept of the session, or its owner says so.
#[cold]
pub fn may_end(r: Request<'static>) -> bool {
    OwnSession::of(r).is_none_or(|session| session.is_owner())
}

impl Judge for ReviveJudge {
    fn holds(&self, r: Request<'static>, status: u16) -> bool {
        is_suspect(status)
            && OwnSession::of(r).is_some_and(|session| {
                let evidence = Evidence::Answered(status);
                decide(evidence, session.kind, session.standing) == Step::Ping
                    && !session.place.store.distrusts(session.location, nginx::now())
            })
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let r = case.request;
        match (OwnSession::of(r), case.body) {
            (Some(session), Some(body)) => after_answer(case, session, body),
            (Some(session), None) => without_server(case, session),
            (None, Some(_)) => Verdict::PassOn,
            (None, None) => Verdict::Reject(Rejection::Gone),
        }
    }

    fn timeout(&self, has_answer: bool) -> Span {
        match has_answer {
            true => Span::from_millis(LONGEST_HOLD),
            false => self.wait,
        }
    }
}

/// The request asks again.
fn again_later() -> Verdict {
    Verdict::Later(NEXT_LOOK + (hold::holding() / MORE_SELDOM) as u64)
}

/// A request waits for the end of the rest after a revival, unless that is far.
fn after_rest(until: Tick, otherwise: Verdict) -> Verdict {
    let left = until.since(nginx::now());
    match left <= Span::from_millis(LONGEST_REST) {
        true => Verdict::Later(left.as_millis().max(NEXT_LOOK)),
        false => otherwise,
    }
}

fn after_answer(case: &Case<'_>, session: OwnSession, body: &[u8]) -> Verdict {
    let session_was_revived = session.kept.revivals > 0;
    let revivals = rename::revivals(case.request);
    let first = Reply::new(case.request.response_status(), any_answer(body));
    let (store, key) = (session.place.store, session.key);
    match store.claim(key, Cause::Answer(first), revivals, nginx::now()) {
        Claim::Mine(claimed) if !pings::may_begin() => {
            store.give_back(key, claimed, nginx::now());
            again_later()
        }
        Claim::Mine(claimed) => match Course::new(case, session, claimed, Some(first)) {
            Some(course) => course::ping_old(course),
            None => {
                store.give_back(key, claimed, nginx::now());
                Verdict::PassOn
            }
        },
        Claim::Taken(_) => again_later(),
        // The ping that another request has asked counts for this one as its own would. Otherwise its server may have
        // known the session, and done what the request says.
        Claim::Revived(ping) => {
            match decide(Evidence::Pinged { first, ping }, session.kind, session.standing) {
                Step::Revive | Step::End | Step::Drop => Verdict::Again,
                _ => Verdict::PassOn,
            }
        }
        Claim::Resting(until) if session_was_revived => after_rest(until, Verdict::PassOn),
        Claim::Alive(_) | Claim::Resting(_) | Claim::Absent => Verdict::PassOn,
    }
}

fn without_server(case: &Case<'_>, session: OwnSession) -> Verdict {
    let place = session.place;
    let is_revived = session.kept.revivals > 0;
    if let Some(status) =
        is_revived.then(|| dropped_with(case.request, &place, session.key)).flatten()
    {
        return Verdict::Status(status);
    }
    let sessions = place.affinity.zone.sessions();
    let found =
        sessions.and_then(|it| it.lookup(session.key, nginx::now(), &place.affinity.limits));
    let Some(found) = found else { return Verdict::Reject(Rejection::NotFound) };
    let known = choose::state(&place, found.server).map_or(Known::Gone, |(known, _)| known);
    match decide(Evidence::Server(known), session.kind, session.standing) {
        Step::Send => Verdict::Again,
        Step::Wait => again_later(),
        Step::End => {
            if let Some(sessions) = sessions {
                sessions.count_loss(Loss::Lost);
                sessions.forget(session.key, End::Deleted);
            }
            place.store.remove(session.key);
            Verdict::Status(204)
        }
        Step::Drop => Verdict::Status(202),
        Step::Revive => revive(case, session),
        Step::Ping | Step::PassOn | Step::NotFound => Verdict::Reject(Rejection::Gone),
    }
}

fn revive(case: &Case<'_>, session: OwnSession) -> Verdict {
    let revivals = rename::revivals(case.request);
    let (store, key) = (session.place.store, session.key);
    match store.claim(key, Cause::Gone, revivals, nginx::now()) {
        Claim::Mine(claimed) => match Course::new(case, session, claimed, None) {
            Some(course) => {
                course::open(course);
                Verdict::Wait
            }
            None => {
                store.give_back(key, claimed, nginx::now());
                Verdict::Reject(Rejection::Gone)
            }
        },
        Claim::Taken(_) => again_later(),
        // The request was not sent.
        Claim::Revived(_) => Verdict::Again,
        Claim::Alive(until) | Claim::Resting(until) => {
            after_rest(until, Verdict::Reject(Rejection::Unavailable))
        }
        Claim::Absent => Verdict::Reject(Rejection::Gone),
    }
}
