//! The memory of the records: layout, slots and chunks of a shard, claims.

pub(super) mod chunks;
pub(super) mod claim;
pub(super) mod doubt;
pub(super) mod layout;
pub(super) mod region;
pub(super) mod shard;
pub(super) mod slot;
pub(super) mod store;
