use super::*;
use crate::time::{Span, Tick};

const NOW: Tick = Tick(1_000_000);
const RULES: Thresholds = Thresholds { pause: Span(100), gone_after: Span(400) };
const REFUSED: Event = Event::AttemptFailed { reason: Reason::Refused, alone: false };
const ALONE: Event = Event::AttemptFailed { reason: Reason::Refused, alone: true };

fn at(tick: u32) -> Tick {
    Tick(NOW.0 + tick)
}

/// A server that has come to a state the usual way, by tick 0.
fn in_state(known: Known) -> Record {
    let events: &[Event] = match known {
        Known::Up => &[],
        Known::Slow => &[Event::Silent; SLOW_CALLS as usize],
        Known::Unreachable => &[Event::Failed(Reason::TimedOut)],
        Known::Gone => {
            let mut record = Record::default();
            for tick in (0..=RULES.gone_after.0).step_by(50) {
                record = record.apply(REFUSED, Tick(NOW.0 - RULES.gone_after.0 + tick), &RULES);
            }
            assert_eq!(record.known, Known::Gone);
            return record;
        }
    };
    events.iter().fold(Record::default(), |record, event| record.apply(*event, NOW, &RULES))
}

#[test]
fn every_state_has_an_answer_to_every_event() {
    use Known::{Gone, Slow, Unreachable, Up};
    let table = [
        (Event::Accepted, [Up, Slow, Up, Up]),
        (Event::Answered, [Up, Up, Up, Up]),
        (Event::Silent, [Up, Slow, Unreachable, Gone]),
        (Event::Failed(Reason::Reset), [Unreachable, Unreachable, Unreachable, Gone]),
        (REFUSED, [Unreachable, Unreachable, Unreachable, Gone]),
        (ALONE, [Unreachable, Unreachable, Unreachable, Gone]),
        (Event::Missing, [Up, Slow, Unreachable, Gone]),
        (Event::Listed, [Up, Slow, Unreachable, Gone]),
    ];
    for (event, after) in table {
        for (known, expected) in Known::ALL.into_iter().zip(after) {
            let before = in_state(known);
            let record = before.apply(event, at(10), &RULES);
            assert_eq!(record.known, expected, "{known:?} × {event:?}");
            let since = if expected == known && (event, known) != (Event::Silent, Slow) {
                before.since
            } else {
                Some(at(10))
            };
            assert_eq!(record.since, since, "{known:?} × {event:?}");
        }
    }
}

#[test]
fn three_silent_calls_in_a_row_make_a_server_slow() {
    let mut record = Record::default();
    for _ in 0..5 {
        record = record.apply(Event::Silent, NOW, &RULES);
        record = record.apply(Event::Silent, NOW, &RULES);
        assert_eq!(record.known, Known::Up);
        assert!(!record.is_plain(), "an answer must be noticed");
        record = record.apply(Event::Accepted, NOW, &RULES);
        assert_eq!(record.silent, 2, "to accept a connection is no answer");
        record = record.apply(Event::Answered, NOW, &RULES);
        assert!(record.is_plain());
    }
    for _ in 0..3 {
        record = record.apply(Event::Silent, NOW, &RULES);
    }
    assert_eq!((record.known, record.reason), (Known::Slow, Reason::Silent));
    assert_eq!(record.last_failure, Some(NOW));
}

#[test]
fn a_server_is_back_for_connections_that_were_begun_before() {
    let back = in_state(Known::Unreachable).apply(Event::Accepted, at(10), &RULES);
    assert!(back.is_back_since(at(9)));
    assert!(!back.is_back_since(at(10)));
    assert!(!in_state(Known::Unreachable).is_back_since(NOW));
    assert!(!Record::default().is_back_since(NOW));
}

#[test]
fn a_slow_server_gets_another_chance_after_fail_timeout() {
    let fail_timeout = Span(150);
    let slow = in_state(Known::Slow);
    assert_eq!(slow.avoids_new(fail_timeout, at(150)), Avoided::Slow);
    assert_eq!(slow.avoids_new(fail_timeout, at(151)), Avoided::No);
    let again = slow.apply(Event::Silent, at(160), &RULES);
    assert_eq!(again.avoids_new(fail_timeout, at(161)), Avoided::Slow);
    for known in [Known::Unreachable, Known::Gone] {
        assert_eq!(in_state(known).avoids_new(fail_timeout, at(1000)), Avoided::Unreachable);
    }
    assert_eq!(in_state(Known::Up).avoids_new(fail_timeout, NOW), Avoided::No);
}

/// Attempts that fail every so many ticks, up to and with the last one; when the server was gone.
fn gone_at(every: u32, last: u32, event: Event) -> Option<u32> {
    let mut record = in_state(Known::Unreachable);
    for tick in (0..=last).step_by(every as usize) {
        record = record.apply(event, at(tick), &RULES);
        if record.known == Known::Gone {
            return Some(tick);
        }
    }
    None
}

#[test]
fn a_server_is_gone_when_attempts_have_failed_for_gone_after() {
    assert_eq!(gone_at(10, 1000, REFUSED), Some(400));
    assert_eq!(gone_at(100, 1000, REFUSED), Some(400));
    // Silence is no evidence: with longer pauses each attempt stands alone.
    assert_eq!(gone_at(101, 100_000, REFUSED), None);
    // While no other server can be reached, the fault is nearer.
    assert_eq!(gone_at(10, 100_000, ALONE), None);
    // Requests alone prove nothing.
    assert_eq!(gone_at(10, 100_000, Event::Failed(Reason::Refused)), None);
}

#[test]
fn what_failed_while_all_were_unreachable_counts_for_nothing_when_the_first_is_back() {
    let mut record = in_state(Known::Unreachable);
    for tick in (0..=2000).step_by(10) {
        record = record.apply(ALONE, at(tick), &RULES);
    }
    for tick in (2010..2400).step_by(10) {
        record = record.apply(REFUSED, at(tick), &RULES);
        assert_eq!(record.known, Known::Unreachable, "at {tick}");
    }
    assert_eq!(record.apply(REFUSED, at(2400), &RULES).known, Known::Gone);
}

#[test]
fn the_span_begins_anew_after_an_answer() {
    let mut record = in_state(Known::Unreachable);
    for tick in (0..400).step_by(10) {
        record = record.apply(REFUSED, at(tick), &RULES);
    }
    record = record.apply(Event::Accepted, at(399), &RULES);
    assert_eq!((record.known, record.failing), (Known::Up, None));
    assert_eq!(record.last_failure, Some(at(390)));
    record = record.apply(REFUSED, at(405), &RULES).apply(REFUSED, at(410), &RULES);
    assert_eq!(record.known, Known::Unreachable);
}

const PLACE: Member = Member { gone_after: Span(400), down: false, alone: false };

#[test]
fn each_upstream_has_its_own_gone_after() {
    let mut record = in_state(Known::Unreachable);
    for tick in (0..=200).step_by(10) {
        record = record.apply(REFUSED, at(tick), &RULES);
    }
    let known = |gone_after, alone| {
        record.view(&Member { gone_after: Span(gone_after), alone, ..PLACE }, at(200)).known
    };
    assert_eq!(known(200, false), Known::Gone);
    assert_eq!(known(201, false), Known::Unreachable);
    assert_eq!(known(200, true), Known::Unreachable, "no server is gone while all are unreachable");
}

#[test]
fn a_server_that_is_down_is_unreachable_and_then_gone_whatever_it_answers() {
    let mut record = Record { down_since: Some(NOW), ..Record::default() };
    for (tick, known) in [(0, Known::Unreachable), (399, Known::Unreachable), (400, Known::Gone)] {
        record = record.apply(Event::Answered, at(tick), &RULES);
        let view = record.view(&Member { down: true, ..PLACE }, at(tick));
        assert_eq!((view.known, view.reason), (known, Reason::Administrator));
        assert_eq!(view.since, Some(NOW));
        // Another upstream of the zone may have it in service.
        assert_eq!(record.view(&PLACE, at(tick)).known, Known::Up);
    }
}

#[test]
fn an_address_that_is_not_in_dns_is_gone_after_gone_after_even_if_it_answers() {
    let mut record = Record { resolved: true, ..Record::default() };
    for tick in (0..400).step_by(50) {
        record = record.apply(Event::Missing, at(tick), &RULES);
        record = record.apply(Event::Answered, at(tick), &RULES);
        let view = record.view(&PLACE, at(tick));
        assert_eq!((view.known, view.reason), (Known::Up, Reason::NotInDns));
        assert_eq!(view.since, Some(NOW));
    }
    let gone = record.apply(Event::Missing, at(400), &RULES);
    assert_eq!(gone.view(&PLACE, at(400)).known, Known::Gone);
    let back = gone.apply(Event::Listed, at(410), &RULES);
    assert_eq!(back.view(&PLACE, at(410)).known, Known::Up);
    // After too long a time without an answer of DNS, the count begins again.
    let late = record.apply(Event::Missing, at(500), &RULES);
    assert_eq!(late.missing, Some(Run { first: at(500), last: at(500) }));
}

/// All events in all orders of a length, from a start, each with a check.
fn walk(record: Record, tick: u32, left: u32, check: &mut impl FnMut(Record, Event, Record, Tick)) {
    if left == 0 {
        return;
    }
    let events = [
        Event::Accepted,
        Event::Answered,
        Event::Silent,
        Event::Failed(Reason::Refused),
        REFUSED,
        ALONE,
        Event::Missing,
        Event::Listed,
    ];
    for event in events {
        for pause in [1, 90, 150] {
            let now = at(tick + pause);
            let next = record.apply(event, now, &RULES);
            check(record, event, next, now);
            walk(next, tick + pause, left - 1, check);
        }
    }
}

#[test]
fn one_answer_leads_to_up_and_no_event_touches_what_the_administrator_wants() {
    for known in Known::ALL {
        let start = Record { down_since: Some(NOW), resolved: true, ..in_state(known) };
        walk(start, 0, 3, &mut |before, event, after, now| {
            let answered = after.apply(Event::Answered, now, &RULES);
            assert_eq!((answered.known, answered.silent), (Known::Up, 0));
            assert_eq!(answered.last_success, Some(now));
            assert_eq!((after.down_since, after.resolved), (Some(NOW), true));
            if after.known == Known::Gone && before.known != Known::Gone {
                let run = after.failing.unwrap();
                assert!(matches!(event, REFUSED) && run.length() >= RULES.gone_after);
            }
            assert_eq!(Record::from_words(after.to_words()), after);
        });
    }
}

#[test]
fn from_every_state_new_sessions_come_again_without_a_request() {
    // Attempts go on as long as a server is unreachable or gone, and the first that is accepted makes
    // it reachable; a slow one has its time.
    let fail_timeout = Span(150);
    for known in Known::ALL {
        walk(in_state(known), 0, 3, &mut |_, _, record, now| {
            let later = Tick(now.0 + fail_timeout.0 + 1);
            let record = match record.avoids_new(fail_timeout, later) {
                Avoided::Unreachable => record.apply(Event::Accepted, later, &RULES),
                _ => record,
            };
            assert_eq!(record.avoids_new(fail_timeout, later), Avoided::No);
        });
    }
}

#[test]
fn any_words_are_a_record() {
    for word in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
        for place in 0..Record::WORDS {
            let mut words = [0; Record::WORDS];
            words[place] = word;
            let record = Record::from_words(words);
            let _ = record.view(&PLACE, NOW);
            let _ = record.apply(REFUSED, NOW, &RULES);
        }
    }
}
