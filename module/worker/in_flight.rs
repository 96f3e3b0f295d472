//! The sessions of this worker's open requests.

use core::cell::{Cell, UnsafeCell};
use core::ptr;

use affinity::table::{Key, Span, Tick};
use nginx_sys::{ngx_queue_init, ngx_queue_insert_before, ngx_queue_remove, ngx_queue_t};

use crate::nginx::per_worker::PerWorker;
use crate::zone::sessions::Sessions;

/// The open requests, the one with the oldest refresh first.
static OPEN: PerWorker<UnsafeCell<ngx_queue_t>> = PerWorker::new(UnsafeCell::new(UNLINKED));

const UNLINKED: ngx_queue_t = ngx_queue_t { prev: ptr::null_mut(), next: ptr::null_mut() };

/// The head of the list, initialised at the first call.
#[inline(always)]
fn open() -> *mut ngx_queue_t {
    let head = OPEN.get();
    // SAFETY: a static of this process, which only this file uses, in one thread.
    unsafe {
        if (*head).next.is_null() {
            ngx_queue_init(head);
        }
    }
    head
}

/// Refreshes the sessions whose last refresh is at least `every` ago, and moves them to the end of the list.
pub(super) fn refresh(now: Tick, every: Span) {
    let head = open();
    // SAFETY: each element of the list is the first field of a live `InFlight`: dropping one unlinks it.
    unsafe {
        loop {
            let first = (*head).next;
            if first == head {
                break;
            }
            let held = &*first.cast::<InFlight>();
            if now.since(held.refreshed.get()) < every {
                break;
            }
            held.touch(now);
            ngx_queue_remove(first);
            ngx_queue_insert_before(head, first);
        }
    }
}

/// The session of a request; it does not expire while it is held. The queue is the first field: the list
/// links these.
#[repr(C)]
pub struct InFlight {
    /// Null pointers while the session is not held.
    queue: UnsafeCell<ngx_queue_t>,
    sessions: &'static Sessions,
    key: Cell<Option<Key>>,
    refreshed: Cell<Tick>,
}

impl InFlight {
    pub fn new(sessions: &'static Sessions) -> InFlight {
        InFlight {
            queue: UnsafeCell::new(UNLINKED),
            sessions,
            key: Cell::new(None),
            refreshed: Cell::new(Tick::from_millis(0)),
        }
    }

    pub fn sessions(&self) -> &'static Sessions {
        self.sessions
    }

    pub fn key(&self) -> Option<Key> {
        self.key.get()
    }

    /// Sets the session without holding it.
    pub fn note(&self, key: Key) {
        self.drop_hold();
        self.key.set(Some(key));
    }

    /// Holds a session, and releases the one held before.
    ///
    /// # Safety
    /// 1. The value stays where it is until it is dropped.
    /// 2. It is dropped before its memory is used for something else.
    pub unsafe fn hold(&self, key: Key, now: Tick) {
        self.note(key);
        // SAFETY: `note` has unlinked the queue; it stays at its address and is unlinked by `drop` (1, 2).
        unsafe { ngx_queue_insert_before(open(), self.queue.get()) };
        // The lookup or the bind has just refreshed the session.
        self.refreshed.set(now);
    }

    fn is_held(&self) -> bool {
        // SAFETY: only this file uses the queue, in the thread of the event loop.
        unsafe { !(*self.queue.get()).next.is_null() }
    }

    /// Refreshes the session.
    #[cold]
    fn touch(&self, now: Tick) {
        if let Some(key) = self.key.get() {
            self.sessions.table.touch(key, now);
            self.refreshed.set(now);
        }
    }

    /// Releases the session, if it is held: its idle time begins now.
    pub fn release(&self, now: Tick) {
        if self.is_held() {
            if self.refreshed.get() != now {
                self.touch(now);
            }
            self.unlink();
        }
    }

    /// Releases the session without a refresh.
    pub fn drop_hold(&self) {
        if self.is_held() {
            self.unlink();
        }
    }

    #[inline(always)]
    fn unlink(&self) {
        // SAFETY: the callers have checked that the queue is in the list.
        unsafe {
            ngx_queue_remove(self.queue.get());
            self.queue.get().write(UNLINKED);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.drop_hold();
    }
}
