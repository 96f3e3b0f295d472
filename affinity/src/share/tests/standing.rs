use crate::share::secret::Root;
use crate::share::standing::{Standing, Unknown, PROVES_NOTHING};
use crate::time::Tick;

#[test]
fn one_worker_tries_and_the_pauses_grow_to_a_second() {
    let standing = Standing::default();
    assert_eq!(standing.may_try(5, 0), Ok(()));
    assert!(standing.lost(1_000));
    assert!(!standing.lost(1_001));
    // Two workers that look each millisecond.
    let looks = (1_000..12_000).flat_map(|now| [now, now]);
    let tries: Vec<u64> = looks.filter(|now| standing.may_try(*now, 0).is_ok()).collect();
    let pauses: Vec<u64> = tries.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(pauses[..5], [200, 400, 800, 1_000, 1_000]);
    assert!(pauses[3..].iter().all(|pause| *pause == 1_000));
    assert_eq!(standing.found(12_000), Some(11_000));
    assert_eq!(standing.found(12_001), None);
    assert_eq!(standing.may_try(12_001, 0), Ok(()));
}

#[test]
fn an_unknown_id_while_the_store_is_away() {
    let standing = Standing::default();
    // A worker that is not connected yet asks when it is.
    assert_eq!(standing.unknown(false, 1, 30), Unknown::Ask);
    standing.lost(100);
    assert_eq!(standing.unknown(true, 129, 30), Unknown::Ask);
    assert_eq!(standing.unknown(false, 129, 30), Unknown::Unanswered);
    assert_eq!(standing.unknown(false, 130, 30), Unknown::Nobody);
    assert_eq!(standing.away_for(130), Some(30));
}

#[test]
fn after_an_absence_nothing_proves_nothing() {
    let standing = Standing::default();
    assert!(standing.is_proof(0) && !standing.has_to_announce());
    standing.lost(100);
    assert_eq!(standing.found(200), Some(100));
    assert!(!standing.is_proof(200 + PROVES_NOTHING - 1));
    assert!(standing.is_proof(200 + PROVES_NOTHING));
    assert!(standing.has_to_announce());
    standing.announces();
    assert!(!standing.has_to_announce());
    standing.has_not_announced();
    assert!(standing.has_to_announce());
}

#[test]
fn a_session_may_be_stale_until_it_is_used_behind_a_gap() {
    let standing = Standing::default();
    assert!(!standing.may_be_stale(Tick(5)));
    standing.hears_again(Tick(10));
    let stale =
        [9, 10, 11, 9_u32.wrapping_sub(1 << 30)].map(|used| standing.may_be_stale(Tick(used)));
    assert_eq!(stale, [true, true, false, true]);
}

#[test]
fn one_worker_has_the_lease_until_it_ends() {
    let standing = Standing::default();
    assert_eq!(standing.take_lease(1, Tick(0), Tick(10)), Some(true));
    assert_eq!(standing.take_lease(1, Tick(5), Tick(15)), Some(false));
    assert_eq!(standing.take_lease(2, Tick(14), Tick(24)), None);
    assert_eq!(standing.take_lease(2, Tick(15), Tick(25)), Some(true));
    standing.drop_lease(1);
    assert_eq!(standing.take_lease(1, Tick(16), Tick(26)), None);
    standing.drop_lease(2);
    assert_eq!(standing.take_lease(1, Tick(16), Tick(26)), Some(true));
}

#[test]
fn the_secret_is_known_to_all_workers() {
    let standing = Standing::default();
    assert_eq!(standing.root(), None);
    let root = Root::new(core::array::from_fn(|at| at as u8));
    standing.set_root(root);
    assert_eq!(standing.root(), Some(root));
}

#[test]
fn what_the_workers_show() {
    let standing = Standing::default();
    standing.note_waiting(0, 3);
    standing.note_waiting(1, 4);
    standing.note_waiting(1, 2);
    assert_eq!(standing.waiting(), 5);
    assert_eq!(standing.round_trip(50), None);
    (0..98).for_each(|_| standing.note_reply(0));
    [5, 1_000_000].into_iter().for_each(|millis| standing.note_reply(millis));
    let times = [50, 98, 99, 100].map(|percent| standing.round_trip(percent));
    assert_eq!(times, [Some(0), Some(0), Some(7), Some(32_767)]);
}

#[test]
fn one_line_a_minute() {
    let standing = Standing::default();
    let lines: Vec<_> =
        (1..182).filter_map(|second| standing.log_failure(second * 1_000)).collect();
    assert_eq!(lines, [1, 60, 60, 60]);
}
