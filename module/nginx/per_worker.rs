//! Statics of a worker, and its timers.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::Deref;

use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_event_handler_pt, ngx_event_t, ngx_exiting, ngx_log_t,
    ngx_msec_t, ngx_posted_next_events, ngx_process, ngx_queue_insert_before, ngx_worker,
    NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};

/// A static that only this process's event loop uses. What changes in it is a `Cell` or a `RefCell`.
pub struct PerWorker<T>(T);

// SAFETY: nginx calls this module in one thread of each process: that of the event loop. Its thread pools
// run tasks of nginx's own files only.
unsafe impl<T> Sync for PerWorker<T> {}

impl<T> PerWorker<T> {
    pub const fn new(value: T) -> PerWorker<T> {
        PerWorker(value)
    }
}

impl<T> Deref for PerWorker<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Whether this process serves requests: a worker, or a process that is its own master.
pub fn serves_requests() -> bool {
    // SAFETY: a plain word, written when the process starts.
    let process = unsafe { ngx_process } as u32;
    process == NGX_PROCESS_WORKER || process == NGX_PROCESS_SINGLE
}

/// The number of this worker; the first is zero.
pub fn number() -> usize {
    // SAFETY: a plain word, written when the process starts.
    unsafe { ngx_worker }
}

/// Whether this worker is to exit when its last request has ended.
pub fn is_exiting() -> bool {
    // SAFETY: a plain word, written by this process's event loop only.
    unsafe { ngx_exiting != 0 }
}

/// A timer of a worker, which a worker that is to exit does not wait for.
pub struct Timer {
    event: UnsafeCell<MaybeUninit<ngx_event_t>>,
    /// nginx's debug log wants a connection to every timer.
    connection: UnsafeCell<MaybeUninit<ngx_connection_t>>,
}

impl Timer {
    pub const fn new() -> Timer {
        Timer {
            event: UnsafeCell::new(MaybeUninit::zeroed()),
            connection: UnsafeCell::new(MaybeUninit::zeroed()),
        }
    }

    /// Starts it: `handler` is called once, after so many milliseconds.
    pub fn start(
        timer: &'static PerWorker<Timer>,
        handler: ngx_event_handler_pt,
        interval: u64,
        log: *mut ngx_log_t,
    ) {
        // SAFETY: zeroes are an event and a connection, which live as long as the process.
        unsafe {
            let event = (*timer.event.get()).as_mut_ptr();
            let connection = (*timer.connection.get()).as_mut_ptr();
            (*connection).fd = -1;
            (*event).data = connection.cast();
            (*event).handler = handler;
            (*event).set_cancelable(1);
        }
        Timer::again(timer, interval, log);
    }

    /// Starts it again, from its handler.
    pub fn again(timer: &'static PerWorker<Timer>, interval: u64, log: *mut ngx_log_t) {
        // SAFETY: as in `start`; a timer that has expired is in no tree.
        unsafe {
            let event = (*timer.event.get()).as_mut_ptr();
            (*event).log = log;
            ngx_add_timer(event, interval as ngx_msec_t);
        }
    }

    /// Has `handler` called in the next round of the event loop, as `ngx_post_event` does; once, also if that is
    /// asked for twice. A timer is either started or posted.
    pub fn post(
        timer: &'static PerWorker<Timer>,
        handler: ngx_event_handler_pt,
        log: *mut ngx_log_t,
    ) {
        // SAFETY: zeroes are an event, which lives as long as the process; nginx has made the queue, and an event
        // that is not posted is in no queue.
        unsafe {
            let event = &mut *(*timer.event.get()).as_mut_ptr();
            event.log = log;
            event.handler = handler;
            if event.posted() == 0 {
                event.set_posted(1);
                ngx_queue_insert_before(&raw mut ngx_posted_next_events, &mut event.queue);
            }
        }
    }
}
