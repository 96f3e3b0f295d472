//! The timer of a connection.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem;
use core::ptr;

use nginx_sys::{
    ngx_add_timer, ngx_del_timer, ngx_delete_posted_event, ngx_event_handler_pt, ngx_event_t,
    ngx_log_t, ngx_msec_t, ngx_post_event, ngx_posted_next_events, ngx_socket_t,
};

/// The `data` of the event. nginx's debug log reads the number of a socket where a connection has its own,
/// behind three pointers.
#[repr(C)]
struct Data {
    owner: *const c_void,
    unused: [*const c_void; 2],
    number: ngx_socket_t,
}

/// A cancelable timer in a value that does not move: an exiting worker does not wait for it.
pub(super) struct Timer {
    event: UnsafeCell<ngx_event_t>,
    data: UnsafeCell<Data>,
}

impl Timer {
    pub(super) fn new() -> Timer {
        // SAFETY: an event is valid when zeroed.
        let event = unsafe { mem::zeroed() };
        let data = Data { owner: ptr::null(), unused: [ptr::null(); 2], number: -1 };
        Timer { event: UnsafeCell::new(event), data: UnsafeCell::new(data) }
    }

    /// Sets what the timer is for. To be called once, before the other methods.
    ///
    /// # Safety
    /// 1. The timer has the address at which it stays until it is dropped; `owner` and `log` live as long.
    /// 2. `handler` takes an event whose [`Timer::owner`] is `owner`.
    pub(super) unsafe fn set(
        &self,
        handler: ngx_event_handler_pt,
        owner: *const c_void,
        log: *mut ngx_log_t,
    ) {
        // SAFETY: only the event loop's thread uses the timer.
        unsafe {
            (*self.data.get()).owner = owner;
            let event = &mut *self.event.get();
            event.data = self.data.get().cast();
            event.handler = handler;
            event.log = log;
            event.set_cancelable(1);
        }
    }

    /// The owner of the timer with this event.
    ///
    /// # Safety
    /// `event` is what nginx passes to the handler of a timer.
    pub(super) unsafe fn owner(event: *mut ngx_event_t) -> *const c_void {
        // SAFETY: `set` has set the data of the event.
        unsafe { (*(*event).data.cast::<Data>()).owner }
    }

    /// Starts the timer, again if it runs.
    pub(super) fn start(&self, milliseconds: u64) {
        // SAFETY: `set` has filled the event, which stays where it is.
        unsafe {
            (*self.event.get()).set_timedout(0);
            ngx_add_timer(self.event.get(), milliseconds as ngx_msec_t);
        }
    }

    /// Stops the timer, if it runs.
    pub(super) fn stop(&self) {
        // SAFETY: `set` has filled the event; an event is in nginx's tree if its flag says so.
        unsafe {
            if (*self.event.get()).timer_set() != 0 {
                ngx_del_timer(self.event.get());
            }
        }
    }

    /// Calls the handler in the next round of the event loop, whether or not the timer runs.
    pub(super) fn post(&self) {
        // SAFETY: `set` has filled the event, which stays where it is; nginx has initialised the queue.
        unsafe { ngx_post_event(self.event.get(), &raw mut ngx_posted_next_events) };
    }

    /// Whether the handler was called by the timer, not by [`Timer::post`].
    pub(super) fn is_over(&self) -> bool {
        // SAFETY: only the event loop's thread uses the timer.
        unsafe { (*self.event.get()).timedout() != 0 }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: an event is in nginx's tree or queue if its flags say so.
        unsafe {
            let event = self.event.get();
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
            if (*event).posted() != 0 {
                ngx_delete_posted_event(event);
            }
        }
    }
}
