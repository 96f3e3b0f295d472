//! A held answer: it arrives, is judged, and goes on.

use core::cell::{Cell, RefCell, UnsafeCell};
use core::mem;

use affinity::ask::{Slots, Ticket};
use nginx_sys::{
    ngx_add_timer, ngx_del_timer, ngx_delete_posted_event, ngx_event_t, ngx_msec_t, ngx_post_event,
    ngx_posted_events,
};

use super::counts::COUNTS;
use super::kept::{self, Kept};
use super::next;
use crate::conf::judge::{HeldAnswer, Judge, Verdict};
use crate::conf::{Affinity, UpstreamConf};
use crate::nginx::per_worker::PerWorker;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::request::Request;
use crate::wait::client;

/// How many answers a worker holds. Others are passed on at once.
const MOST: usize = 1000;

/// The list of this worker.
static HELD: PerWorker<RefCell<Slots<&'static Held>>> = PerWorker::new(RefCell::new(Slots::new()));

/// What is done with an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It arrives.
    Filling,
    /// The judge has it.
    Judging,
    /// The verdict is known. An event follows.
    Settled(Verdict),
    /// It is passed on, or dropped.
    Done,
}

/// A held answer; it lives as long as the request's pool. The event is the first field: nginx passes its
/// address.
#[repr(C)]
pub(super) struct Held {
    /// The timer, and the posted event that goes on with the answer.
    event: UnsafeCell<ngx_event_t>,
    pub(super) request: Request<'static>,
    judge: &'static dyn Judge,
    pub(super) stage: Cell<Stage>,
    pub(super) kept: RefCell<Kept>,
    /// The place in the list, until the answer is settled.
    ticket: Cell<Option<Ticket>>,
}

impl Recycled for Held {
    fn spare() -> &'static Spare<Held> {
        static SPARE: Spare<Held> = Spare::new();
        &SPARE
    }
}

/// Ends the hold of an answer. Without effect if the request has ended, or the answer is settled already. The
/// request goes on when the caller has returned to nginx's event loop.
#[cfg_attr(
    not(feature = "testing"),
    expect(dead_code, reason = "the judge of the product is the revival of sessions")
)]
pub fn settle(ticket: Ticket, verdict: Verdict) {
    let held = HELD.borrow().get(ticket).copied();
    if let Some(held) = held.filter(|held| held.stage.get() == Stage::Judging) {
        held.settle(verdict);
        held.post();
    }
}

/// Begins to hold the answer whose header a filter has got, if it has to be held.
pub(super) fn begin(r: Request<'static>) -> bool {
    let Some(judge) = judge(r) else { return false };
    if !may_be_held(r) || !judge.holds(r, r.response_status()) {
        return false;
    }
    // A request is held once: what its second answer says is passed on.
    if Held::find(r).is_some() {
        return false;
    }
    let make = || Held {
        // SAFETY: an event is valid when zeroed.
        event: UnsafeCell::new(unsafe { mem::zeroed() }),
        request: r,
        judge,
        stage: Cell::new(Stage::Filling),
        kept: RefCell::new(Kept::new()),
        ticket: Cell::new(None),
    };
    let Some(held) = recycled::make(r.pool(), make) else { return false };
    let ticket = HELD.borrow_mut().insert(held, MOST);
    if ticket.is_none() {
        held.stage.set(Stage::Done);
        COUNTS.refused.add();
        return false;
    }
    held.ticket.set(ticket);
    COUNTS.held.add();
    // SAFETY: the event is in memory that is never freed. `drop` removes it from nginx's timers and queues.
    unsafe {
        let event = held.event.get();
        (*event).handler = Some(on_event);
        (*event).data = r.connection().cast();
        (*event).log = r.log();
    }
    r.set_held();
    true
}

fn judge(r: Request<'static>) -> Option<&'static dyn Judge> {
    let affinity: &'static Affinity = UpstreamConf::of(r.upstream()?.block()?)?.affinity()?;
    affinity.judge.as_deref()
}

/// Whether the request can begin again, and its answer is one that ends soon.
fn may_be_held(r: Request<'_>) -> bool {
    const STREAM: &[u8] = b"text/event-stream";

    #[cfg(ngx_feature = "http_cache")]
    if r.has_cache() {
        return false;
    }
    let length = r.response_length();
    let is_stream = r.response_content_type().get(..STREAM.len()).is_some_and(|kind| {
        // Its end is not known, and its first event may be urgent.
        kind.eq_ignore_ascii_case(STREAM) && length.is_none()
    });
    r.is_main()
        && !r.is_header_only()
        && !is_stream
        && length.is_none_or(|length| length <= kept::MOST as u64)
        // An answer that nginx makes itself comes when the upstream has ended.
        && r.upstream().is_some_and(|u| !u.has_ended())
        && r.body().is_none_or(|body| body.is_complete() && !body.is_unbuffered())
}

impl Held {
    pub(super) fn find<'r>(r: Request<'r>) -> Option<&'r Held> {
        recycled::find::<Held>(r.pool(), |held| held.request == r)
    }

    pub(super) fn post(&self) {
        // SAFETY: `begin` has filled the event. nginx has initialised the queue.
        unsafe { ngx_post_event(self.event.get(), &raw mut ngx_posted_events) };
    }

    fn settle(&self, verdict: Verdict) {
        self.stage.set(Stage::Settled(verdict));
        self.stop();
    }

    /// Leaves the list and the timers.
    fn stop(&self) {
        if let Some(ticket) = self.ticket.take() {
            HELD.borrow_mut().remove(ticket);
        }
        // SAFETY: the bit says whether the event is in nginx's timers.
        unsafe {
            if (*self.event.get()).timer_set() != 0 {
                ngx_del_timer(self.event.get());
            }
        }
    }

    /// The answer is too long: a filter passes it on.
    pub(super) fn give_up(&self) {
        self.stage.set(Stage::Done);
        self.stop();
        self.request.unset_held();
        COUNTS.passed.add();
    }

    /// Goes on after an event: a part of the answer has come, the verdict is known, or the time is over.
    fn go_on(&self) {
        match self.stage.get() {
            Stage::Filling => {
                let has_ended = self.request.upstream().is_none_or(|u| u.has_ended());
                if !has_ended {
                    return;
                }
                // nginx has set it when the upstream ended.
                self.request.stop_send_timer();
                let is_whole = self.kept.borrow().is_whole();
                match is_whole {
                    true => self.ask(),
                    // The server has broken off.
                    false => self.settle(Verdict::PassOn),
                }
            }
            Stage::Judging => {
                COUNTS.timed_out.add();
                self.settle(Verdict::PassOn);
            }
            Stage::Settled(_) | Stage::Done => {}
        }
        match self.stage.get() {
            Stage::Settled(Verdict::Again) if self.request.take_answer_back() => {
                self.stage.set(Stage::Done);
                COUNTS.again.add();
                client::run_on(self.request);
            }
            Stage::Settled(_) => {
                self.stage.set(Stage::Done);
                COUNTS.passed.add();
                let chain = self.kept.borrow_mut().chain(self.request);
                next::pass_on(self.request, chain);
            }
            Stage::Filling | Stage::Judging | Stage::Done => {}
        }
    }

    /// Asks the judge. The client is watched until the verdict.
    fn ask(&self) {
        let Some(ticket) = self.ticket.get() else { return };
        self.stage.set(Stage::Judging);
        COUNTS.judged.add();
        let verdict = {
            let kept = self.kept.borrow();
            let answer = HeldAnswer { request: self.request, ticket, body: kept.body() };
            self.judge.judge(&answer)
        };
        if verdict != Verdict::Wait {
            return self.settle(verdict);
        }
        if client::watch(self.request).is_err() {
            return self.settle(Verdict::PassOn);
        }
        // The timer is not cancelable: an exiting worker waits for its last requests, and they end by it.
        // SAFETY: `begin` has filled the event, which stays where it is.
        unsafe { ngx_add_timer(self.event.get(), self.judge.timeout().as_millis() as ngx_msec_t) };
    }
}

unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: the event is the first field of a `Held`, which is alive: dropping it removes the event.
    unsafe { &*event.cast::<Held>() }.go_on();
}

/// Runs with the request's pool: the request has ended, maybe while its answer was held.
impl Drop for Held {
    fn drop(&mut self) {
        if self.stage.get() != Stage::Done {
            COUNTS.gone.add();
        }
        self.stop();
        let event = self.event.get_mut();
        // SAFETY: the bit says whether the event is in a queue.
        unsafe {
            if event.posted() != 0 {
                ngx_delete_posted_event(event);
            }
        }
    }
}

/// What this worker has counted.
#[cfg(feature = "testing")]
pub fn totals() -> String {
    COUNTS.totals(HELD.borrow().len())
}
