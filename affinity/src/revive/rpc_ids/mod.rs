//! Which requests of a server are open: their ids in streams, and those that a client answers. And ids of events.

pub(super) mod client;
pub(super) mod events;
pub(super) mod message;
pub(super) mod stream;
pub(super) mod tag;
