//! The store as a source of answers.

use affinity::share::asking::Place;
use affinity::share::standing::Unknown;
use affinity::table::Span;

use super::member;
use crate::conf::source::{Answer, Question, Source};
use crate::nginx;

/// Asks the store of the question's zone.
pub(super) struct Store {
    timeout: Span,
}

impl Store {
    /// A request waits for `timeout` milliseconds.
    pub(super) fn new(timeout: u64) -> Store {
        Store { timeout: Span::from_millis(timeout) }
    }
}

impl Source for Store {
    fn ask(&self, question: &Question) -> Answer<'_> {
        let share = question.zone.share();
        let Some((share, member)) = share.and_then(|share| Some((share, member::of(share)?)))
        else {
            return Answer::Failed;
        };
        match member.standing(nginx::millis()) {
            Unknown::Unanswered => Answer::Failed,
            Unknown::Nobody => Answer::Nobody,
            Unknown::Ask => {
                let place = Place { zone: share.zone, fingerprint: question.key.fingerprint() };
                match member.ask(place, question.ticket) {
                    true => Answer::Wait,
                    false => Answer::Failed,
                }
            }
        }
    }

    fn revives(&self) -> bool {
        false
    }

    fn revive(&self, _: &Question) -> Answer<'_> {
        Answer::Nobody
    }

    fn timeout(&self) -> Span {
        self.timeout
    }
}
