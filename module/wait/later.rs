//! Calls a function after a time. The timers are cancelable: an exiting worker does not wait for them.

use core::cell::{RefCell, UnsafeCell};
use core::mem;
use core::ptr;
use std::rc::Rc;

use nginx_sys::{ngx_add_timer, ngx_connection_t, ngx_event_t, ngx_msec_t};

use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::PerWorker;

#[repr(C)]
struct Timer {
    event: UnsafeCell<ngx_event_t>,
    /// nginx's debug log reads the `fd` of a timer's connection.
    connection: UnsafeCell<ngx_connection_t>,
    then: RefCell<Option<Box<dyn FnOnce()>>>,
}

static TIMERS: PerWorker<RefCell<Vec<Rc<Timer>>>> = PerWorker::new(RefCell::new(Vec::new()));

/// Calls `then` after so many milliseconds.
pub fn run(millis: u64, then: impl FnOnce() + 'static) {
    // SAFETY: an event and a connection are valid when zeroed.
    let (event, mut connection) = unsafe { (mem::zeroed(), mem::zeroed::<ngx_connection_t>()) };
    connection.fd = -1;
    let timer = Rc::new(Timer {
        event: UnsafeCell::new(event),
        connection: UnsafeCell::new(connection),
        then: RefCell::new(Some(Box::new(then))),
    });
    // SAFETY: the value keeps its place in the list until nginx has removed the timer.
    unsafe {
        let event = timer.event.get();
        (*event).handler = Some(on_timer);
        (*event).data = timer.connection.get().cast();
        (*event).log = Cycle::running_log();
        (*event).set_cancelable(1);
        ngx_add_timer(event, millis as ngx_msec_t);
    }
    TIMERS.borrow_mut().push(timer);
}

unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    let is_due = |timer: &Rc<Timer>| ptr::eq(timer.event.get(), event);
    let place = TIMERS.borrow().iter().position(is_due);
    if let Some(place) = place {
        let timer = TIMERS.borrow_mut().swap_remove(place);
        let then = timer.then.take();
        if let Some(then) = then {
            then();
        }
    }
}
