use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::{select, Index};

use super::*;
use crate::policy::Presented;
use crate::table::Kind;

const STATES: [State; 6] = [
    State::Asked,
    State::Waiting,
    State::Reviving,
    State::Found,
    State::Unknown,
    State::Unavailable,
];

const EVENTS: [Event; 6] =
    [Event::Server, Event::Nobody, Event::Wait, Event::Failed, Event::TimedOut, Event::Refused];

#[test]
fn the_next_state_by_state_and_event() {
    use State::{Asked, Found, Reviving, Unavailable, Unknown, Waiting};
    // Columns as in `EVENTS`. `Nobody` has two: without and with revival.
    let table = [
        (Asked, [Found, Unknown, Reviving, Waiting, Unavailable, Unavailable, Unavailable]),
        (Waiting, [Found, Unknown, Reviving, Waiting, Unavailable, Unavailable, Unavailable]),
        (Reviving, [Found, Unknown, Unknown, Reviving, Unavailable, Unavailable, Unavailable]),
        (Found, [Found; 7]),
        (Unknown, [Unknown; 7]),
        (Unavailable, [Unavailable; 7]),
    ];
    for (state, [server, nobody, nobody_revives, wait, failed, timed_out, refused]) in table {
        let columns = [
            (server, server),
            (nobody, nobody_revives),
            (wait, wait),
            (failed, failed),
            (timed_out, timed_out),
            (refused, refused),
        ];
        for (event, (plain, revives)) in EVENTS.into_iter().zip(columns) {
            assert_eq!(state.on(event, false), plain, "{state:?}, {event:?}");
            assert_eq!(state.on(event, true), revives, "{state:?}, {event:?}, revives");
        }
    }
}

#[test]
fn only_an_answer_makes_an_id_unknown() {
    for state in STATES {
        let presented = match state {
            State::Unknown => Presented::Unknown(Kind::Session),
            _ => Presented::Unanswered(Kind::Session),
        };
        assert_eq!(state.presented(Kind::Session), presented);
    }
}

#[test]
fn a_list_has_a_bound_and_room_again_after_a_removal() {
    let mut list = Slots::new();
    let first = list.insert('a', 2).unwrap();
    let second = list.insert('b', 2).unwrap();
    assert_eq!(list.insert('c', 2), None);
    assert_eq!(list.remove(first), Some('a'));
    let third = list.insert('c', 2).unwrap();
    assert_ne!(first, third);
    assert_eq!(list.get(first), None);
    assert_eq!(list.remove(first), None);
    assert_eq!((list.get(second), list.get(third), list.len()), (Some(&'b'), Some(&'c'), 2));
}

proptest! {
    /// However the events follow each other: a course ends by one of them and does not go on, it revives at
    /// most once, and nothing but a source that says so makes an id found or unknown.
    #[test]
    fn a_course_ends_once(
        events in proptest::collection::vec(select(EVENTS.to_vec()), 0..12),
        revives: bool,
    ) {
        let mut states = vec![State::Asked];
        for event in &events {
            let state = states.last().unwrap().on(*event, revives);
            states.push(state);
        }
        let end = states.iter().position(|state| state.is_final());
        if let Some(end) = end {
            prop_assert!(states[end..].iter().all(|state| *state == states[end]));
            let by = events[end - 1];
            match states[end] {
                State::Found => prop_assert_eq!(by, Event::Server),
                State::Unknown => prop_assert_eq!(by, Event::Nobody),
                _ => prop_assert!(matches!(by, Event::Failed | Event::TimedOut | Event::Refused)),
            }
        } else {
            let nobody = events.iter().filter(|event| **event == Event::Nobody).count();
            prop_assert!(nobody <= usize::from(revives));
            prop_assert!(events.iter().all(|it| matches!(it, Event::Wait | Event::Nobody)));
        }
        let begins = states.windows(2);
        let begins = begins.filter(|it| it[0] != State::Reviving && it[1] == State::Reviving);
        prop_assert!(begins.count() <= usize::from(revives));
    }

    /// A list is a map from tickets to values.
    #[test]
    fn a_list_is_a_map(steps in proptest::collection::vec((any::<bool>(), any::<Index>()), 0..200)) {
        const MOST: usize = 8;
        let (mut list, mut model, mut all) = (Slots::new(), HashMap::new(), Vec::new());
        for (step, (inserts, which)) in steps.into_iter().enumerate() {
            if inserts {
                let ticket = list.insert(step, MOST);
                prop_assert_eq!(ticket.is_some(), model.len() < MOST);
                if let Some(ticket) = ticket {
                    prop_assert_eq!(model.insert(ticket, step), None);
                    all.push(ticket);
                }
            } else if !all.is_empty() {
                let ticket = *which.get(&all);
                prop_assert_eq!(list.remove(ticket), model.remove(&ticket));
            }
            prop_assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
            for ticket in &all {
                prop_assert_eq!(list.get(*ticket), model.get(ticket));
            }
        }
    }
}
