//! `gone=revive`: a session whose server is gone, or has forgotten it, is opened again by nginx, with the client's
//! own `initialize`. The client keeps its id.
//!
//! 1. `keep.rs`: the record of a session is kept when the answer to its `initialize` passes.
//! 2. `judge.rs`: a request of the owner whose server is gone, or says that it does not know the session, is held
//!    (`hold/`), and the rules of `affinity/src/revive/` decide.
//! 3. `course.rs`: the calls to the old and the new server (`rpc/`).
//! 4. `rename.rs`: from then on the id is replaced, in requests to the server and in its answers.
//! 5. `streams.rs`: a stream whose server dies ends so that its client opens it again.

mod choose;
mod course;
mod head;
mod judge;
pub mod keep;
mod pings;
pub mod rename;
mod session;
mod streams;

pub use judge::{arrange, is_kept, may_end, refuses_absence};
