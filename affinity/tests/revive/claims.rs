//! One of many requests revives a session.

use affinity::revive::{Cause, Claim, ClientBody, EventId, Reply, ServerRequests, Ticket};

use super::*;

/// Ticks of a second, rounded up.
const SECOND: u32 = 16;

const REPLY: Reply = Reply { status: 404, code: Some(-32001) };
const OTHER: Reply = Reply { status: 400, code: None };
const ANSWER: Cause = Cause::Answer(REPLY);

struct Scene {
    store: Store,
    key: Key,
    _memory: (Keys, Mapping),
}

fn scene() -> Scene {
    let (keys, mapping) = (Keys::fresh(), Mapping::new(Store::MIN_SIZE));
    let (store, key) = (mapping.store(), keys.key("a"));
    assert!(store.put(key, b"record", Tick(0), all_used(Tick(0))));
    Scene { store, key, _memory: (keys, mapping) }
}

impl Scene {
    fn claim(&self, cause: Cause, revivals: u16, now: u32) -> Claim {
        self.store.claim(self.key, cause, revivals, Tick(now))
    }

    fn mine(&self, cause: Cause, revivals: u16, now: u32) -> Ticket {
        match self.claim(cause, revivals, now) {
            Claim::Mine(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn revived(&self, ticket: Ticket, now: u32) -> Option<u16> {
        self.store.revived(self.key, ticket, b"new record", None, Tick(now), all_used(Tick(now)))
    }
}

#[test]
fn one_claims_the_session_and_the_others_wait_until_it_is_revived() {
    let scene = scene();
    let ticket = scene.mine(Cause::Gone, 0, 100);
    let Claim::Taken(until) = scene.claim(ANSWER, 0, 101) else { panic!() };
    assert!(until.0 > 100 + 4 * SECOND && until.0 < 100 + 6 * SECOND);
    assert!(!scene.store.is_revived(scene.key));
    assert_eq!(scene.revived(ticket, 110), Some(1));
    assert!(scene.store.is_revived(scene.key));
    let kept = scene.store.get(scene.key).unwrap();
    assert_eq!((kept.sealed, kept.revivals), (b"new record".to_vec(), 1));
    // Those that waited, and those whose request was sent before, go on with the new id.
    assert_eq!(scene.claim(Cause::Gone, 0, 111), Claim::Revived(None));
    assert_eq!(scene.claim(ANSWER, 0, 100_000), Claim::Revived(None));
    let ticket = scene.mine(Cause::Gone, 1, 100_000);
    assert_eq!(scene.revived(ticket, 100_000), Some(2));
    assert_eq!(scene.store.stats().kept, 1);
}

#[test]
fn a_claim_ends_at_its_deadline_and_is_then_of_another() {
    let scene = scene();
    let first = scene.mine(Cause::Gone, 0, 100);
    assert!(scene.store.renew(scene.key, first, Tick(100 + 4 * SECOND)));
    let Claim::Taken(until) = scene.claim(Cause::Gone, 0, 100 + 8 * SECOND) else { panic!() };
    let second = scene.mine(Cause::Gone, 0, until.0);
    // The first one comes too late.
    assert!(!scene.store.renew(scene.key, first, until));
    assert!(!scene.store.failed(scene.key, first, until));
    assert!(!scene.store.alive(scene.key, first, REPLY, until));
    assert_eq!(scene.revived(first, until.0), None);
    assert_eq!(scene.store.get(scene.key).unwrap().sealed, b"record");
    assert_eq!(scene.revived(second, until.0), Some(1));
    assert_eq!(scene.revived(second, until.0), None);
    // A late one is welcome as long as nobody else has claimed the session.
    let late = scene.mine(Cause::Gone, 1, 10_000);
    assert_eq!(scene.revived(late, 20_000), Some(2));
}

#[test]
fn a_claim_does_not_hold_for_a_session_that_takes_the_place_of_another() {
    let scene = scene();
    let ticket = scene.mine(Cause::Gone, 0, 100);
    assert!(scene.store.put(scene.key, b"again", Tick(100), all_used(Tick(100))));
    assert_eq!(scene.revived(ticket, 101), None);
    scene.mine(Cause::Gone, 0, 101);
    assert_eq!(scene.revived(ticket, 101), None);
    assert!(scene.store.remove(scene.key));
    assert_eq!(scene.claim(Cause::Gone, 0, 102), Claim::Absent);
    assert!(!scene.store.failed(scene.key, ticket, Tick(102)));
}

#[test]
fn a_claim_that_is_given_back_leaves_no_trace() {
    let scene = scene();
    let ticket = scene.mine(ANSWER, 0, 100);
    assert!(scene.store.give_back(scene.key, ticket, Tick(100)));
    assert!(!scene.store.give_back(scene.key, ticket, Tick(100)));
    let ticket = scene.mine(ANSWER, 0, 100);
    assert!(scene.store.alive(scene.key, ticket, REPLY, Tick(100)));
    let ticket = scene.mine(Cause::Gone, 0, 100);
    assert!(scene.store.give_back(scene.key, ticket, Tick(100)));
    assert!(matches!(scene.claim(ANSWER, 0, 101), Claim::Alive(_)));
}

#[test]
fn one_ping_is_asked_in_ten_seconds() {
    let scene = scene();
    let ticket = scene.mine(ANSWER, 0, 100);
    assert!(scene.store.alive(scene.key, ticket, REPLY, Tick(110)));
    let Claim::Alive(until) = scene.claim(ANSWER, 0, 111) else { panic!() };
    assert!((110 + 9 * SECOND..=110 + 10 * SECOND).contains(&until.0), "{until:?}");
    assert_eq!(scene.claim(ANSWER, 0, until.0 - 1), Claim::Alive(until));
    // Its server is gone: no ping is needed.
    let ticket = scene.mine(Cause::Gone, 0, 111);
    assert!(scene.store.alive(scene.key, ticket, REPLY, Tick(110)));
    scene.mine(ANSWER, 0, until.0);
}

#[test]
fn after_another_answer_a_ping_is_asked_at_once() {
    for first in
        [REPLY, OTHER, Reply { status: 404, code: None }, Reply { status: 404, code: Some(0) }]
    {
        let scene = scene();
        let ticket = scene.mine(Cause::Answer(first), 0, 100);
        assert!(scene.store.alive(scene.key, ticket, first, Tick(100)));
        assert!(matches!(scene.claim(Cause::Answer(first), 0, 101), Claim::Alive(_)));
        scene.mine(Cause::Answer(Reply { status: 422, code: first.code }), 0, 101);
    }
}

#[test]
fn after_a_ping_without_an_answer_the_next_one_is_asked_in_a_second() {
    let scene = scene();
    let ticket = scene.mine(ANSWER, 0, 100);
    assert!(scene.store.silent(scene.key, ticket, Tick(100)));
    for reply in [REPLY, OTHER] {
        let claim = scene.claim(Cause::Answer(reply), 0, 100 + SECOND - 1);
        assert_eq!(claim, Claim::Alive(Tick(100 + SECOND)));
    }
    scene.mine(ANSWER, 0, 100 + SECOND);
}

#[test]
fn an_answer_that_a_new_session_gives_as_well_is_no_evidence_for_ten_minutes() {
    let scene = scene();
    let ticket = scene.mine(ANSWER, 0, 100);
    assert!(scene.store.distrusted(scene.key, ticket, REPLY, Tick(100)));
    assert!(matches!(scene.claim(ANSWER, 0, 101), Claim::Resting(_)));
    let claim = scene.claim(ANSWER, 0, 100 + 599 * 1000 / 64);
    assert_eq!(claim, Claim::Alive(Tick(100 + 600_000 / 64)));
    // Another answer, or a server that is gone, is evidence.
    let ticket = scene.mine(Cause::Answer(OTHER), 0, 100 + 2 * SECOND);
    assert!(scene.store.give_back(scene.key, ticket, Tick(101)));
    let ticket = scene.mine(Cause::Gone, 0, 100 + 2 * SECOND);
    assert!(scene.store.give_back(scene.key, ticket, Tick(101)));
    scene.mine(ANSWER, 0, 100 + 600_000 / 64);
}

#[test]
fn who_comes_after_a_revival_hears_which_answer_has_led_to_it() {
    let scene = scene();
    for (revivals, lost_by) in [Some(REPLY), None, Some(OTHER)].into_iter().enumerate() {
        let now = 100 + 1000 * revivals as u32;
        let ticket = scene.mine(ANSWER, revivals as u16, now);
        let used = all_used(Tick(now));
        let revived = scene.store.revived(scene.key, ticket, b"new", lost_by, Tick(now), used);
        assert_eq!(revived, Some(revivals as u16 + 1));
        assert_eq!(scene.claim(ANSWER, revivals as u16, now), Claim::Revived(lost_by));
    }
    // Who has missed more than one revival hears nothing of the answer.
    assert_eq!(scene.claim(ANSWER, 0, 10_000), Claim::Revived(None));
}

#[test]
fn revivals_that_follow_each_other_are_further_and_further_apart() {
    let scene = scene();
    let (mut now, mut rests) = (100, Vec::new());
    for _ in 0..9 {
        let ticket = scene.mine(Cause::Gone, 0, now);
        assert!(scene.store.failed(scene.key, ticket, Tick(now)));
        let Claim::Resting(until) = scene.claim(Cause::Gone, 0, now) else { panic!() };
        assert_eq!(scene.claim(ANSWER, 0, until.0 - 1), Claim::Resting(until));
        rests.push((until.0 - now) / SECOND);
        now = until.0;
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 32, 58, 58, 58]);
    // After a while without one the next rest is short, and a success rests as a failure does.
    now += 62 * SECOND;
    let ticket = scene.mine(Cause::Gone, 0, now);
    assert_eq!(scene.revived(ticket, now), Some(1));
    let Claim::Resting(until) = scene.claim(Cause::Gone, 1, now) else { panic!() };
    assert_eq!(until.0, now + SECOND);
    // A server that is restarted every twenty seconds never leads to a longer rest.
    for revivals in 1..40 {
        now += 20 * SECOND;
        let ticket = scene.mine(ANSWER, revivals, now);
        assert_eq!(scene.revived(ticket, now), Some(revivals + 1));
    }
}

#[test]
fn an_answer_of_the_client_is_sent_only_if_its_question_was_asked_since_the_revival() {
    let scene = scene();
    let mut asked = Vec::new();
    let stream = "data: {\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"elicitation/create\"}\n\n";
    ServerRequests::new().feed(stream.as_bytes(), |id| asked.push(id));
    let mut body = ClientBody::new();
    body.feed(br#"{"jsonrpc":"2.0","id":0,"result":{"action":"accept"}}"#);
    assert!(body.is_answer());
    let may_be_sent = || body.may_be_sent(|id| scene.store.has_request(scene.key, id));
    let note = |revivals| scene.store.note_request(scene.key, revivals, asked[0]);
    // Before a revival nothing is noted: the answer goes on by the rules of any request.
    assert!(!note(0) && !may_be_sent());
    let ticket = scene.mine(Cause::Gone, 0, 100);
    assert_eq!(scene.revived(ticket, 100), Some(1));
    assert!(!may_be_sent());
    // A stream of the lost session.
    assert!(!note(0) && !may_be_sent());
    assert!(note(1) && may_be_sent());
    assert!(note(1) && may_be_sent());
    // The next revival.
    let ticket = scene.mine(Cause::Gone, 1, 1_000);
    assert_eq!(scene.revived(ticket, 1_000), Some(2));
    assert!(!may_be_sent() && !note(1) && !may_be_sent());
    assert!(note(2) && may_be_sent());
}

#[test]
fn an_event_is_known_if_it_was_seen_since_the_revival() {
    let scene = scene();
    let events = ["a", "b", "c"].map(|id| EventId::of(id.as_bytes()));
    let known = || events.map(|id| scene.store.may_have_event(scene.key, id));
    scene.store.note_event(scene.key, 0, events[0]);
    assert_eq!(known(), [false; 3]);
    let ticket = scene.mine(Cause::Gone, 0, 100);
    assert_eq!(scene.revived(ticket, 100), Some(1));
    // A stream of the lost session, and one of the new one.
    scene.store.note_event(scene.key, 0, events[0]);
    scene.store.note_event(scene.key, 1, events[1]);
    assert_eq!(known(), [false, true, false]);
    scene.store.note_event(scene.key, 1, events[0]);
    assert_eq!(known(), [true, true, false]);
    let ticket = scene.mine(Cause::Gone, 1, 1_000);
    assert_eq!(scene.revived(ticket, 1_000), Some(2));
    assert_eq!(known(), [false; 3]);
}

#[test]
fn the_requests_of_a_server_are_known_and_any_if_there_are_too_many() {
    let scene = scene();
    let ticket = scene.mine(Cause::Gone, 0, 100);
    assert_eq!(scene.revived(ticket, 100), Some(1));
    let mut ids = Vec::new();
    for number in 0..40 {
        let stream = format!("data:{{\"id\":{number},\"method\":\"roots/list\"}}\n\n");
        ServerRequests::new().feed(stream.as_bytes(), |id| ids.push(id));
        let last = ids.pop().unwrap();
        assert_eq!(scene.store.has_request(scene.key, last), number > 14);
        ids.push(last);
        assert!(scene.store.note_request(scene.key, 1, last));
        let known: Vec<bool> =
            ids.iter().map(|id| scene.store.has_request(scene.key, *id)).collect();
        assert!(known.iter().all(|known| *known), "{number}");
    }
    let free = scene.store.stats().free;
    assert!(scene.store.remove(scene.key));
    assert_eq!(scene.store.stats().free, free + 256);
    assert!(!scene.store.is_revived(scene.key));
}

#[test]
fn each_revived_session_is_found_without_the_lock_and_few_others_are() {
    let (keys, mapping) = (Keys::fresh(), Mapping::new(Store::MIN_SIZE));
    let store = mapping.store();
    let all: Vec<Key> = (0..1_000).map(|number| keys.key(&format!("s{number}"))).collect();
    // So many that some have the same bit of the filter.
    let (revived, others) = all.split_at(100);
    for key in revived {
        assert!(store.put(*key, b"record", Tick(0), all_used(Tick(0))));
    }
    for key in revived {
        let Claim::Mine(ticket) = store.claim(*key, Cause::Gone, 0, Tick(1)) else { panic!() };
        assert_eq!(store.revived(*key, ticket, b"new", None, Tick(1), all_used(Tick(1))), Some(1));
    }
    assert!(revived.iter().all(|key| store.is_revived(*key)));
    let wrong = others.iter().filter(|key| store.is_revived(**key)).count();
    assert!((1..130).contains(&wrong), "{wrong} of 900");
    let (gone, still) = revived.split_at(50);
    assert!(gone.iter().all(|key| store.remove(*key)));
    assert!(still.iter().all(|key| store.is_revived(*key)));
    assert!(still.iter().all(|key| store.remove(*key)));
    assert!(all.iter().all(|key| !store.is_revived(*key)));
}

#[test]
fn a_full_store_revives_its_sessions() {
    let (keys, mapping) = (Keys::fresh(), Mapping::new(Store::MIN_SIZE));
    let store = mapping.store();
    let all: Vec<Key> = (0..500).map(|number| keys.key(&format!("s{number}"))).collect();
    for key in &all {
        assert!(store.put(*key, &[1; 384], Tick(0), all_used(Tick(0))));
    }
    let last = all[499];
    let Claim::Mine(ticket) = store.claim(last, Cause::Gone, 0, Tick(1)) else { panic!() };
    let evicted = store.stats().evicted;
    assert_eq!(store.revived(last, ticket, &[2; 700], None, Tick(1), all_used(Tick(1))), Some(1));
    assert!(store.stats().evicted > evicted);
    assert_eq!(store.get(last).unwrap().sealed, [2; 700]);
}
