//! Requests that wait for the answer to a question: the list of a worker, and their way on.
//!
//! A request waits at a phase handler, which returns `NGX_AGAIN`. It has a timer and is watched for its
//! client ([`client`]). Others have only its ticket, never a pointer: nginx may end the request at any time,
//! and then the ticket names nothing. An answer is bound in the zone at once, and a posted event runs the
//! request on, so the caller of [`answer`] never runs a request. docs/waiting.md has the traps.

pub mod client;
pub mod counts;
pub mod later;
pub mod phase;

use core::cell::{Cell, RefCell, UnsafeCell};
use core::mem;
use core::ptr;

use affinity::ask::{Event, Slots, State, Ticket};
use affinity::table::{Bound, Existing, Key};
use counts::COUNTS;
use nginx_sys::{
    ngx_add_timer, ngx_del_timer, ngx_event_t, ngx_msec_t, ngx_post_event, ngx_posted_events,
    ngx_queue_remove,
};

use crate::conf::source::{Answer, Question, Source};
use crate::conf::Affinity;
use crate::nginx;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::request::Request;

/// How many requests of a worker may wait. Beyond that an id counts as one that nobody could be asked for.
const MOST: usize = 1000;

/// The list of this worker.
static WAITING: PerWorker<RefCell<Slots<&'static Waiter>>> =
    PerWorker::new(RefCell::new(Slots::new()));

/// A question of a request, with its answer; it lives as long as the request's pool. The event is the first
/// field: nginx passes its address.
#[repr(C)]
struct Waiter {
    /// The timer, and the posted event that runs the request on.
    event: UnsafeCell<ngx_event_t>,
    request: Request<'static>,
    affinity: &'static Affinity,
    key: Key,
    state: Cell<State>,
    /// The place in the list, until the question is answered.
    ticket: Cell<Option<Ticket>>,
    /// Whether the request has left its phase handler and waits.
    is_paused: Cell<bool>,
}

impl Recycled for Waiter {
    fn spare() -> &'static Spare<Waiter> {
        static SPARE: Spare<Waiter> = Spare::new();
        &SPARE
    }
}

/// Asks for the server of a key that the table does not have. If the state is not final, the request waits:
/// the phase handler returns `NGX_AGAIN` and is called again. A second call for the same request and key
/// returns the state of the first question.
pub fn ask(
    r: Request<'static>,
    affinity: &'static Affinity,
    source: &'static dyn Source,
    key: Key,
) -> State {
    if let Some(waiter) = Waiter::find(r, affinity, key) {
        return waiter.state.get();
    }
    let make = || Waiter {
        // SAFETY: an event is valid when zeroed.
        event: UnsafeCell::new(unsafe { mem::zeroed() }),
        request: r,
        affinity,
        key,
        state: Cell::new(State::Asked),
        ticket: Cell::new(None),
        is_paused: Cell::new(false),
    };
    let Some(waiter) = recycled::make(r.pool(), make) else { return State::Unavailable };
    waiter.begin(source);
    waiter.state.get()
}

/// The state of a question that a request has asked; unavailable if it has not asked.
pub fn outcome(r: Request<'static>, affinity: &Affinity, key: Key) -> State {
    Waiter::find(r, affinity, key).map_or(State::Unavailable, |waiter| waiter.state.get())
}

/// Answers a question. Without effect if the request has left, or the question is answered already. The
/// request runs on when the caller has returned to nginx's event loop.
pub fn answer(ticket: Ticket, answer: Answer<'_>) {
    let Some(waiter) = WAITING.borrow().get(ticket).copied() else { return };
    if let Some(source) = waiter.affinity.source.as_deref() {
        waiter.take(source, answer);
        if waiter.state.get().is_final() {
            waiter.wake();
        }
    }
}

impl Waiter {
    /// The question of a request about a key. Upstreams that share a zone share the answer.
    fn find<'r>(r: Request<'r>, affinity: &Affinity, key: Key) -> Option<&'r Waiter> {
        recycled::find::<Waiter>(r.pool(), |waiter| {
            waiter.request == r && waiter.key == key && ptr::eq(waiter.affinity.zone, affinity.zone)
        })
    }

    fn begin(&'static self, source: &'static dyn Source) {
        let ticket = WAITING.borrow_mut().insert(self, most());
        let Some(ticket) = ticket else {
            COUNTS.refused.add();
            return self.state.set(self.state.get().on(Event::Refused, false));
        };
        self.ticket.set(Some(ticket));
        COUNTS.asked.add();
        self.take(source, source.ask(&self.question(ticket)));
        if !self.state.get().is_final() && client::watch(self.request).is_err() {
            self.take(source, Answer::Failed);
        }
        match self.state.get().is_final() {
            true => self.leave_list(),
            false => self.pause(source),
        }
    }

    fn question(&self, ticket: Ticket) -> Question {
        Question { zone: self.affinity.zone, key: self.key, ticket }
    }

    /// Applies an answer of the source.
    fn take<'a>(&self, source: &'static dyn Source, mut answer: Answer<'a>) {
        loop {
            let event = match answer {
                Answer::Server(address) if self.bind(address) => Event::Server,
                Answer::Nobody => Event::Nobody,
                Answer::Wait => Event::Wait,
                Answer::Server(_) | Answer::Failed => Event::Failed,
            };
            let before = self.state.get();
            let state = before.on(event, source.revives());
            self.state.set(state);
            if state.is_final() && !before.is_final() {
                COUNTS.answered.add();
            }
            match self.ticket.get() {
                Some(ticket) if state == State::Reviving && before != state => {
                    answer = source.revive(&self.question(ticket));
                }
                _ => return,
            }
        }
    }

    /// Binds the key to the server that the source names; false if the table has no room for the server.
    /// A session that was learned meanwhile stays as it is.
    fn bind(&self, address: &[u8]) -> bool {
        let (limits, now) = (&self.affinity.limits, nginx::now());
        let bound = self.affinity.zone.sessions().and_then(|sessions| {
            let server = sessions.table.intern(address, now)?;
            Some(sessions.bind(self.key, server, None, now, limits, Existing::Keep))
        });
        bound.is_some_and(|bound| bound != Bound::Refused)
    }

    fn pause(&self, source: &dyn Source) {
        COUNTS.waited.add();
        self.is_paused.set(true);
        // The timer is not cancelable: an exiting worker waits for its last requests, and they end by it.
        // SAFETY: the event is in memory that is never freed. `drop` removes it from nginx's timers and
        // queues.
        unsafe {
            let event = self.event.get();
            (*event).handler = Some(on_event);
            (*event).data = self.request.connection().cast();
            (*event).log = self.request.log();
            ngx_add_timer(event, source.timeout().as_millis() as ngx_msec_t);
        }
    }

    /// Lets the request run on in this turn of the event loop.
    fn wake(&self) {
        self.leave_list();
        if !self.is_paused.get() {
            return;
        }
        // SAFETY: `pause` has filled the event. nginx has initialised the queue.
        unsafe {
            let event = self.event.get();
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
            ngx_post_event(event, &raw mut ngx_posted_events);
        }
    }

    fn leave_list(&self) {
        if let Some(ticket) = self.ticket.take() {
            WAITING.borrow_mut().remove(ticket);
        }
    }
}

/// The answer has come, or the time is over.
unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: the event is the first field of a `Waiter`, which is alive: dropping it removes the event.
    let waiter = unsafe { &*event.cast::<Waiter>() };
    let state = waiter.state.get();
    if !state.is_final() {
        COUNTS.timed_out.add();
        waiter.state.set(state.on(Event::TimedOut, false));
    }
    waiter.leave_list();
    waiter.is_paused.set(false);
    client::run_on(waiter.request);
}

/// Runs with the request's pool: the request has ended, maybe in its wait.
impl Drop for Waiter {
    fn drop(&mut self) {
        self.leave_list();
        if !self.state.get().is_final() {
            COUNTS.gone.add();
        }
        let event = self.event.get_mut();
        // SAFETY: the bits say whether the event is in nginx's timers or in a queue.
        unsafe {
            if event.timer_set() != 0 {
                ngx_del_timer(event);
            }
            if event.posted() != 0 {
                event.set_posted(0);
                ngx_queue_remove(&mut event.queue);
            }
        }
    }
}

#[cfg(not(feature = "testing"))]
fn most() -> usize {
    MOST
}

/// The bound that the tests have set.
#[cfg(feature = "testing")]
static MOST_IN_TEST: PerWorker<Cell<usize>> = PerWorker::new(Cell::new(MOST));

#[cfg(feature = "testing")]
fn most() -> usize {
    MOST_IN_TEST.get()
}

/// Sets how many requests of a worker may wait, before the workers start; `None` for the product's number.
#[cfg(feature = "testing")]
pub fn set_most(most: Option<usize>) {
    MOST_IN_TEST.set(most.unwrap_or(MOST));
}

/// What this worker has counted.
#[cfg(feature = "testing")]
pub fn totals() -> counts::Totals {
    COUNTS.totals(WAITING.borrow().len())
}
