//! Statics of a worker, and its timers.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::Deref;

use std::os::fd::RawFd;

use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_del_timer, ngx_event_handler_pt, ngx_event_t, ngx_exiting,
    ngx_free_connection, ngx_get_connection, ngx_inherited, ngx_log_t, ngx_msec_t, ngx_parent,
    ngx_posted_next_events, ngx_process, ngx_queue_insert_before, ngx_test_config, ngx_worker,
    NGX_PROCESS_HELPER, NGX_PROCESS_MASTER, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};

/// A static that only the event loop of this process uses. Its changing parts are `Cell`s or `RefCell`s.
pub struct PerWorker<T>(T);

// SAFETY: nginx calls this module in one thread of each process, the event loop's. nginx's thread pools run
// only tasks of nginx's own files.
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

/// Whether this process serves requests: a worker, or the single process of `master_process off`.
pub fn serves_requests() -> bool {
    // SAFETY: a plain word, written when the process starts.
    let process = unsafe { ngx_process } as u32;
    process == NGX_PROCESS_WORKER || process == NGX_PROCESS_SINGLE
}

/// Whether nginx only tests a configuration.
pub fn is_test() -> bool {
    // SAFETY: a plain word, written when the process starts.
    unsafe { ngx_test_config != 0 }
}

/// Whether this process has workers, or had some: a configuration that it reads is a reload.
pub fn is_master() -> bool {
    // SAFETY: a plain word, written when the process starts.
    unsafe { ngx_process as u32 == NGX_PROCESS_MASTER }
}

/// Whether this is the binary of an upgrade (USR2), and the old one lives: nginx's own test before it starts another.
pub fn old_binary_lives() -> bool {
    // SAFETY: plain words, written when the process starts; reads a number of this process.
    unsafe { ngx_inherited != 0 && ngx_parent == libc::getppid() }
}

/// The process id of the master; of a single process its own.
pub fn master_id() -> u32 {
    // SAFETY: a plain word, written when the process starts.
    let process = if is_forked() { unsafe { ngx_parent } } else { 0 };
    u32::try_from(process).ok().filter(|&id| id > 0).unwrap_or_else(std::process::id)
}

/// Calls `handler` when this worker begins to exit, with an event whose connection has this descriptor. Never
/// called if the worker has no connection left for it.
pub fn when_exiting(fd: RawFd, handler: ngx_event_handler_pt, log: *mut ngx_log_t) {
    // SAFETY: nginx returns a connection or null. It calls the read handler of each idle connection when a worker
    // begins to exit (`ngx_close_idle_connections`), and nothing else uses this one.
    unsafe {
        let connection = ngx_get_connection(fd, log);
        if !connection.is_null() {
            (*connection).set_idle(1);
            (*(*connection).read).handler = handler;
            (*(*connection).read).log = log;
        }
    }
}

/// The descriptor of an event of [`when_exiting`], whose connection is freed.
///
/// # Safety
/// `event` is what nginx passes to the handler.
pub unsafe fn exiting(event: *mut ngx_event_t) -> RawFd {
    // SAFETY: the connection of `when_exiting`, which is not used any more.
    unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        let fd = (*connection).fd;
        ngx_free_connection(connection);
        (*connection).fd = -1;
        fd
    }
}

/// Whether a master has forked this process: a worker, or one of the cache.
pub fn is_forked() -> bool {
    // SAFETY: a plain word, written when the process starts.
    let process = unsafe { ngx_process } as u32;
    process == NGX_PROCESS_WORKER || process == NGX_PROCESS_HELPER
}

/// The number of this worker, from zero.
pub fn number() -> usize {
    // SAFETY: a plain word, written when the process starts.
    unsafe { ngx_worker }
}

/// Whether this worker exits when its last request has ended.
pub fn is_exiting() -> bool {
    // SAFETY: a plain word, written by this process's event loop only.
    unsafe { ngx_exiting != 0 }
}

/// A cancelable timer of a worker: an exiting worker does not wait for it.
pub struct Timer {
    event: UnsafeCell<MaybeUninit<ngx_event_t>>,
    /// The `data` of the event: nginx's debug log reads the `fd` of a timer's connection.
    connection: UnsafeCell<MaybeUninit<ngx_connection_t>>,
}

impl Timer {
    pub const fn new() -> Timer {
        Timer {
            event: UnsafeCell::new(MaybeUninit::zeroed()),
            connection: UnsafeCell::new(MaybeUninit::zeroed()),
        }
    }

    /// Starts the timer: `handler` is called once, after `interval` milliseconds.
    pub fn start(
        timer: &'static PerWorker<Timer>,
        handler: ngx_event_handler_pt,
        interval: u64,
        log: *mut ngx_log_t,
    ) {
        // SAFETY: an event and a connection are valid when zeroed; both live as long as the process, and only
        // its event loop uses them.
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

    /// Stops the timer, if it runs. nginx keeps the time of a timer that runs if the new one is close to it.
    pub fn stop(timer: &'static PerWorker<Timer>) {
        // SAFETY: an event is valid when zeroed, and lives as long as the process; it is in nginx's tree if its
        // flag says so.
        unsafe {
            let event = (*timer.event.get()).as_mut_ptr();
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
        }
    }

    /// Starts the timer again, from its handler.
    pub fn again(timer: &'static PerWorker<Timer>, interval: u64, log: *mut ngx_log_t) {
        // SAFETY: `start` has filled the event, which lives as long as the process; nginx has removed an
        // expired timer from its tree.
        unsafe {
            let event = (*timer.event.get()).as_mut_ptr();
            (*event).log = log;
            ngx_add_timer(event, interval as ngx_msec_t);
        }
    }

    /// Posts the event (`ngx_post_event`): `handler` is called in the next round of the event loop, once even
    /// if the event is posted twice. A timer is either started or posted.
    pub fn post(
        timer: &'static PerWorker<Timer>,
        handler: ngx_event_handler_pt,
        log: *mut ngx_log_t,
    ) {
        // SAFETY: an event is valid when zeroed, and lives as long as the process. nginx has initialised the
        // queue, and an event that is not posted is in no queue.
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
