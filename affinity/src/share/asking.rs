//! The questions of a worker that the store has not answered with a session yet.
//!
//! A question is asked once, however many requests wait for its answer. While the store has nothing, it is
//! asked again 5, 15, 35, 75, 155 ms (and so on) after the first time: the machine that has learned the session
//! may be further away from the store than this one.

use std::collections::HashMap;

/// The session that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The number of the zone.
    pub zone: u16,
    /// The key of the session.
    pub fingerprint: u64,
}

/// Milliseconds between the first two questions. It doubles.
const FIRST: u64 = 5;
/// So often it doubles at most.
const MAX_DOUBLED: u32 = 20;

/// The questions. `T` names a request.
#[derive(Debug)]
pub struct Asking<T> {
    questions: HashMap<Place, Question<T>>,
    /// Milliseconds that a request waits.
    timeout: u64,
    /// No question is due earlier.
    earliest: Option<u64>,
}

#[derive(Debug)]
struct Question<T> {
    /// The requests, and when each began to wait.
    waiting: Vec<(T, u64)>,
    first_at: u64,
    /// How often the store was asked.
    asked: u32,
    /// When it is asked again; `None` while its answer is awaited.
    again_at: Option<u64>,
}

fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

impl<T> Question<T> {
    /// The requests; none if memory is short: then they wait until their time is over.
    fn requests(self) -> Vec<T> {
        let mut requests = Vec::new();
        if requests.try_reserve_exact(self.waiting.len()).is_ok() {
            requests.extend(self.waiting.into_iter().map(|(request, _)| request));
        }
        requests
    }
}

/// Memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl<T> Asking<T> {
    /// No questions. A request waits for `timeout` milliseconds.
    pub fn new(timeout: u64) -> Asking<T> {
        Asking { questions: HashMap::new(), timeout, earliest: None }
    }

    /// Adds a request to the question about a session. Returns whether the store is to be asked now.
    pub fn add(&mut self, place: Place, request: T, now: u64) -> Result<bool, NoMemory> {
        self.questions.try_reserve(1).map_err(|_| NoMemory)?;
        let is_new = !self.questions.contains_key(&place);
        let question = self.questions.entry(place).or_insert(Question {
            waiting: Vec::new(),
            first_at: now,
            asked: 1,
            again_at: None,
        });
        if question.waiting.try_reserve(1).is_err() {
            if is_new {
                self.questions.remove(&place);
            }
            return Err(NoMemory);
        }
        question.waiting.push((request, now));
        Ok(is_new)
    }

    /// The store could not be asked: the question is due.
    pub fn defer(&mut self, place: Place) {
        if let Some(question) = self.questions.get_mut(&place) {
            (question.asked, question.again_at) = (0, Some(question.first_at));
            self.earliest = earlier(self.earliest, question.again_at);
        }
    }

    /// The store has the session, or knows that it has ended. Returns the requests that waited for that.
    pub fn answered(&mut self, place: Place) -> Vec<T> {
        let question = self.questions.remove(&place);
        question.map(Question::requests).unwrap_or_default()
    }

    /// The store has nothing. Returns the requests whose time would be over before it is asked again.
    pub fn nothing(&mut self, place: Place) -> Vec<T> {
        let Some(question) = self.questions.get_mut(&place) else { return Vec::new() };
        let doubled = question.asked.min(MAX_DOUBLED);
        let again_at = question.first_at.saturating_add(FIRST * ((1 << doubled) - 1));
        let mut over = Vec::new();
        if over.try_reserve(question.waiting.len()).is_err() {
            // They wait until their time is over.
            return over;
        }
        let timeout = self.timeout;
        let mut at = 0;
        while let Some((_, since)) = question.waiting.get(at) {
            match again_at < since.saturating_add(timeout) {
                true => at += 1,
                false => over.push(question.waiting.swap_remove(at).0),
            }
        }
        match question.waiting.is_empty() {
            true => drop(self.questions.remove(&place)),
            false => {
                question.again_at = Some(again_at);
                self.earliest = earlier(self.earliest, question.again_at);
            }
        }
        over
    }

    /// The questions that are due to be asked again.
    pub fn due(&mut self, now: u64) -> Vec<Place> {
        let mut due = Vec::new();
        let is_due = self.earliest.is_some_and(|at| at <= now);
        // If memory is short, they are due at the next turn.
        if !is_due || due.try_reserve(self.questions.len()).is_err() {
            return due;
        }
        self.earliest = None;
        for (place, question) in &mut self.questions {
            match question.again_at {
                Some(at) if at <= now => {
                    question.again_at = None;
                    question.asked = question.asked.saturating_add(1);
                    due.push(*place);
                }
                again_at => self.earliest = earlier(self.earliest, again_at),
            }
        }
        due
    }

    /// When the next question is due, or earlier.
    pub fn next_at(&self) -> Option<u64> {
        self.earliest
    }

    /// Removes all questions. Returns the requests that waited.
    pub fn clear(&mut self) -> Vec<T> {
        let questions = core::mem::take(&mut self.questions);
        self.earliest = None;
        let mut all = Vec::new();
        for question in questions.into_values() {
            if all.try_reserve(question.waiting.len()).is_ok() {
                all.extend(question.requests());
            }
        }
        all
    }

    /// The number of questions.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }
}
