//! Shared memory and random numbers for the tests of the table.
#![allow(dead_code, reason = "each test uses its part")]

pub mod watch;

use std::ptr::NonNull;

use affinity::revive::Store;
use affinity::table::{Limits, Span, Table};

pub const SECRET: [u8; 16] = *b"0123456789abcdef";
pub const MEGABYTE: usize = 1 << 20;

/// A timeout of 1,000 ticks, no lifetime.
pub const LIMITS: Limits = Limits { timeout: Span(1000), lifetime: None };

/// Anonymous memory shared with the children of this process.
pub struct Mapping {
    pub start: NonNull<u8>,
    pub len: usize,
}

impl Mapping {
    pub fn new(len: usize) -> Mapping {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the system's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Mapping { start: NonNull::new(start.cast()).unwrap(), len }
    }

    /// A new table in the whole mapping, in which there may have been another one.
    pub fn table(&self) -> Table {
        // SAFETY: the mapping is that long, the tests keep it as long as the table, nothing else uses it
        // yet, and all bytes are zero.
        unsafe {
            self.start.as_ptr().write_bytes(0, self.len);
            Table::create(self.start, self.len, SECRET)
        }
        .unwrap()
    }

    /// A new store in the whole mapping, in which there may have been another one.
    pub fn store(&self) -> Store {
        // SAFETY: as in `table`.
        unsafe {
            self.start.as_ptr().write_bytes(0, self.len);
            Store::create(self.start, self.len)
        }
        .unwrap()
    }

    /// All bytes as they are.
    pub fn bytes(&self) -> Vec<u8> {
        // SAFETY: the mapping is that long; no process writes to it in the tests that call this.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }.to_vec()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; the tests drop it after the table's last use.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
