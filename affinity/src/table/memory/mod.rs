//! The memory that a table lies in, and the changes of it.

pub(crate) mod bucket;
#[cfg(not(loom))]
pub(crate) mod cell;
pub(crate) mod entry;
pub(crate) mod journal;
#[cfg(not(loom))]
pub(crate) mod layout;
pub(crate) mod listing;
#[cfg(not(loom))]
pub(crate) mod lock;
#[cfg(not(loom))]
pub(crate) mod place;
#[cfg(not(loom))]
pub(crate) mod region;
pub(crate) mod summary;
#[cfg(not(loom))]
pub(crate) mod writer;
