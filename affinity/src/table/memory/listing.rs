//! Whether a place in the server list takes sessions, and how a server leaves it.

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
    /// Whether the server of `print` is here and takes sessions. Lasts as long as the caller holds the
    /// lock of a shard, for sessions of that shard.
    pub(crate) fn accepts(&self, print: u64) -> bool {
        // In this order. Who sees no mark that has been there sees the print gone, too; and a mark
        // that comes later waits for the caller's lock before the print goes.
        let marked = self.shape.load(Ordering::Acquire) & RETIRING != 0;
        !marked && print != 0 && self.print.load(Ordering::Acquire) == print
    }

    /// Marks the server. Then the caller, who holds the list's lock, passes through the lock of each
    /// shard: who has not seen the mark has bound its session before.
    pub(crate) fn mark(&self) {
        self.shape.store(self.shape.load(Ordering::Relaxed) | RETIRING, Ordering::Release);
    }

    /// The server goes if no shard had a session of it, and stays otherwise.
    pub(crate) fn decide(&self, goes: bool) {
        if goes {
            self.print.store(0, Ordering::Release);
        }
        self.unmark();
    }

    /// A new server is about to come, with an address of so many bytes. The caller holds the list's
    /// lock.
    pub(crate) fn set_address_len(&self, len: u32) {
        self.shape.store(len, Ordering::Release);
    }

    /// Release, as above: who sees no mark sees the print gone.
    pub(crate) fn unmark(&self) {
        self.shape.store(self.shape.load(Ordering::Relaxed) & !RETIRING, Ordering::Release);
    }
}
