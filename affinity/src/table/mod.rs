//! The session table: which server holds a session, for all processes that map the same memory.
//!
//! # Layout
//! A session is a 64-bit keyed fingerprint, a server's number, a time to live and two times: 20
//! bytes. Three of them and a version fill a cache line, two lines are the body of a
//! [bucket](memory::bucket::Bucket), and two buckets that lie together are a pair. The fingerprint alone
//! says in which five pairs of which shard its session may live: mostly in its home, a bucket of the
//! first; in the home's neighbour if the home was rather full when the session was created; in one
//! of the other pairs if both were. A session never moves from one slot to another.
//!
//! A word for each bucket, its summary, lies with those of its neighbours in two megabytes for a
//! million sessions: a byte of each fingerprint, and hints that tell whether a session of this home
//! is worth looking for in the other pairs. Most lookups that find nothing read two such words,
//! which share a cache line, and no more. Most that find a session need one line of a body besides:
//! the one of the home's two that a bit of the fingerprint names, unless that was full. Who expects
//! to find the session (`visit_at_once`) looks into the bodies of the pair first, which are neighbours
//! too, and needs no summary.
//!
//! 36,000 sessions fit in a megabyte without an eviction.
//!
//! # Who may read and write what, when
//! - **Buckets and summaries** are read by anybody at any time. They are written by the holder of
//!   the lock of their shard, but for the time of last use, which anybody may move forward.
//! - **Totals, counts and the journal** of a shard are written by the holder of its lock, and read
//!   by anybody; each counter is one atomic word.
//! - **Prints and cells of servers** are written by the holder of the list's lock, but for flags,
//!   time of unavailability, time of use and hits, which are single words for anybody. A server is
//!   taken off the list only when no shard has a session of it, expired ones included, and
//!   [none can come](memory::listing::Listing).
//! - **Locks** are robust mutexes: the kernel hands a dead holder's lock to the next process that
//!   asks, and says so. Order: the server list's lock, then one shard's; never two shards' of a
//!   table. With a shard's lock of an older table, those of newer ones are taken.
//!
//! # What a reader can see
//! A session *leaves* when it is removed (its slot's fingerprint becomes zero) or moved to another
//! server (the meta word, which holds server and time to live together). In a table that another
//! has [taken over from](succession), a session that is forgotten moves to a server that is on no
//! list: its slot holds a tombstone, for which no reader finds a print. When it has left, the
//! writer counts up the line's version, with Release, before it does anything else. A slot is
//! filled only when it is free: a Release fence, meta and times, and at last, with Release, the
//! fingerprint.
//!
//! A reader loads the version (a) with Acquire, finds the fingerprint (b), loads meta and times and
//! the server's print (c), passes an Acquire fence, and loads the version again (d). It believes
//! what it read if the version is the same. What it found in (b) had not left before that version
//! was stored, for to see a version is to see what has left before.
//! - Where the fingerprint is stored, the rest of its slot has been stored before.
//! - The slot is filled anew only after the session has left it: after the version and behind the
//!   fence. A reader that sees anything of the new session in (c) sees the new version in (d).
//! - The print belongs to the server: for it to change, the session must have left, then the list's
//!   lock been taken and the shard's lock passed through, and then the print been stored. A reader
//!   that sees the new print in (c) sees the new version in (d).
//! - A reader of a session that is just being moved sees the old or the new meta word and the print
//!   of that server, which both servers keep until the version has been counted up.
//!
//! Hence a lookup returns a server that the session was bound to at some moment of the lookup.
//! A lookup that finds nothing is right as well: a session stays in one slot from its creation to
//! its removal; its tag, and its hint if it is in another pair than its home, are stored before it is
//! published and go after it is removed. A reader that misses a session has looked at its tag, hint
//! or slot before it came or after it went, so there was a moment in between, during the lookup, when
//! it was not there.
//!
//! Lookups need no lock for that, and never wait: a reader begins again only if a session has left
//! the same line during the few loads between (a) and (d). Writers of a line follow each other by
//! the shard's lock, and a change takes longer than a read, so that the second try succeeds but
//! for a coincidence, and the tenth but for a miracle.
//!
//! `touch` compares and swaps the time of last use, and only forward to the moment its caller has
//! read from the clock. A successful exchange follows the very value it has compared with, so one
//! that comes late cannot overwrite what a writer has stored since. If the slot was given to another
//! session with the same time of last use, that one counts as used later than it was, at a moment
//! that is not later than now; never as used earlier.
//!
//! # What a death leaves behind
//! A process may be killed between any two instructions.
//! - Reading or touching: nothing; there is no state of a reader.
//! - Holding a shard's lock: each change is written into the shard's [journal](memory::journal::Journal)
//!   first, with the final value of every word it will store. Dead before the journal's action word
//!   was stored: the change has not begun. After it: the next holder makes the whole change again,
//!   which gives the same result however far the dead one got; counters are final values, too, so
//!   that nothing counts twice or not at all. Until then readers see a slot that is whole, free, or
//!   not yet filled, and no reader waits. To replace a session is two changes, removal and creation;
//!   to replace a tombstone is one.
//! - Holding the server list's lock: a server without a print is not there, and the print is stored
//!   last. A mark left by an unfinished recycling is cleared by the next holder.
//! - Hits and unknown ids are counted by one atomic addition each.

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
#[cfg(loom)]
mod loom;
mod memory;
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

pub use sync::flag::Flag;
pub use crate::time::{Limits, Span, Tick};

#[cfg(not(loom))]
pub use bind::{Bound, Existing};
#[cfg(not(loom))]
pub use find::Session;
#[cfg(not(loom))]
pub use handle::Table;
#[cfg(not(loom))]
pub use key::{Key, Kind};
#[cfg(not(loom))]
pub use memory::layout::Error;
#[cfg(not(loom))]
pub use servers::{ServerId, ServerStats};
#[cfg(not(loom))]
pub use stats::Stats;
#[cfg(not(loom))]
pub use succession::HandOn;
