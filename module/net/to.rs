//! What a connection is to, and for how long.

use core::ptr::NonNull;

use super::address::Address;
use super::target::Target;

/// What a connection is to.
#[derive(Clone, Copy)]
pub enum To {
    Address(Address),
    Target(LiveTarget),
}

/// A target of the configuration that this process runs.
#[derive(Clone, Copy)]
pub struct LiveTarget(pub(super) NonNull<Target>);

impl LiveTarget {
    /// # Safety
    /// The target lives as long as the cycle that this process runs, or is about to run: `close_all` is
    /// called before it ends.
    pub unsafe fn new(target: &Target) -> LiveTarget {
        LiveTarget(NonNull::from(target))
    }
}

/// Times of a connection, in milliseconds.
#[derive(Clone, Copy)]
pub struct Times {
    /// Until it begins.
    pub delay: u64,
    /// From then until it must have ended.
    pub deadline: u64,
    /// Whether the deadline is over when the connection is established: it then lasts until its protocol, its
    /// user or the server ends it.
    pub lasts: bool,
}
