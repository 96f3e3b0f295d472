//! What happens to a request and to a session: rules as values, decided without nginx.
//!
//! A request passes three questions, in this order: where does its id lead (`on_lookup`), what if
//! that server cannot be had (`on_unavailable`), and what does the answer teach (`on_answer`).

use crate::table::{Existing, Kind, Span};

/// What to do with an id that the zone does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Treat it as if there were none.
    Balance,
    /// Answer 404.
    Reject,
}

/// What to do while a session's server cannot be reached, is down or full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Send this request elsewhere, keep the session.
    Balance,
    /// Send it elsewhere, and move the session to the server that answers below 400 (in MCP mode 2xx),
    /// unless its own is only full, or that is a backup server.
    Rebind,
    /// Answer 503, or 404 once the server is gone.
    Reject,
}

/// When a response teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the first byte of the response leaves for the client.
    Header,
    /// When the response has ended.
    End,
}

/// Which directive's rules hold for ids and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// `sticky_learn`: lookups refresh, a foreign answer does not take a session over unless asked.
    Affinity,
    /// NGINX Plus's `sticky learn`: answers refresh, and a session follows the server that answered.
    Plus,
}

/// The rules of one upstream.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whose rules hold.
    pub rules: Rules,
    /// When a response teaches.
    pub learn: Moment,
    /// What an id without a session meets.
    pub unknown: Unknown,
    /// What a session without its server meets.
    pub unavailable: Unavailable,
    /// How long a server may be unavailable before it counts as gone.
    pub gone_after: Span,
    /// MCP's rules hold: only 2xx teaches, an answer may end a session, a new answer's id belongs to
    /// the server that gave it, and a task is never rejected for good, since its server may share a
    /// store with others.
    pub mcp: bool,
}

/// What `$upstream_sticky_status` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The request carries no id.
    None,
    /// A session was learned from the response.
    New,
    /// The request went to its session's server.
    Hit,
    /// The request carries an id without a session.
    Unknown,
    /// The session's server could not be had, and may come back.
    Unavailable,
    /// The session's server could not be had, and will not come back.
    Gone,
    /// The session has moved to the server that answered.
    Rebound,
}

impl Status {
    /// The text of the variable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::None => "NONE",
            Status::New => "NEW",
            Status::Hit => "HIT",
            Status::Unknown => "UNKNOWN",
            Status::Unavailable => "UNAVAILABLE",
            Status::Gone => "GONE",
            Status::Rebound => "REBOUND",
        }
    }
}

/// What the zone said about the id that a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// There is no id.
    NoId,
    /// The id has no session.
    Stranger(Kind),
    /// The id has no session, and comes at a revision of MCP that has none.
    Leftover,
    /// There are several ids, and they contradict each other.
    Ambiguous,
    /// The id has a session.
    Session,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Wherever the balancer says.
    Balance,
    /// There as well, and the session is to be forgotten.
    Afresh,
    /// To the session's server.
    Server,
    /// Nowhere.
    Reject(Rejection),
}

/// An answer given instead of the upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// 404: there is no such session, and there will be none.
    NotFound,
    /// 404, and the session is to be forgotten.
    Gone,
    /// 503 with `Retry-After`: the session's server may come back.
    Unavailable,
    /// 400: the request's ids contradict each other. A server may go by another one than nginx.
    Ambiguous,
}

/// Why a session's server cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It cannot be reached, or is down.
    Unreachable,
    /// The same for so long that it counts as gone; or it is no longer in the upstream.
    Gone,
    /// It is not in this upstream, but in another one of the zone, and nginx has redirected the request
    /// here from an upstream (`X-Accel-Redirect`, `error_page`): the session is no less alive.
    Elsewhere,
    /// At `max_conns`.
    Full,
}

/// An answer of an upstream server, as far as it can teach.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// The session that the request was found to belong to, if any.
    pub session: Option<Bound>,
    /// The id that `create` found in the response, if any.
    pub created: Option<Created>,
    /// The session ends with it, if its own server says so.
    pub ends: bool,
    /// It is that of a backup server, which stands in for the session's own.
    pub stands_in: bool,
}

/// Whether a session's own server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It did.
    Here,
    /// Another one did, though the request could have gone to it, or has.
    Elsewhere,
    /// Another one did, because it could not be reached.
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
pub enum Lesson {
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
    /// Where the request goes, by what the zone said of its id.
    pub fn on_lookup(&self, presented: Presented) -> (Status, Route) {
        match (presented, self.unknown) {
            (Presented::NoId, _) => (Status::None, Route::Balance),
            (Presented::Session, _) => (Status::Hit, Route::Server),
            (Presented::Stranger(Kind::Session), Unknown::Reject) => {
                (Status::Unknown, Route::Reject(Rejection::NotFound))
            }
            // An id in a query may be a user's key that no server has issued.
            (Presented::Stranger(_) | Presented::Leftover, _) => (Status::Unknown, Route::Balance),
            (Presented::Ambiguous, _) => (Status::Unknown, Route::Reject(Rejection::Ambiguous)),
        }
    }

    /// Where the request goes when the server of its session, or task, cannot be had. `opens_stream` says
    /// whether it is to open a stream of HTTP+SSE: that begins at any server, and names its session itself.
    pub fn on_unavailable(
        &self,
        kind: Kind,
        absence: Absence,
        opens_stream: bool,
    ) -> (Status, Route) {
        let gone = matches!(absence, Absence::Gone | Absence::Elsewhere);
        let status = if gone { Status::Gone } else { Status::Unavailable };
        let route = match (self.unavailable, gone) {
            (Unavailable::Balance | Unavailable::Rebind, _) => Route::Balance,
            (Unavailable::Reject, _) if kind == Kind::Sse && opens_stream => Route::Balance,
            (Unavailable::Reject, true) if kind == Kind::Task => Route::Afresh,
            (Unavailable::Reject, true) => Route::Reject(Rejection::Gone),
            (Unavailable::Reject, false) => Route::Reject(Rejection::Unavailable),
        };
        (status, route)
    }

    /// What the session table learns from an answer.
    pub fn on_answer(&self, answer: &Answer) -> Lesson {
        if self.mcp && answer.ends && answer.session == Some(Bound::Here) {
            return Lesson::End;
        }
        let success = is_success(answer.status);
        if self.mcp && !success {
            return Lesson::Nothing;
        }
        match self.rules {
            Rules::Plus => match (answer.created, answer.session) {
                (Some(_), _) => Lesson::BindCreated(Existing::Move),
                (None, Some(_)) => Lesson::BindPresented(Existing::Move),
                (None, None) => Lesson::Nothing,
            },
            Rules::Affinity => {
                let existing = match answer.stands_in {
                    true => Existing::Keep,
                    false => self.existing(answer.status),
                };
                match (answer.created, answer.session) {
                    // The lookup has refreshed it already.
                    (None | Some(Created::Presented), Some(Bound::Here)) => Lesson::Nothing,
                    (None, Some(Bound::Instead)) if existing == Existing::Move => {
                        Lesson::BindPresented(existing)
                    }
                    (None, _) => Lesson::Nothing,
                    (Some(Created::Presented), Some(Bound::Elsewhere)) => {
                        Lesson::BindCreated(Existing::Keep)
                    }
                    // The newest binding wins: who answers an `initialize` holds the session.
                    (Some(_), None) if self.mcp => Lesson::BindCreated(Existing::Move),
                    // The client made the id, and has perhaps sent it with several requests at once.
                    (Some(Created::Presented), None) if !self.mcp => {
                        Lesson::BindCreated(Existing::Keep)
                    }
                    (Some(_), _) => Lesson::BindCreated(existing),
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
    fn existing(&self, status: u16) -> Existing {
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

/// A number for each backup server: that with the highest stands in for a session. While the servers
/// stay the same the session gets the same one, and when one goes only its sessions get others.
pub fn stand_in(session: u64, server: &[u8]) -> u64 {
    // The finalizer of MurmurHash3: each bit of the sum changes each bit of the result.
    let mut mixed = session ^ digest(&[server]);
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ mixed >> 33).wrapping_mul(factor);
    }
    mixed ^ mixed >> 33
}

/// A number for some texts, for [`stand_in`] where there is no session (FNV-1a).
pub fn digest(texts: &[&[u8]]) -> u64 {
    texts.iter().copied().flatten().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// HTTP's 2xx.
fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            rules: Rules::Affinity,
            learn: Moment::Header,
            unknown: Unknown::Balance,
            unavailable: Unavailable::Rebind,
            gone_after: Span::from_millis(30_000),
            mcp: false,
        }
    }

    fn answer(status: u16, session: Option<Bound>, created: Option<Created>) -> Answer {
        Answer { status, session, created, ends: false, stands_in: false }
    }

    #[test]
    fn a_request_without_id_is_balanced() {
        for unknown in [Unknown::Balance, Unknown::Reject] {
            let p = Policy { unknown, ..policy() };
            assert_eq!(p.on_lookup(Presented::NoId), (Status::None, Route::Balance));
        }
    }

    #[test]
    fn an_unknown_id_is_balanced_or_rejected_with_404() {
        let mut p = policy();
        assert_eq!(
            p.on_lookup(Presented::Stranger(Kind::Session)),
            (Status::Unknown, Route::Balance)
        );
        p.unknown = Unknown::Reject;
        assert_eq!(
            p.on_lookup(Presented::Stranger(Kind::Session)),
            (Status::Unknown, Route::Reject(Rejection::NotFound))
        );
    }

    #[test]
    fn reject_answers_404_when_the_server_is_gone_and_503_before() {
        let p = Policy { unavailable: Unavailable::Reject, ..policy() };
        let gone = (Status::Gone, Route::Reject(Rejection::Gone));
        let away = (Status::Unavailable, Route::Reject(Rejection::Unavailable));
        for (kind, opens_stream) in
            [(Kind::Session, false), (Kind::Session, true), (Kind::Sse, false)]
        {
            assert_eq!(p.on_unavailable(kind, Absence::Gone, opens_stream), gone);
            assert_eq!(p.on_unavailable(kind, Absence::Unreachable, opens_stream), away);
            assert_eq!(p.on_unavailable(kind, Absence::Full, opens_stream), away);
        }
    }

    #[test]
    fn a_request_that_opens_a_stream_is_never_rejected() {
        for unavailable in [Unavailable::Balance, Unavailable::Rebind, Unavailable::Reject] {
            let p = Policy { unavailable, unknown: Unknown::Reject, mcp: true, ..policy() };
            for (absence, status) in [
                (Absence::Unreachable, Status::Unavailable),
                (Absence::Full, Status::Unavailable),
                (Absence::Gone, Status::Gone),
                (Absence::Elsewhere, Status::Gone),
            ] {
                let route = p.on_unavailable(Kind::Sse, absence, true);
                assert_eq!(route, (status, Route::Balance));
            }
            assert_eq!(p.on_lookup(Presented::Stranger(Kind::Sse)).1, Route::Balance);
        }
    }

    #[test]
    fn balance_and_rebind_send_the_request_elsewhere() {
        for unavailable in [Unavailable::Balance, Unavailable::Rebind] {
            let p = Policy { unavailable, ..policy() };
            assert_eq!(
                p.on_unavailable(Kind::Session, Absence::Full, false),
                (Status::Unavailable, Route::Balance)
            );
            assert_eq!(
                p.on_unavailable(Kind::Session, Absence::Gone, false),
                (Status::Gone, Route::Balance)
            );
        }
    }

    #[test]
    fn a_new_id_is_learned_from_any_status_or_from_2xx_only() {
        let created = Some(Created::Other);
        let mut p = policy();
        assert_eq!(p.on_answer(&answer(401, None, created)), Lesson::BindCreated(Existing::Keep));
        p.mcp = true;
        assert_eq!(p.on_answer(&answer(401, None, created)), Lesson::Nothing);
        assert_eq!(p.on_answer(&answer(204, None, created)), Lesson::BindCreated(Existing::Move));
    }

    #[test]
    fn only_rebind_and_below_400_move_a_session_and_only_if_its_server_could_not_be_reached() {
        let instead = Some(Bound::Instead);
        let mut p = policy();
        for status in [101, 200, 204, 302, 304, 399] {
            assert_eq!(
                p.on_answer(&answer(status, instead, None)),
                Lesson::BindPresented(Existing::Move),
                "{status}"
            );
        }
        for status in [400, 401, 404, 500, 503] {
            assert_eq!(p.on_answer(&answer(status, instead, None)), Lesson::Nothing, "{status}");
        }
        let mcp = Policy { mcp: true, ..policy() };
        assert_eq!(mcp.on_answer(&answer(302, instead, None)), Lesson::Nothing);
        assert_eq!(p.on_answer(&answer(404, instead, None)), Lesson::Nothing);
        assert_eq!(
            p.on_answer(&answer(404, instead, Some(Created::Presented))),
            Lesson::BindCreated(Existing::Keep)
        );
        let elsewhere = Some(Bound::Elsewhere);
        assert_eq!(p.on_answer(&answer(200, elsewhere, None)), Lesson::Nothing);
        assert_eq!(
            p.on_answer(&answer(200, elsewhere, Some(Created::Presented))),
            Lesson::BindCreated(Existing::Keep)
        );
        for unavailable in [Unavailable::Balance, Unavailable::Reject] {
            p.unavailable = unavailable;
            assert_eq!(p.on_answer(&answer(200, instead, None)), Lesson::Nothing);
            assert_eq!(
                p.on_answer(&answer(200, instead, Some(Created::Presented))),
                Lesson::BindCreated(Existing::Keep)
            );
        }
    }

    #[test]
    fn a_backup_that_stands_in_takes_no_session_over_and_gets_those_that_begin_there() {
        let p = policy();
        for session in [Some(Bound::Instead), Some(Bound::Elsewhere)] {
            let by = |created| Answer { stands_in: true, ..answer(200, session, created) };
            let keep = Lesson::BindCreated(Existing::Keep);
            assert_eq!(p.on_answer(&by(None)), Lesson::Nothing);
            assert_eq!(p.on_answer(&by(Some(Created::Presented))), keep);
            assert_eq!(p.on_answer(&by(Some(Created::Other))), keep);
        }
    }

    #[test]
    fn of_several_requests_with_an_id_that_the_client_made_the_first_binds_it() {
        let mut p = policy();
        let again = answer(200, None, Some(Created::Presented));
        assert_eq!(p.on_answer(&again), Lesson::BindCreated(Existing::Keep));
        // There any server may claim an id.
        p.mcp = true;
        assert_eq!(p.on_answer(&again), Lesson::BindCreated(Existing::Move));
    }

    #[test]
    fn the_same_backup_stands_in_for_a_session_and_all_have_their_share() {
        let servers: [&[u8]; 3] = [b"10.0.0.1:80", b"10.0.0.2:80", b"unix:/run/app.sock"];
        let best = |session: u64, servers: &[&'static [u8]]| {
            servers.iter().copied().max_by_key(|server| stand_in(session, server)).unwrap()
        };
        let mut share = [0; 3];
        for session in 0..3000 {
            let chosen = best(session, &servers);
            share[servers.iter().position(|server| *server == chosen).unwrap()] += 1;
            // Without another one nothing changes.
            if chosen != servers[2] {
                assert_eq!(best(session, &servers[..2]), chosen);
            }
        }
        assert!(share.iter().all(|share| (900..1100).contains(share)), "{share:?}");
        assert_ne!(digest(&[b"a", b"1"]), digest(&[b"b", b"1"]));
    }

    #[test]
    fn an_answer_of_the_sessions_own_server_teaches_nothing_new() {
        let here = Some(Bound::Here);
        let p = policy();
        assert_eq!(p.on_answer(&answer(200, here, None)), Lesson::Nothing);
        assert_eq!(p.on_answer(&answer(200, here, Some(Created::Presented))), Lesson::Nothing);
        assert_eq!(
            p.on_answer(&answer(200, here, Some(Created::Other))),
            Lesson::BindCreated(Existing::Move)
        );
    }

    #[test]
    fn plus_lets_a_session_follow_every_answer() {
        let p = Policy { rules: Rules::Plus, learn: Moment::End, ..policy() };
        for status in [200, 404, 500] {
            for bound in [Bound::Here, Bound::Elsewhere, Bound::Instead] {
                assert_eq!(
                    p.on_answer(&answer(status, Some(bound), None)),
                    Lesson::BindPresented(Existing::Move)
                );
                assert_eq!(
                    p.on_answer(&answer(status, Some(bound), Some(Created::Other))),
                    Lesson::BindCreated(Existing::Move)
                );
            }
            assert_eq!(p.on_answer(&answer(status, None, None)), Lesson::Nothing);
        }
    }

    #[test]
    fn an_unknown_task_is_balanced_and_that_of_a_gone_server_begins_afresh() {
        let p = Policy {
            unknown: Unknown::Reject,
            unavailable: Unavailable::Reject,
            mcp: true,
            ..policy()
        };
        assert_eq!(p.on_lookup(Presented::Stranger(Kind::Task)), (Status::Unknown, Route::Balance));
        assert_eq!(
            p.on_unavailable(Kind::Task, Absence::Gone, false),
            (Status::Gone, Route::Afresh)
        );
        assert_eq!(
            p.on_unavailable(Kind::Task, Absence::Full, false),
            (Status::Unavailable, Route::Reject(Rejection::Unavailable))
        );
    }

    #[test]
    fn an_id_in_a_query_or_a_leftover_is_never_rejected_and_contradiction_always() {
        for unknown in [Unknown::Balance, Unknown::Reject] {
            let p = Policy { unknown, mcp: true, ..policy() };
            for presented in [Presented::Stranger(Kind::Sse), Presented::Leftover] {
                assert_eq!(p.on_lookup(presented), (Status::Unknown, Route::Balance));
            }
            assert_eq!(
                p.on_lookup(Presented::Ambiguous),
                (Status::Unknown, Route::Reject(Rejection::Ambiguous))
            );
        }
    }

    #[test]
    fn in_mcp_the_newest_answer_to_a_request_without_session_has_the_id() {
        for unavailable in [Unavailable::Balance, Unavailable::Rebind, Unavailable::Reject] {
            let p = Policy { unavailable, mcp: true, ..policy() };
            for created in [Created::Presented, Created::Other] {
                assert_eq!(
                    p.on_answer(&answer(200, None, Some(created))),
                    Lesson::BindCreated(Existing::Move)
                );
                assert_eq!(p.on_answer(&answer(400, None, Some(created))), Lesson::Nothing);
            }
            let plain = Policy { mcp: false, ..p };
            let existing = plain.existing(200);
            assert_eq!(
                plain.on_answer(&answer(200, None, Some(Created::Other))),
                Lesson::BindCreated(existing)
            );
        }
    }

    #[test]
    fn a_task_keeps_its_server_a_stream_follows_and_a_target_of_two_is_none() {
        let p = Policy { mcp: true, ..policy() };
        for (announced, none, other, gone) in [
            (Announced::Task, Clash::Keep, Clash::Keep, Clash::Move),
            (Announced::Stream, Clash::Keep, Clash::Move, Clash::Move),
            (Announced::Target, Clash::Keep, Clash::End, Clash::Move),
        ] {
            assert_eq!(p.on_announced(announced, Holder::None, false), none);
            assert_eq!(p.on_announced(announced, Holder::Other, false), other);
            assert_eq!(p.on_announced(announced, Holder::Gone, false), gone);
        }
        // Known to be that of two, it is bound to nobody, whoever announces it.
        for holder in [Holder::None, Holder::Other, Holder::Gone] {
            assert_eq!(p.on_announced(Announced::Target, holder, true), Clash::End);
        }
    }

    #[test]
    fn only_mcp_lets_the_sessions_own_server_end_it() {
        let mut p = Policy { unavailable: Unavailable::Reject, ..policy() };
        let ending = |session| Answer { ends: true, ..answer(204, session, None) };
        assert_eq!(p.on_answer(&ending(Some(Bound::Here))), Lesson::Nothing);
        p.mcp = true;
        assert_eq!(p.on_answer(&ending(Some(Bound::Here))), Lesson::End);
        assert_eq!(p.on_answer(&ending(Some(Bound::Elsewhere))), Lesson::Nothing);
        assert_eq!(p.on_answer(&ending(None)), Lesson::Nothing);
    }
}
