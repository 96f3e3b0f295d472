use super::*;
use crate::table::{Existing, Kind};
use crate::time::Span;

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

fn answer(status: u16, session: Option<AnsweredBy>, created: Option<Created>) -> Answer {
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
    assert_eq!(p.on_lookup(Presented::Unknown(Kind::Session)), (Status::Unknown, Route::Balance));
    p.unknown = Unknown::Reject;
    assert_eq!(
        p.on_lookup(Presented::Unknown(Kind::Session)),
        (Status::Unknown, Route::Reject(Rejection::NotFound))
    );
}

#[test]
fn an_id_that_nobody_could_be_asked_for_is_balanced_or_rejected_with_503() {
    let rejected = (Status::Unavailable, Route::Reject(Rejection::Unavailable));
    let balanced = (Status::Unavailable, Route::Balance);
    for (unknown, kind, route) in [
        (Unknown::Balance, Kind::Session, balanced),
        (Unknown::Reject, Kind::Session, rejected),
        (Unknown::Reject, Kind::Sse, balanced),
        (Unknown::Reject, Kind::Task, balanced),
    ] {
        let p = Policy { unknown, ..policy() };
        assert_eq!(p.on_lookup(Presented::Unanswered(kind)), route);
    }
}

#[test]
fn an_answer_does_not_bind_the_id_that_nobody_could_be_asked_for() {
    for rules in [Rules::Affinity, Rules::Plus] {
        for mcp in [false, true] {
            let p = Policy { rules, mcp, ..policy() };
            let bound = |created| p.on_answer(&answer(200, None, Some(created))) != Change::Nothing;
            assert!(!bound(Created::Unanswered), "{rules:?}, mcp {mcp}");
            assert!(bound(Created::Presented) && bound(Created::Other), "{rules:?}, mcp {mcp}");
        }
    }
}

#[test]
fn reject_answers_404_when_the_server_is_gone_and_503_before() {
    let p = Policy { unavailable: Unavailable::Reject, ..policy() };
    let gone = (Status::Gone, Route::Reject(Rejection::Gone));
    let away = (Status::Unavailable, Route::Reject(Rejection::Unavailable));
    for (kind, opens_stream) in [(Kind::Session, false), (Kind::Session, true), (Kind::Sse, false)]
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
        assert_eq!(p.on_lookup(Presented::Unknown(Kind::Sse)).1, Route::Balance);
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
    assert_eq!(p.on_answer(&answer(401, None, created)), Change::BindCreated(Existing::Keep));
    p.mcp = true;
    assert_eq!(p.on_answer(&answer(401, None, created)), Change::Nothing);
    assert_eq!(p.on_answer(&answer(204, None, created)), Change::BindCreated(Existing::Move));
}

#[test]
fn only_rebind_and_below_400_move_a_session_and_only_if_its_server_could_not_be_reached() {
    let instead = Some(AnsweredBy::Instead);
    let mut p = policy();
    for status in [101, 200, 204, 302, 304, 399] {
        assert_eq!(
            p.on_answer(&answer(status, instead, None)),
            Change::BindPresented(Existing::Move),
            "{status}"
        );
    }
    for status in [400, 401, 404, 500, 503] {
        assert_eq!(p.on_answer(&answer(status, instead, None)), Change::Nothing, "{status}");
    }
    let mcp = Policy { mcp: true, ..policy() };
    assert_eq!(mcp.on_answer(&answer(302, instead, None)), Change::Nothing);
    assert_eq!(p.on_answer(&answer(404, instead, None)), Change::Nothing);
    assert_eq!(
        p.on_answer(&answer(404, instead, Some(Created::Presented))),
        Change::BindCreated(Existing::Keep)
    );
    let elsewhere = Some(AnsweredBy::Other);
    assert_eq!(p.on_answer(&answer(200, elsewhere, None)), Change::Nothing);
    assert_eq!(
        p.on_answer(&answer(200, elsewhere, Some(Created::Presented))),
        Change::BindCreated(Existing::Keep)
    );
    for unavailable in [Unavailable::Balance, Unavailable::Reject] {
        p.unavailable = unavailable;
        assert_eq!(p.on_answer(&answer(200, instead, None)), Change::Nothing);
        assert_eq!(
            p.on_answer(&answer(200, instead, Some(Created::Presented))),
            Change::BindCreated(Existing::Keep)
        );
    }
}

#[test]
fn a_backup_that_stands_in_takes_no_session_over_and_gets_those_that_begin_there() {
    let p = policy();
    for session in [Some(AnsweredBy::Instead), Some(AnsweredBy::Other)] {
        let by = |created| Answer { stands_in: true, ..answer(200, session, created) };
        let keep = Change::BindCreated(Existing::Keep);
        assert_eq!(p.on_answer(&by(None)), Change::Nothing);
        assert_eq!(p.on_answer(&by(Some(Created::Presented))), keep);
        assert_eq!(p.on_answer(&by(Some(Created::Other))), keep);
    }
}

#[test]
fn of_several_requests_with_an_id_that_the_client_made_the_first_binds_it() {
    let mut p = policy();
    let again = answer(200, None, Some(Created::Presented));
    assert_eq!(p.on_answer(&again), Change::BindCreated(Existing::Keep));
    // In MCP the newest answer has the id.
    p.mcp = true;
    assert_eq!(p.on_answer(&again), Change::BindCreated(Existing::Move));
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
fn an_answer_of_the_sessions_own_server_changes_nothing() {
    let here = Some(AnsweredBy::Own);
    let p = policy();
    assert_eq!(p.on_answer(&answer(200, here, None)), Change::Nothing);
    assert_eq!(p.on_answer(&answer(200, here, Some(Created::Presented))), Change::Nothing);
    assert_eq!(
        p.on_answer(&answer(200, here, Some(Created::Other))),
        Change::BindCreated(Existing::Move)
    );
}

#[test]
fn plus_lets_a_session_follow_every_answer() {
    let p = Policy { rules: Rules::Plus, learn: Moment::End, ..policy() };
    for status in [200, 404, 500] {
        for bound in [AnsweredBy::Own, AnsweredBy::Other, AnsweredBy::Instead] {
            assert_eq!(
                p.on_answer(&answer(status, Some(bound), None)),
                Change::BindPresented(Existing::Move)
            );
            assert_eq!(
                p.on_answer(&answer(status, Some(bound), Some(Created::Other))),
                Change::BindCreated(Existing::Move)
            );
        }
        assert_eq!(p.on_answer(&answer(status, None, None)), Change::Nothing);
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
    assert_eq!(p.on_lookup(Presented::Unknown(Kind::Task)), (Status::Unknown, Route::Balance));
    assert_eq!(p.on_unavailable(Kind::Task, Absence::Gone, false), (Status::Gone, Route::Afresh));
    assert_eq!(
        p.on_unavailable(Kind::Task, Absence::Full, false),
        (Status::Unavailable, Route::Reject(Rejection::Unavailable))
    );
}

#[test]
fn an_id_in_a_query_or_a_leftover_is_never_rejected_and_contradiction_always() {
    for unknown in [Unknown::Balance, Unknown::Reject] {
        let p = Policy { unknown, mcp: true, ..policy() };
        for presented in [Presented::Unknown(Kind::Sse), Presented::Leftover] {
            assert_eq!(p.on_lookup(presented), (Status::Unknown, Route::Balance));
        }
        assert_eq!(
            p.on_lookup(Presented::Ambiguous),
            (Status::Unknown, Route::Reject(Rejection::Ambiguous))
        );
    }
}

#[test]
fn in_mcp_an_initialize_is_spared_whatever_the_zone_says_of_its_session() {
    let p = Policy { unavailable: Unavailable::Reject, mcp: true, ..policy() };
    let plain = Policy { mcp: false, ..p };
    for (why, spared) in [
        (Rejection::NotFound, true),
        (Rejection::Gone, true),
        (Rejection::Unavailable, true),
        (Rejection::Ambiguous, false),
    ] {
        assert_eq!(p.spares_initialize(Kind::Session, why), spared);
        for kind in [Kind::Sse, Kind::Task] {
            assert!(!p.spares_initialize(kind, why));
        }
        assert!(!plain.spares_initialize(Kind::Session, why));
    }
}

#[test]
fn in_mcp_the_newest_answer_to_a_request_without_session_has_the_id() {
    for unavailable in [Unavailable::Balance, Unavailable::Rebind, Unavailable::Reject] {
        let p = Policy { unavailable, mcp: true, ..policy() };
        for created in [Created::Presented, Created::Other] {
            assert_eq!(
                p.on_answer(&answer(200, None, Some(created))),
                Change::BindCreated(Existing::Move)
            );
            assert_eq!(p.on_answer(&answer(400, None, Some(created))), Change::Nothing);
        }
        let plain = Policy { mcp: false, ..p };
        let existing = plain.existing(200);
        assert_eq!(
            plain.on_answer(&answer(200, None, Some(Created::Other))),
            Change::BindCreated(existing)
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
    // A target that is known to be shared is bound to no server, whichever announces it.
    for holder in [Holder::None, Holder::Other, Holder::Gone] {
        assert_eq!(p.on_announced(Announced::Target, holder, true), Clash::End);
    }
}

#[test]
fn only_mcp_lets_the_sessions_own_server_end_it() {
    let mut p = Policy { unavailable: Unavailable::Reject, ..policy() };
    let ending = |session| Answer { ends: true, ..answer(204, session, None) };
    assert_eq!(p.on_answer(&ending(Some(AnsweredBy::Own))), Change::Nothing);
    p.mcp = true;
    assert_eq!(p.on_answer(&ending(Some(AnsweredBy::Own))), Change::End);
    assert_eq!(p.on_answer(&ending(Some(AnsweredBy::Other))), Change::Nothing);
    assert_eq!(p.on_answer(&ending(None)), Change::Nothing);
}
