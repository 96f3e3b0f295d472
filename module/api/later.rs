//! Requests of `sticky_api` that are answered later: those that wait for a server to be empty, and
//! those that make it so.
//!
//! Their timers are not cancelable: a worker that is to exit gives them their answer first. Who waits
//! gets it at the next turn, and who has sessions forgotten, when it is done.

use crate::nginx::pool;
use core::mem;

use affinity::status::{
    Answer, Document, Format, Refusal, Resource, NO_MEMORY, NO_SERVER, RELOADING,
};
use nginx_sys::{
    ngx_add_timer, ngx_del_timer, ngx_event_t, ngx_exiting, ngx_http_finalize_request,
    ngx_http_request_t, ngx_http_run_posted_requests, ngx_http_test_reading, ngx_int_t, ngx_msec_t,
};

use crate::api::answer;
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
        Job::Forget { pass: Pass::default(), forgotten: 0 }
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
    timer: ngx_event_t,
    request: *mut ngx_http_request_t,
    target: Target,
    job: Job,
}

/// Answers a request, now or later. The result is what the request is finalised with, or `DONE`.
///
/// # Safety
/// `r` is a live request that has not been answered; if the result is `DONE`, somebody holds it.
pub unsafe fn start(r: *mut ngx_http_request_t, target: Target, job: Job) -> ngx_int_t {
    // SAFETY: by this function's contract; zeroes are an event.
    unsafe {
        let make = || Later { timer: mem::zeroed(), request: r, target, job };
        let Some(later) = pool::pool_box((*r).pool, make) else {
            return answer::send(r, Format::Json, Err(NO_MEMORY));
        };
        if let Some(text) = later.turn() {
            return answer::send(r, Format::Json, text);
        }
        let connection = (*r).connection;
        later.timer.handler = Some(on_timer);
        later.timer.data = connection.cast();
        later.timer.log = (*connection).log;
        ngx_add_timer(&mut later.timer, later.job.interval());
        // A client that leaves takes the request, and with it the timer.
        (*r).read_event_handler = Some(ngx_http_test_reading);
        DONE
    }
}

unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    // SAFETY: nginx calls with the timer of a live request.
    unsafe {
        let later = &mut *event.cast::<Later>();
        let Some(text) = later.turn() else {
            ngx_add_timer(event, later.job.interval());
            return;
        };
        let r = later.request;
        let connection = (*r).connection;
        ngx_http_finalize_request(r, answer::send(r, Format::Json, text));
        ngx_http_run_posted_requests(connection);
    }
}

impl Later {
    /// Does a part of the job; gives the answer if that was the last one.
    ///
    /// # Safety
    /// The request is live.
    unsafe fn turn(&mut self) -> Option<Result<Vec<u8>, Refusal>> {
        let Some(sessions) = self.target.zone.sessions() else {
            return Some(Err(NO_SERVER));
        };
        match &mut self.job {
            Job::Wait { until } => {
                if self.target.live(sessions) > 0 && nginx::millis() < *until {
                    // SAFETY: a plain word of this process.
                    if unsafe { ngx_exiting } != 0 {
                        return Some(Err(RELOADING));
                    }
                    self.target.sweep(sessions);
                    return None;
                }
                let server = Resource::Server(self.target.upstream, self.target.server);
                // SAFETY: by this function's contract.
                Some(unsafe { answer::show(self.request, &server, Format::Json) })
            }
            Job::Forget { pass, forgotten } => {
                match sessions.forget_server(self.target.server, pass, WORK_SLOTS) {
                    Some(more) => {
                        *forgotten += more as u64;
                        None
                    }
                    None => {
                        let answer = Answer::Forgotten { forgotten: *forgotten };
                        Some(Document::Answer(answer).to_json().map_err(Refusal::from))
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
        sessions.table.sweep(nginx::now(), self.zone.limits(), WORK_SLOTS);
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        if self.timer.timer_set() != 0 {
            // SAFETY: it is in nginx's tree of timers.
            unsafe { ngx_del_timer(&mut self.timer) };
        }
    }
}
