//! A request that opens a session (`initialize`) is not rejected for an id that it carries.
//!
//! Clients keep an id over a restart, or send "null". With `unknown=reject` their `initialize` would be
//! answered 404 for ever. It is balanced instead, with its id: the server decides what to do with that.

mod early;
mod spared;

pub use early::{beneath, install};
