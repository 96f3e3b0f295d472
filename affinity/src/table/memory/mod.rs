//! The memory of a table: layout, buckets, journal, locks, and the writer of one shard.

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
