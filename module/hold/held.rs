//! A held answer: it arrives, is judged, and goes on.

use core::cell::{Cell, RefCell, UnsafeCell};
use core::mem;

use affinity::ask::{Slots, Ticket};
use affinity::policy::Rejection;
use nginx_sys::{
    ngx_add_timer, ngx_del_timer, ngx_delete_posted_event, ngx_event_t, ngx_int_t, ngx_msec_t,
    ngx_post_event, ngx_posted_events, NGX_HTTP_CLIENT_CLOSED_REQUEST,
};

use super::active::{self, Active};
use super::counts::COUNTS;
use super::kept::{self, Kept};
use super::next;
use crate::conf::judge::{Case, Judge, Verdict};
use crate::conf::{Affinity, UpstreamConf};
use crate::nginx;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::request::Request;
use crate::nginx::ERROR;
use crate::wait::client;

/// How many requests a worker holds. The answers of others are passed on at once.
const MOST: usize = 10_000;

/// The list of this worker.
static HELD: PerWorker<RefCell<Slots<&'static Held>>> = PerWorker::new(RefCell::new(Slots::new()));

/// What is done with an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The request leaves its upstream without an answer.
    Leaving,
    /// The answer arrives.
    Filling,
    /// The judge has it.
    Judging,
    /// The verdict is known. An event follows.
    Settled(Verdict),
    /// The request has begun again.
    Again,
    /// It is answered.
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
    /// How a request without an answer is rejected.
    refuse: Option<Refuse>,
    /// The place in the list, until the answer is settled.
    ticket: Cell<Option<Ticket>>,
    /// When the time of the judge is over, in nginx's milliseconds.
    deadline: Cell<Option<u64>>,
    /// Whether the timer asks the judge again.
    asks_again: Cell<bool>,
    _active: Active,
}

/// Answers a request that is rejected. Returns what finalises it.
pub type Refuse = fn(Request<'static>, Rejection) -> ngx_int_t;

impl Recycled for Held {
    fn spare() -> &'static Spare<Held> {
        static SPARE: Spare<Held> = Spare::new();
        &SPARE
    }
}

/// Ends the hold of an answer. Without effect if the request has ended, or the answer is settled already. The
/// request goes on when the caller has returned to nginx's event loop.
pub fn settle(ticket: Ticket, verdict: Verdict) {
    let held = HELD.borrow().get(ticket).copied();
    if let Some(held) = held.filter(|held| held.stage.get() == Stage::Judging) {
        match verdict {
            Verdict::Wait => {}
            Verdict::Later(millis) => held.ask_later(millis),
            _ => {
                held.settle(verdict);
                held.post();
            }
        }
    }
}

/// Begins to hold the answer whose header a filter has got, if it has to be held.
pub(super) fn begin(r: Request<'static>) -> bool {
    let Some(judge) = judge(r) else { return false };
    if !may_be_held(r) || !judge.holds(r, r.response_status()) {
        return false;
    }
    // An answer is held once: what the second one says is passed on.
    let is_second = |held: &Held| held.request == r && held.refuse.is_none();
    if recycled::find::<Held>(r.pool(), is_second).is_some() {
        return false;
    }
    match make(r, judge, Stage::Filling, None) {
        Some(_) => {
            r.set_held();
            true
        }
        None => false,
    }
}

/// Why a request does not leave its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It is a request that cannot wait.
    Always,
    /// It has waited as long as it may, or too many wait.
    Now,
}

/// Lets a request leave its upstream without an answer, and asks the judge what becomes of it. The calling hook,
/// `peer.init` or `peer.get` with no peer taken, must return the result at once, and must not use the request or the
/// upstream after the call.
pub fn leave(r: Request<'static>, refuse: Refuse) -> Result<ngx_int_t, Stays> {
    let judge = judge(r).ok_or(Stays::Always)?;
    let is_past = |held: &Held| {
        held.request == r && held.deadline.get().is_some_and(|deadline| deadline <= nginx::millis())
    };
    let may_leave =
        r.is_main() && r.body().is_none_or(|body| body.is_complete() && !body.is_unbuffered());
    if !may_leave {
        return Err(Stays::Always);
    }
    if recycled::find::<Held>(r.pool(), is_past).is_some() {
        return Err(Stays::Now);
    }
    // SAFETY: a live request at its upstream.
    let end_upstream = r.upstream().and_then(|u| unsafe { (*u.raw()).cleanup.as_ref().copied()? });
    let end_upstream = end_upstream.ok_or(Stays::Always)?;
    // All waits of a request without an answer end together.
    let first = recycled::find::<Held>(r.pool(), |held| held.request == r && held.refuse.is_some());
    let deadline = first.and_then(|held| held.deadline.get());
    let held = make(r, judge, Stage::Leaving, Some(refuse)).ok_or(Stays::Now)?;
    held.deadline.set(deadline);
    // One is given back by the end of the upstream, one by the caller of the hook.
    r.hold();
    r.hold();
    // SAFETY: the request is alive, and stays so: a reference to it is left when the hook's caller returns.
    unsafe { end_upstream(r.raw().cast()) };
    held.post();
    Ok(ERROR)
}

/// Whether a request has begun again.
#[inline(always)]
pub fn has_begun_again(r: Request<'_>) -> bool {
    active::is_any() && is_again(r)
}

#[cold]
fn is_again(r: Request<'_>) -> bool {
    let is_again = |held: &Held| held.request == r && held.stage.get() == Stage::Again;
    recycled::find::<Held>(r.pool(), is_again).is_some()
}

fn make(
    r: Request<'static>,
    judge: &'static dyn Judge,
    stage: Stage,
    refuse: Option<Refuse>,
) -> Option<&'static Held> {
    let make = || Held {
        // SAFETY: an event is valid when zeroed.
        event: UnsafeCell::new(unsafe { mem::zeroed() }),
        request: r,
        judge,
        stage: Cell::new(stage),
        kept: RefCell::new(Kept::new()),
        refuse,
        ticket: Cell::new(None),
        deadline: Cell::new(None),
        asks_again: Cell::new(false),
        _active: Active::new(),
    };
    let held = recycled::make(r.pool(), make)?;
    let ticket = HELD.borrow_mut().insert(held, MOST);
    held.ticket.set(ticket);
    if ticket.is_none() {
        held.stage.set(Stage::Done);
        COUNTS.refused.add();
        return None;
    }
    COUNTS.held.add();
    // SAFETY: the event is in memory that is never freed. `drop` removes it from nginx's timers and queues.
    unsafe {
        let event = held.event.get();
        (*event).handler = Some(on_event);
        (*event).data = r.connection().cast();
        (*event).log = r.log();
    }
    Some(held)
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
            Stage::Leaving => self.ask(),
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
            Stage::Judging if self.asks_again.replace(false) => self.ask(),
            Stage::Judging => self.time_out(),
            Stage::Settled(_) | Stage::Again | Stage::Done => {}
        }
        if let Stage::Settled(verdict) = self.stage.get() {
            self.end(verdict);
        }
    }

    /// The request may be freed when this returns.
    fn end(&self, verdict: Verdict) {
        self.stop();
        let r = self.request;
        if verdict == Verdict::Again && r.take_answer_back() {
            self.stage.set(Stage::Again);
            COUNTS.again.add();
            return client::run_on(r);
        }
        self.stage.set(Stage::Done);
        COUNTS.passed.add();
        match (verdict, self.refuse) {
            (Verdict::Status(status), _) if r.take_answer_back() => {
                next::end(r, || next::send_status(r, status));
            }
            (Verdict::Reject(why), Some(refuse)) => next::end(r, || refuse(r, why)),
            (_, Some(refuse)) => next::end(r, || refuse(r, Rejection::Unavailable)),
            (_, None) => {
                let chain = self.kept.borrow_mut().chain(r);
                r.unset_held();
                next::end(r, || next::pass_on(r, chain));
            }
        }
    }

    fn time_out(&self) {
        COUNTS.timed_out.add();
        self.settle(Verdict::PassOn);
    }

    /// Asks the judge. The client is watched until the verdict.
    fn ask(&self) {
        let Some(ticket) = self.ticket.get() else { return };
        // The client may have left when nobody watched it: between the end of the upstream and now.
        if client::has_left(self.request) {
            self.stop();
            self.stage.set(Stage::Done);
            COUNTS.gone.add();
            return next::end(self.request, || NGX_HTTP_CLIENT_CLOSED_REQUEST as ngx_int_t);
        }
        let now = nginx::millis();
        if self.deadline.get().is_none() {
            let timeout = self.judge.timeout(self.refuse.is_none());
            self.deadline.set(Some(now + timeout.as_millis()));
            COUNTS.judged.add();
        }
        self.stage.set(Stage::Judging);
        if self.deadline.get().is_some_and(|deadline| deadline <= now) {
            return self.time_out();
        }
        let verdict = {
            let kept = self.kept.borrow();
            let body = self.refuse.is_none().then(|| kept.body());
            self.judge.judge(&Case { request: self.request, ticket, body })
        };
        // The judge may have settled it already.
        if self.stage.get() != Stage::Judging {
            return;
        }
        if !matches!(verdict, Verdict::Wait | Verdict::Later(_)) {
            return self.settle(verdict);
        }
        if client::watch(self.request).is_err() {
            return self.settle(Verdict::PassOn);
        }
        match verdict {
            Verdict::Later(millis) => self.ask_later(millis),
            _ => self.start_timer(u64::MAX),
        }
    }

    fn ask_later(&self, millis: u64) {
        self.asks_again.set(true);
        self.start_timer(millis);
    }

    /// Starts the timer for so many milliseconds, or until the deadline.
    fn start_timer(&self, millis: u64) {
        let left = self.deadline.get().map_or(0, |it| it.saturating_sub(nginx::millis()));
        // The timer is not cancelable: an exiting worker waits for its last requests, and they end by it.
        // SAFETY: `make` has filled the event, which stays where it is.
        unsafe { ngx_add_timer(self.event.get(), millis.min(left) as ngx_msec_t) };
    }
}

unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: the event is the first field of a `Held`, which is alive: dropping it removes the event.
    unsafe { &*event.cast::<Held>() }.go_on();
}

/// Runs with the request's pool: the request has ended, maybe while its answer was held.
impl Drop for Held {
    fn drop(&mut self) {
        if !matches!(self.stage.get(), Stage::Done | Stage::Again) {
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

/// How many requests this worker holds.
pub fn holding() -> usize {
    HELD.borrow().len()
}

/// What this worker has counted.
#[cfg(feature = "testing")]
pub fn totals() -> String {
    COUNTS.totals(holding())
}
