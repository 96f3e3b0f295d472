//! The memory that a table lies in, and the changes of it.

pub(crate) mod bucket;
#[cfg(not(loom))]
pub(crate) mod cell;
pub(crate) mod journal;
pub(crate) mod listing;
#[cfg(not(loom))]
pub(crate) mod lock;
#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
pub(crate) mod place;
#[cfg(not(loom))]
pub(crate) mod region;
pub(crate) mod sync;
#[cfg(not(loom))]
pub(crate) mod writer;
