//! Whether a server on the list takes sessions, and how it leaves the list.

use crate::table::sync::{AtomicU32, AtomicU64, Ordering};

/// In `shape`: the server is about to be taken off the list; it gets no sessions.
const RETIRING: u32 = 1 << 31;

/// A place in the server list.
#[derive(Clone, Copy)]
pub(crate) struct Listing<'a> {
    /// Bits 0..16: length of the address in bytes. `RETIRING`, written under the list's lock.
    pub(crate) shape: &'a AtomicU32,
    /// The server's print; zero if there is none.
    pub(crate) print: &'a AtomicU64,
}

impl Listing<'_> {
    /// Whether the server of `print` is here and takes sessions. The answer holds for the sessions of a
    /// shard while the caller holds that shard's lock.
    pub(crate) fn accepts(&self, print: u64) -> bool {
        // In this order. A process that sees a mark taken off sees the print as `decide` has left it. If
        // a mark is set later, the print goes only after the caller has released its lock.
        let marked = self.shape.load(Ordering::Acquire) & RETIRING != 0;
        !marked && print != 0 && self.print.load(Ordering::Acquire) == print
    }

    /// Marks the server. The caller holds the list's lock, and then takes and releases the lock of each
    /// shard: a process that has not seen the mark has bound its session before that.
    pub(crate) fn mark(&self) {
        self.shape.store(self.shape.load(Ordering::Relaxed) | RETIRING, Ordering::Release);
    }

    /// Takes the server off the list if no shard had a session of it; otherwise it stays.
    pub(crate) fn decide(&self, goes: bool) {
        if goes {
            self.print.store(0, Ordering::Release);
        }
        self.unmark();
    }

    /// Prepares the place for a new server with an address of so many bytes. The caller holds the
    /// list's lock.
    pub(crate) fn set_address_len(&self, len: u32) {
        self.shape.store(len, Ordering::Release);
    }

    /// Takes the mark off. Release: a process that sees no mark sees what `decide` has stored before.
    pub(crate) fn unmark(&self) {
        self.shape.store(self.shape.load(Ordering::Relaxed) & !RETIRING, Ordering::Release);
    }
}
