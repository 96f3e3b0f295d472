//! The session table: which server holds a session, for all processes that map the same memory.
//!
//! # Layout
//! A session is a 64-bit keyed fingerprint, a server's number, a time to live and two times: 20
//! bytes. Three of them and a version fill a cache line. Two lines are the body of a
//! [bucket](memory::bucket::Bucket), and two buckets that lie together are a pair. The fingerprint
//! alone says in which five pairs of which shard its session may live. Most sessions are in their
//! home, a bucket of the first pair. A session is in the home's neighbour if the home was rather full
//! when the session was created, and in one of the other pairs if both were. A session never moves
//! from one slot to another.
//!
//! Each bucket has a summary, which is one word: a byte of each fingerprint, and hints that tell
//! whether a session of this home may be in the other pairs. All summaries lie together, two megabytes
//! for a million sessions. Most lookups that find nothing read two summaries, which share a cache
//! line, and no more. Most that find a session read one line of a body besides: of the home's two, the
//! one that a bit of the fingerprint names, unless that was full. `visit_at_once` is for a key that
//! probably has a session. It reads the bodies of the pair first, which are neighbours too, and needs
//! no summary.
//!
//! 36,000 sessions fit in a megabyte without an eviction.
//!
//! # Access
//! - **Buckets and summaries**: any process reads them at any time. Only the holder of their shard's
//!   lock writes them, except the time of last use, which any process may move forward.
//! - **Totals, counts and the journal** of a shard: only the holder of its lock writes them. Any process
//!   reads them; each counter is one atomic word.
//! - **Notes** of a shard, for [listeners](listen): only the holder of its lock writes or reads them. Any
//!   process reads how many there are.
//! - **Prints, cells and records of servers**: only the holder of the list's lock writes them, except
//!   flags, time of use and hits, which are single words that any process writes. A server is taken off
//!   the list only when no shard has a session of it, expired ones included, and
//!   [none can come](memory::listing::Listing).
//! - **Locks** are robust mutexes: the kernel hands a dead holder's lock to the next process that
//!   asks, and says so. Order: the server list's lock, then one shard's; never two shards' of a
//!   table. A process that holds a shard's lock of an older table may take those of newer ones.
//!
//! # What a reader can see
//! A session *leaves* when it is removed (its slot's fingerprint becomes zero) or moved to another
//! server (the meta word changes, which holds server and time to live together). In a table that
//! another has [taken over from](succession), a session that is forgotten moves to a server that is on
//! no list: its slot holds a tombstone, for which no reader finds a print. When a session has left, the
//! writer counts up the line's version, with Release, before it does anything else. A slot is
//! filled only when it is free: a Release fence, meta and times, and at last, with Release, the
//! fingerprint.
//!
//! A reader loads the version (a) with Acquire, finds the fingerprint (b), loads meta and times and
//! the server's print (c), passes an Acquire fence, and loads the version again (d). It uses what it
//! read only if the version is the same. The session that it found in (b) had not left before that
//! version was stored: a reader that sees a version sees what has left before it.
//! - Where the fingerprint is stored, the rest of its slot has been stored before.
//! - The slot is filled again only after the session has left it: after the version and behind the
//!   fence. A reader that sees anything of the new session in (c) sees the new version in (d).
//! - The print belongs to the server. It changes only after the session has left, then the list's lock
//!   has been taken, and the shard's lock passed through. A reader that sees the new print in (c) sees
//!   the new version in (d).
//! - A reader of a session that is being moved sees the old or the new meta word, and the print of
//!   that server. Both servers keep their prints until the version has been counted up.
//!
//! Hence a lookup returns a server that the session was bound to at some moment of the lookup.
//! A lookup that finds nothing is right as well. A session stays in one slot from its creation to
//! its removal. Its tag, and its hint if it is in another pair than its home, are stored before it is
//! published and go after it is removed. A reader that misses a session has looked at its tag, hint
//! or slot before it came or after it went, so there was a moment in between, during the lookup, when
//! it was not there.
//!
//! Lookups need no lock for that, and never wait. A reader begins again only if a session has left
//! the same line during the few loads between (a) and (d). The shard's lock keeps the writers of a
//! line apart, and a change takes longer than a read, so a reader almost never needs a third try. The
//! number of tries has no bound.
//!
//! `touch` compares and swaps the time of last use, and only forward, to the moment that its caller
//! has read from the clock. A successful exchange directly follows the value that it has compared
//! with, so a late one cannot overwrite what a writer has stored since. If the slot was given to another
//! session with the same time of last use, that session counts as used later than it was, at a moment
//! that is not later than now; never as used earlier.
//!
//! # What a death leaves behind
//! A process may be killed between any two instructions.
//! - Reading or touching: nothing. A reader has no state in the memory.
//! - Holding a shard's lock: each change is first written into the shard's
//!   [journal](memory::journal::Journal), with the final value of every word that it will store. If the
//!   process dies before the journal's action word is stored, the change has not begun. If it dies after
//!   that, the next holder makes the whole change again, and the result is the same however far the dead
//!   process got. Counters are final values, too, so that nothing counts twice or not at all. Until then
//!   readers see a slot that is whole, free, or not yet filled, and no reader waits. To replace a session
//!   is two changes, removal and creation; to replace a tombstone is one.
//! - Holding the server list's lock: a server without a print is not on the list, and the print is
//!   stored last. The next holder clears a mark that an unfinished recycling has left.
//! - Hits and unknown ids are counted by one atomic addition each.
//!
//! By hand: we know of no crate with a map that lies in shared memory, is read without a lock, and
//! survives the death of a process in the middle of a change.

#![warn(missing_docs)]

#[cfg(not(loom))]
mod bind;
#[cfg(not(loom))]
mod find;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod hash;
#[cfg(not(loom))]
mod import;
#[cfg(not(loom))]
mod key;
mod listen;
#[cfg(loom)]
mod loom;
pub(crate) mod memory;
#[cfg(not(loom))]
mod servers;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod succession;
#[cfg(not(loom))]
mod sweep;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;

pub use crate::time::{Limits, Span, Tick};
pub use sync::flag::Flag;

#[cfg(not(loom))]
pub use bind::{Bound, Existing};
#[cfg(not(loom))]
pub use find::Session;
#[cfg(not(loom))]
pub use handle::Table;
#[cfg(not(loom))]
pub use key::{Key, Kind};
#[cfg(not(loom))]
pub use listen::change::{Change, End};
#[cfg(not(loom))]
pub use listen::listener::{Heard, Hearing, Held, Listener};
#[cfg(not(loom))]
pub use memory::layout::TableError;
#[cfg(not(loom))]
pub use servers::{ServerId, ServerStats};
#[cfg(not(loom))]
pub use stats::Stats;
#[cfg(not(loom))]
pub use succession::HandOn;
