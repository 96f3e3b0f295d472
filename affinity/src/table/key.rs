//! Keys: what the table knows of an id.

use core::num::NonZeroU64;

use super::hash::DOMAINS;
use super::memory::entry::Entry;

/// What an id names. Ids of different kinds never meet.
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

/// Stands for the addresses of servers where `Kind` stands for ids, so that a print and a key of
/// the same text differ.
pub(super) const ADDRESS: u8 = 0;

const _: () = assert!((Kind::Task as usize) < DOMAINS);

/// The keyed fingerprint of a kind, an id and what the id is bound to. It means something only in
/// tables with the same secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(super) NonZeroU64);

impl Key {
    /// The fingerprint. It tells nothing about the id to anybody without the secret.
    #[inline]
    pub fn fingerprint(self) -> u64 {
        self.0.get()
    }

    /// That of an entry which holds a session.
    pub(super) fn of(entry: &Entry) -> Option<Key> {
        NonZeroU64::new(entry.fingerprint).map(Key)
    }
}
