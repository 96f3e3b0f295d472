//! The sessions of requests that are open in this worker.

use crate::nginx::per_worker::PerWorker;
use crate::zone::sessions::Sessions;
use affinity::table::{Key, Span, Tick};
use core::cell::UnsafeCell;
use core::ptr;
use nginx_sys::{ngx_queue_init, ngx_queue_insert_before, ngx_queue_remove, ngx_queue_t};

/// Open requests, the longest unrefreshed first.
static OPEN: PerWorker<UnsafeCell<ngx_queue_t>> = PerWorker::new(UnsafeCell::new(UNLINKED));

/// Makes the list, unless it is there.
///
/// # Safety
/// Called when a worker starts, before any request.
pub(super) unsafe fn begin() {
    // SAFETY: by this function's contract.
    unsafe {
        if (*OPEN.get()).next.is_null() {
            ngx_queue_init(OPEN.get());
        }
    }
}

/// Refreshes the sessions of what has been open for long; those refreshed lately stand behind.
pub(super) unsafe fn refresh(now: Tick, every: Span) {
    // SAFETY: in the event loop; what is in the list removes itself before it goes.
    unsafe {
        let head = OPEN.get();
        loop {
            let first = (*head).next;
            if first == head {
                break;
            }
            let held = &mut *first.cast::<InFlight>();
            if now.since(held.refreshed) < every {
                break;
            }
            held.touch(now);
            ngx_queue_remove(&mut held.queue);
            ngx_queue_insert_before(head, &mut held.queue);
        }
    }
}

/// The session of a request, kept alive while it is held. The queue comes first: the list knows it by
/// that.
#[repr(C)]
pub struct InFlight {
    /// Null pointers while the session is not held.
    pub(super) queue: ngx_queue_t,
    sessions: &'static Sessions,
    key: Option<Key>,
    pub(super) refreshed: Tick,
}

impl InFlight {
    pub fn new(sessions: &'static Sessions) -> InFlight {
        InFlight { queue: UNLINKED, sessions, key: None, refreshed: Tick::from_millis(0) }
    }

    pub fn sessions(&self) -> &'static Sessions {
        self.sessions
    }

    pub fn key(&self) -> Option<Key> {
        self.key
    }

    /// Notes which session it is, without holding it.
    pub fn note(&mut self, key: Key) {
        self.drop_hold();
        self.key = Some(key);
    }

    /// Keeps a session alive from now on, and no other.
    ///
    /// # Safety
    /// The value must not move, and must be dropped before its memory goes.
    pub unsafe fn hold(&mut self, key: Key, now: Tick) {
        self.note(key);
        // SAFETY: in the event loop, by this function's contract.
        unsafe { ngx_queue_insert_before(OPEN.get(), &mut self.queue) };
        // A session was used when it was looked up or bound, which is now.
        self.refreshed = now;
    }

    fn is_held(&self) -> bool {
        !self.queue.next.is_null()
    }

    /// Refreshes the session.
    #[cold]
    pub(super) fn touch(&mut self, now: Tick) {
        if let Some(key) = self.key {
            self.sessions.table.touch(key, now);
            self.refreshed = now;
        }
    }

    /// Lets the session's idle time begin, if it is held.
    pub fn release(&mut self, now: Tick) {
        if self.is_held() {
            if self.refreshed != now {
                self.touch(now);
            }
            self.unlink();
        }
    }

    /// Lets go of the session as it is.
    pub fn drop_hold(&mut self) {
        if self.is_held() {
            self.unlink();
        }
    }

    #[inline(always)]
    fn unlink(&mut self) {
        // SAFETY: it is in the list.
        unsafe { ngx_queue_remove(&mut self.queue) };
        self.queue = UNLINKED;
    }
}

pub(super) const UNLINKED: ngx_queue_t =
    ngx_queue_t { prev: ptr::null_mut(), next: ptr::null_mut() };

impl Drop for InFlight {
    fn drop(&mut self) {
        self.drop_hold();
    }
}
