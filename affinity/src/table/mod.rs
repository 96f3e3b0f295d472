//! The session table (signatures; bodies follow).
#![allow(missing_docs, unused_variables, clippy::missing_safety_doc)]
mod time;
pub use time::{Limits, Span, Tick};
use std::ptr::NonNull;

/// What kind of thing an id names. Ids of different kinds never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind { Session = 1, Sse = 2, Task = 3 }

/// Keyed fingerprint of (kind, id, bind); never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

/// A server of the table's server list. Goes stale when its slot is recycled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId { pub index: u16, pub print: u64 }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session { pub server: ServerId, pub created: Tick, pub used: Tick }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing { Keep, Move }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound { Created, Refreshed, Moved, Kept, Refused }

/// Why a region holds no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error { TooSmall, Misaligned, TooLarge, NotATable, Version, Geometry, Lock(i32) }

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub capacity: u64, pub live: u64, pub hits: u64, pub unknown: u64, pub created: u64,
    pub moved: u64, pub expired: u64, pub evicted: u64, pub forgotten: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    pub live: u64, pub hits: u64, pub created: u64, pub moved_in: u64, pub moved_out: u64,
    pub expired: u64, pub evicted: u64, pub forgotten: u64,
}

#[derive(Clone, Copy)]
pub struct Table { region: NonNull<u8>, len: usize }
// SAFETY: placeholder; the region is shared memory of atomics.
unsafe impl Send for Table {}
unsafe impl Sync for Table {}

impl Table {
    /// Smallest region (bytes) that `create` accepts.
    pub const MIN_SIZE: usize = 8192;
    /// Longest server address (bytes) that `intern` accepts.
    pub const MAX_ADDRESS: usize = 255;
    /// Alignment (bytes) that `create` and `attach` want of the region's start (use a page).
    pub const ALIGN: usize = 128;

    pub unsafe fn create(region: NonNull<u8>, len: usize, secret: [u8; 16]) -> Result<Table, Error> { todo!() }
    pub unsafe fn attach(region: NonNull<u8>, len: usize) -> Result<Table, Error> { todo!() }
    pub fn secret(&self) -> [u8; 16] { todo!() }

    pub fn key(&self, kind: Kind, id: &[u8], bind: &[u8]) -> Key { todo!() }

    /// No lock, no store. Call `touch` when `session.used != now`.
    pub fn lookup(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> { todo!() }
    pub fn touch(&self, key: Key, now: Tick) -> bool { todo!() }
    /// `ttl`: the session ends at created + ttl; stands in place of the idle timeout.
    #[allow(clippy::too_many_arguments)]
    pub fn bind(&self, key: Key, server: ServerId, ttl: Option<Span>, now: Tick, limits: &Limits, existing: Existing) -> Bound { todo!() }
    pub fn forget(&self, key: Key) -> bool { todo!() }
    /// `limits`: those of the most patient upstream that shares the table.
    pub fn sweep(&self, now: Tick, limits: &Limits, max_slots: usize) -> usize { todo!() }
    /// Ends sessions of one server, bounded per call (for drain and end); returns how many.
    pub fn forget_server(&self, server: ServerId, cursor: &mut usize, max_slots: usize) -> usize { todo!() }

    /// Statistics only: a request with a session went to its server.
    pub fn count_hit(&self, server: ServerId) { todo!() }
    /// Statistics only: a request carried an id that has no session.
    pub fn count_unknown(&self, key: Key) { todo!() }
    pub fn stats(&self) -> Stats { todo!() }
    pub fn server_stats(&self, server: ServerId) -> Option<ServerStats> { todo!() }

    pub fn intern(&self, address: &[u8], now: Tick) -> Option<ServerId> { todo!() }
    pub fn find_server(&self, address: &[u8]) -> Option<ServerId> { todo!() }
    pub fn address<'a>(&self, server: ServerId, buffer: &'a mut [u8; Table::MAX_ADDRESS]) -> Option<&'a [u8]> { todo!() }
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + '_ { std::iter::empty() }
    pub fn unavailable_since(&self, server: ServerId) -> Option<Tick> { todo!() }
    /// Sets it unless set; returns the moment that counts. None: the slot was recycled.
    pub fn set_unavailable(&self, server: ServerId, now: Tick) -> Option<Tick> { todo!() }
    pub fn clear_unavailable(&self, server: ServerId) { todo!() }
    /// Bits free for the module's use (drain …).
    pub fn server_flags(&self, server: ServerId) -> u32 { todo!() }
    pub fn set_server_flags(&self, server: ServerId, set: u32, clear: u32) -> bool { todo!() }

    /// `from` must have the same secret, else nothing is imported.
    pub fn import(&self, from: &Table, now: Tick, limits: &Limits) -> usize { todo!() }
}
