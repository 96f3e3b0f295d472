//! Requests of `sticky_api` that are answered later: those that wait for a server to be empty, and
//! those that make it so.
//!
//! Their timers are not cancelable: an exiting worker answers these requests first. A request that waits is
//! answered at the next timer; a request to forget sessions when all of them are removed.

use core::cell::{RefCell, UnsafeCell};
use core::mem;

use affinity::status::{
    Document, Format, Outcome, Refusal, Resource, NO_MEMORY, NO_SERVER, RELOADING,
};
use nginx_sys::{
    ngx_add_timer, ngx_del_timer, ngx_event_t, ngx_http_finalize_request,
    ngx_http_run_posted_requests, ngx_http_test_reading, ngx_int_t, ngx_msec_t,
};

use super::answer;
use crate::nginx::per_worker::is_exiting;
use crate::nginx::request::Request;
use crate::nginx::{self, DONE};
use crate::zone::sessions::{Pass, Sessions};
use crate::zone::Zone;

/// Time between two looks at a server that has sessions (milliseconds).
const LOOK_EVERY: u64 = 10;
/// Time between two parts of a long work (milliseconds).
const WORK_EVERY: u64 = 1;
/// Slots of a zone that are looked at in a part of a long work, or swept at a look, to count out what
/// has expired: less than half a millisecond's work.
const WORK_SLOTS: usize = 2_048;

/// The server that it is about. Names live as long as the request.
pub struct Target {
    pub zone: &'static Zone,
    pub upstream: &'static [u8],
    pub server: &'static [u8],
}

/// What there is to be done.
pub enum Job {
    /// Wait until the server has no session, or until this time (monotonic milliseconds).
    Wait { until: u64 },
    /// Forget its sessions.
    Forget { pass: Pass, forgotten: u64 },
}

impl Job {
    /// Waits for so many milliseconds at most.
    pub fn wait(timeout: u64) -> Job {
        Job::Wait { until: nginx::millis().saturating_add(timeout) }
    }

    pub fn forget() -> Job {
        Job::Forget { pass: Pass::START, forgotten: 0 }
    }

    fn interval(&self) -> ngx_msec_t {
        match self {
            Job::Wait { .. } => LOOK_EVERY as ngx_msec_t,
            Job::Forget { .. } => WORK_EVERY as ngx_msec_t,
        }
    }
}

/// A request with a timer, in the request's pool. The timer comes first: nginx calls with that.
#[repr(C)]
struct Later {
    timer: UnsafeCell<ngx_event_t>,
    request: Request<'static>,
    target: Target,
    job: RefCell<Job>,
}

/// Answers a request, now or later. The result is what the request is finalised with, or `DONE`: then the caller
/// must hold the request.
pub fn start(r: Request<'static>, target: Target, job: Job) -> ngx_int_t {
    let make = || Later {
        // SAFETY: zeroes are an event.
        timer: UnsafeCell::new(unsafe { mem::zeroed() }),
        request: r,
        target,
        job: RefCell::new(job),
    };
    let Some(later) = r.pool().make(make) else {
        return answer::send(r, Format::Json, Err(NO_MEMORY));
    };
    if let Some(text) = later.turn() {
        return answer::send(r, Format::Json, text);
    }
    // SAFETY: the timer lives in the request's pool, and is stopped before that goes.
    unsafe {
        let timer = later.timer.get();
        (*timer).handler = Some(on_timer);
        (*timer).data = r.connection().cast();
        (*timer).log = r.log();
        ngx_add_timer(timer, later.job.borrow().interval());
        // A client that leaves takes the request, and with it the timer.
        (*r.raw()).read_event_handler = Some(ngx_http_test_reading);
    }
    DONE
}

unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    // SAFETY: nginx calls with the timer of a live request, which begins our data of it.
    let later = unsafe { &*event.cast::<Later>() };
    let Some(text) = later.turn() else {
        // SAFETY: a timer that has expired is in no tree.
        unsafe { ngx_add_timer(event, later.job.borrow().interval()) };
        return;
    };
    let (r, connection) = (later.request, later.request.connection());
    // SAFETY: the request has been held for this; its connection outlives it.
    unsafe {
        ngx_http_finalize_request(r.raw(), answer::send(r, Format::Json, text));
        ngx_http_run_posted_requests(connection);
    }
}

impl Later {
    /// Does a part of the job; gives the answer if that was the last one.
    fn turn(&self) -> Option<Result<Vec<u8>, Refusal>> {
        let Some(sessions) = self.target.zone.sessions() else {
            return Some(Err(NO_SERVER));
        };
        match &mut *self.job.borrow_mut() {
            Job::Wait { until } => {
                if self.target.live(sessions) > 0 && nginx::millis() < *until {
                    if is_exiting() {
                        return Some(Err(RELOADING));
                    }
                    self.target.sweep(sessions);
                    return None;
                }
                let server = Resource::Server(self.target.upstream, self.target.server);
                Some(answer::show(self.request, &server, Format::Json))
            }
            Job::Forget { pass, forgotten } => {
                match sessions.forget_server(self.target.server, pass, WORK_SLOTS) {
                    Some(more) => {
                        *forgotten += more as u64;
                        None
                    }
                    None => {
                        let answer = Outcome::Forgotten { forgotten: *forgotten };
                        Some(Document::Outcome(answer).to_json().map_err(Refusal::from))
                    }
                }
            }
        }
    }
}

impl Target {
    /// Sessions of the server.
    fn live(&self, sessions: &Sessions) -> u64 {
        let table = &sessions.table;
        let server = table.find_server(self.server);
        server.and_then(|server| table.server_stats(server)).map_or(0, |stats| stats.live)
    }

    /// Removes expired sessions from a part of the zone.
    fn sweep(&self, sessions: &Sessions) {
        sessions.table.sweep(nginx::now(), &self.zone.limits(), WORK_SLOTS);
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let timer = self.timer.get_mut();
        if timer.timer_set() != 0 {
            // SAFETY: it is in nginx's tree of timers.
            unsafe { ngx_del_timer(timer) };
        }
    }
}
