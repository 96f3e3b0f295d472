use crate::share::asking::{Asking, Place};

const HERE: Place = Place { zone: 0, fingerprint: 1 };

/// Runs a question without an answer. Returns when the store was asked, and when each request gave up.
fn without_answer(joins: &[(u64, char)], round_trip: u64) -> (Vec<u64>, Vec<(u64, char)>) {
    let mut asking = Asking::new(200);
    let (mut asked, mut over, mut reply_at) = (Vec::new(), Vec::new(), None);
    for now in 0..1000 {
        if reply_at == Some(now) {
            reply_at = None;
            over.extend(asking.nothing(HERE).into_iter().map(|request| (now, request)));
        }
        for (_, request) in joins.iter().filter(|(at, _)| *at == now) {
            if asking.add(HERE, *request, now).unwrap() {
                asked.push(now);
                reply_at = Some(now + round_trip);
            }
        }
        for _ in asking.due(now) {
            asked.push(now);
            reply_at = Some(now + round_trip);
        }
    }
    assert!(asking.is_empty());
    (asked, over)
}

#[test]
fn the_store_is_asked_again_and_again_within_the_time() {
    let (asked, over) = without_answer(&[(0, 'a')], 1);
    assert_eq!(asked, [0, 5, 15, 35, 75, 155]);
    assert_eq!(over, [(156, 'a')]);
}

#[test]
fn requests_for_one_session_share_the_question() {
    let (asked, over) = without_answer(&[(0, 'a'), (0, 'b'), (100, 'c')], 1);
    // The last one is asked for once more, within its time.
    assert_eq!(asked, [0, 5, 15, 35, 75, 155, 315].map(|at| at.min(315))[..asked.len()]);
    let first: Vec<_> = over.iter().filter(|(_, request)| *request != 'c').collect();
    assert_eq!(first, [&(156, 'a'), &(156, 'b')]);
    let (at, _) = over.iter().find(|(_, request)| *request == 'c').unwrap();
    assert!((101..300).contains(at), "{at}");
}

#[test]
fn one_question_at_a_time() {
    let (asked, _) = without_answer(&[(0, 'a')], 20);
    assert!(asked.windows(2).all(|two| two[1] - two[0] >= 20), "{asked:?}");
}

#[test]
fn an_answer_is_for_all_that_wait() {
    let mut asking = Asking::new(200);
    let other = Place { zone: 1, fingerprint: 1 };
    assert_eq!(asking.add(HERE, 'a', 0), Ok(true));
    assert_eq!(asking.add(HERE, 'b', 3), Ok(false));
    assert_eq!(asking.add(other, 'c', 3), Ok(true));
    assert_eq!((asking.next_at(), asking.len()), (None, 2));
    assert!(asking.nothing(HERE).is_empty());
    assert_eq!((asking.next_at(), asking.due(4)), (Some(5), vec![]));
    assert_eq!((asking.due(5), asking.next_at()), (vec![HERE], None));
    assert_eq!(asking.answered(HERE), ['a', 'b']);
    assert!(asking.answered(HERE).is_empty());
    assert_eq!(asking.clear(), ['c']);
}
