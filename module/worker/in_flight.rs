//! The sessions of requests that are open in this worker.

use core::cell::{Cell, UnsafeCell};
use core::ptr;

use affinity::table::{Key, Span, Tick};
use nginx_sys::{ngx_queue_init, ngx_queue_insert_before, ngx_queue_remove, ngx_queue_t};

use crate::nginx::per_worker::PerWorker;
use crate::zone::sessions::Sessions;

/// Open requests, the longest unrefreshed first.
static OPEN: PerWorker<UnsafeCell<ngx_queue_t>> = PerWorker::new(UnsafeCell::new(UNLINKED));

const UNLINKED: ngx_queue_t = ngx_queue_t { prev: ptr::null_mut(), next: ptr::null_mut() };

/// The head of the list, which is made when it is needed first.
#[inline(always)]
fn open() -> *mut ngx_queue_t {
    let head = OPEN.get();
    // SAFETY: a static of this process, which only this file uses.
    unsafe {
        if (*head).next.is_null() {
            ngx_queue_init(head);
        }
    }
    head
}

/// Refreshes the sessions of what has been open for long; those refreshed lately stand behind.
pub(super) fn refresh(now: Tick, every: Span) {
    let head = open();
    // SAFETY: what is in the list is the queue of an `InFlight`, which is unlinked before it goes.
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

/// The session of a request, kept alive while it is held. The queue comes first: the list knows it by
/// that.
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

    /// Notes which session it is, without holding it.
    pub fn note(&self, key: Key) {
        self.drop_hold();
        self.key.set(Some(key));
    }

    /// Keeps a session alive from now on, and no other.
    ///
    /// # Safety
    /// 1. The value stays where it is until it is dropped.
    /// 2. It is dropped before its memory is used for something else.
    pub unsafe fn hold(&self, key: Key, now: Tick) {
        self.note(key);
        // SAFETY: it is in no list, and stays valid as long as it is in this one (1, 2).
        unsafe { ngx_queue_insert_before(open(), self.queue.get()) };
        // A session was used when it was looked up or bound, which is now.
        self.refreshed.set(now);
    }

    fn is_held(&self) -> bool {
        // SAFETY: only this file uses the queue, in one thread.
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

    /// Lets the session's idle time begin, if it is held.
    pub fn release(&self, now: Tick) {
        if self.is_held() {
            if self.refreshed.get() != now {
                self.touch(now);
            }
            self.unlink();
        }
    }

    /// Lets go of the session as it is.
    pub fn drop_hold(&self) {
        if self.is_held() {
            self.unlink();
        }
    }

    #[inline(always)]
    fn unlink(&self) {
        // SAFETY: it is in the list.
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
