//! Keys: the table knows an id only by its keyed hash.

use core::num::NonZeroU64;

use super::hash::DOMAINS;
use super::memory::entry::Entry;

/// What an id names. Equal ids of different kinds have different keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A session.
    Session = 1,
    /// A stream of the MCP transport HTTP+SSE.
    Sse = 2,
    /// An MCP task.
    Task = 3,
}

/// The domain of servers' addresses, where `Kind` is the domain of ids. So the print and the key of one
/// text differ.
pub(super) const ADDRESS: u8 = 0;

const _: () = assert!((Kind::Task as usize) < DOMAINS);

/// The keyed fingerprint of a kind, an id and what the id is bound to. It is valid only in tables with
/// the same secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(super) NonZeroU64);

impl Key {
    /// The fingerprint. Without the secret it tells nothing about the id.
    #[inline]
    pub fn fingerprint(self) -> u64 {
        self.0.get()
    }

    /// The key of an entry that holds a session.
    pub(super) fn of(entry: &Entry) -> Option<Key> {
        Self::from_fingerprint(entry.fingerprint)
    }

    /// The key of a fingerprint; no key has zero.
    pub fn from_fingerprint(fingerprint: u64) -> Option<Key> {
        NonZeroU64::new(fingerprint).map(Key)
    }
}
