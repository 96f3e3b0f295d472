//! Requests of `sticky_api` that are answered later: those that wait until a server has no session, and
//! those that remove its sessions.
//!
//! Their timers are not cancelable: an exiting worker answers these requests first. It answers a waiting
//! request at the next timer, and one that removes sessions when all are removed.

use core::cell::{RefCell, UnsafeCell};
use core::mem;

use affinity::status::{
    Document, Format, Outcome, Refusal, Resource, NO_MEMORY, NO_SERVER, RELOADING,
};
use affinity::table::End;
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

/// Time between two checks of a server that has sessions (milliseconds).
const LOOK_EVERY: u64 = 10;
/// Time between two steps of the removal (milliseconds).
const WORK_EVERY: u64 = 1;
/// Slots of a zone that are visited in one step of the removal, or swept of expired sessions at one check.
/// A step takes less than half a millisecond.
const WORK_SLOTS: usize = 2_048;

/// The server of the request. The names live as long as the request.
pub struct ServerPath {
    pub zone: &'static Zone,
    pub upstream: &'static [u8],
    pub address: &'static [u8],
}

/// The work of a request.
pub enum Job {
    /// Wait until the server has no session, or until this time (monotonic milliseconds).
    Wait { until: u64 },
    /// Forget the server's sessions.
    Forget { pass: Pass, forgotten: u64 },
}

impl Job {
    /// Waits for at most `timeout` milliseconds.
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

/// A request with a timer, in the request's pool. The timer is the first field: nginx passes its address.
#[repr(C)]
struct Later {
    timer: UnsafeCell<ngx_event_t>,
    request: Request<'static>,
    server: ServerPath,
    job: RefCell<Job>,
}

/// Answers a request now, or starts its timer. The result is what the request is finalised with, or `DONE`:
/// then the caller must hold a reference to the request.
pub fn start(r: Request<'static>, server: ServerPath, job: Job) -> ngx_int_t {
    let make = || Later {
        // SAFETY: an event is valid when zeroed.
        timer: UnsafeCell::new(unsafe { mem::zeroed() }),
        request: r,
        server,
        job: RefCell::new(job),
    };
    let Some(later) = r.pool().make(make) else {
        return answer::send(r, Format::Json, Err(NO_MEMORY));
    };
    if let Some(text) = later.turn() {
        return answer::send(r, Format::Json, text);
    }
    // SAFETY: the timer is in the request's pool; dropping `later` with the pool removes it from nginx's
    // tree.
    unsafe {
        let timer = later.timer.get();
        (*timer).handler = Some(on_timer);
        (*timer).data = r.connection().cast();
        (*timer).log = r.log();
        ngx_add_timer(timer, later.job.borrow().interval());
        // nginx ends the request, and with it the timer, when the client closes the connection.
        (*r.raw()).read_event_handler = Some(ngx_http_test_reading);
    }
    DONE
}

unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    // SAFETY: the event is the first field of a `Later`, which is alive: dropping it removes the timer.
    let later = unsafe { &*event.cast::<Later>() };
    let Some(text) = later.turn() else {
        // SAFETY: nginx has removed the expired timer from its tree; it lives as long as the request.
        unsafe { ngx_add_timer(event, later.job.borrow().interval()) };
        return;
    };
    let (r, connection) = (later.request, later.request.connection());
    // SAFETY: the reference that the caller of `start` holds is given back here, after the last use of the
    // request. The connection is valid in its own event, closed or not: nginx's handlers make the same calls.
    unsafe {
        ngx_http_finalize_request(r.raw(), answer::send(r, Format::Json, text));
        ngx_http_run_posted_requests(connection);
    }
}

impl Later {
    /// Does one step of the job; returns the answer after the last step.
    fn turn(&self) -> Option<Result<Vec<u8>, Refusal>> {
        let Some(sessions) = self.server.zone.sessions() else {
            return Some(Err(NO_SERVER));
        };
        match &mut *self.job.borrow_mut() {
            Job::Wait { until } => {
                if self.server.live(sessions) > 0 && nginx::millis() < *until {
                    if is_exiting() {
                        return Some(Err(RELOADING));
                    }
                    self.server.sweep(sessions);
                    return None;
                }
                let server = Resource::Server(self.server.upstream, self.server.address);
                Some(answer::show(self.request, &server, Format::Json))
            }
            Job::Forget { pass, forgotten } => {
                match sessions.forget_server(self.server.address, End::Forgotten, pass, WORK_SLOTS)
                {
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

impl ServerPath {
    /// The number of the server's sessions.
    fn live(&self, sessions: &Sessions) -> u64 {
        let table = &sessions.table;
        let server = table.find_server(self.address);
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
            // SAFETY: `timer_set` says that the timer is in nginx's tree.
            unsafe { ngx_del_timer(timer) };
        }
    }
}
