//! What happens to the sessions of a table, for those who want to know.
//!
//! # How to listen
//! A process keeps a [`Listener`](listener::Listener) for each table. It calls
//! [`Table::hear`](super::Table::hear) again and again, each time until [`Hearing::more`](listener::Hearing)
//! is false. The first call starts the notes and reports `missed`: the sessions that are already there
//! are heard as [`Change::Present`](change::Change). What is heard is not a count: a change may be heard
//! twice, or not at all. [`Table::stats`](super::Table::stats) has the counts.
//!
//! # How a change is heard of
//! Each shard has a ring of [notes](ring::Note). A writer that holds the shard's lock writes the note of a
//! change first, then the change. A [`Listener`](listener::Listener), in any process, takes the notes
//! while it holds that lock, releases the lock, and reads the session of each note as any reader does.
//! Under the lock no change lies between its note and its end: a living writer has finished it, and
//! that of a dead one has been finished from the journal, or has not begun.
//!
//! - **At least once**: a change that is made has a note. A note whose writer died before the change
//!   began is heard as well, with the session as it is.
//! - **The last one heard is the state**: what a listener hears of a session is read when it hears it. A
//!   change that is made later has a note that the listener has not taken yet.
//!
//! # What it costs
//! A lookup costs nothing. A writer compares two numbers: of the notes that were written, and of the note at
//! which writers stop. They are in cache lines that the writer uses for its journal anyway. A listener
//! that takes notes moves the second number to one ring behind the last note that it took. So a table
//! without a listener has no notes, and a listener that died or does not come costs one ring of notes for
//! each shard, then nothing. No writer waits for a listener.
//!
//! # What may go unheard
//! If the ring was full, or the listener is new, it *has missed* something. Then it hears all sessions of
//! the shard, and the notes that are still in the ring. That repairs each creation and each move. An end
//! may stay unheard, if more changes of its shard than the ring holds have come after it:
//! - since the listener took notes for the last time, or
//! - since another listener died that had taken its note.
//!
//! [`Hearing::missed`](listener::Hearing) says so. A listener that keeps a list of sessions then looks up
//! each of them ([`Table::held`](super::Table::held)); one whose list is elsewhere gives its entries
//! an end there (a time to live).
//!
//! In a [superseded](super::succession) table the listener of the successor hears of a change when it is
//! repeated there, and of a new session when that is first looked up there.

pub mod change;
#[cfg(not(loom))]
pub mod listener;
pub(super) mod ring;
