//! Which requests of a server are open: their ids in streams, and those that a client answers.

pub(super) mod client;
pub(super) mod message;
pub(super) mod stream;
