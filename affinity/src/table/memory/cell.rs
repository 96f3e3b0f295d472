//! The words of a server in the list, beside its print.

use crate::servers::Record;
use crate::table::sync::{AtomicU32, AtomicU64, Ordering};

/// Bytes of address text in a cell.
const TEXT: usize = 48;

#[repr(C, align(64))]
pub(crate) struct Cell {
    /// See `Listing::shape`.
    pub(crate) shape: AtomicU32,
    /// Bits of the caller.
    pub(crate) flags: AtomicU32,
    reserved: AtomicU32,
    /// Tick of the last time that the server was interned or got a session.
    pub(crate) used: AtomicU32,
    pub(crate) text: [AtomicU64; TEXT / 8],
}

const _: () = assert!(size_of::<Cell>() == 64);

/// The words of a [`Record`], written under the list's lock.
#[repr(C)]
pub(crate) struct RecordCell([AtomicU64; Record::WORDS]);

impl RecordCell {
    /// Reads the state first: while a record is being written, a reader gets the old state, or the new
    /// state with the words that belong to it.
    pub(crate) fn load(&self) -> Record {
        let mut words = [0; Record::WORDS];
        for (word, cell) in words.iter_mut().zip(&self.0) {
            *word = cell.load(Ordering::Acquire);
        }
        Record::from_words(words)
    }

    /// Writes the state last, see `load`.
    pub(crate) fn store(&self, record: &Record) {
        for (cell, word) in self.0.iter().zip(record.to_words()).rev() {
            cell.store(word, Ordering::SeqCst);
        }
    }
}

impl Cell {
    pub(crate) fn address_len(&self) -> usize {
        (self.shape.load(Ordering::Relaxed) & 0xffff) as usize
    }

    /// Number of cells that the address takes.
    pub(crate) fn cells(&self) -> usize {
        cells_for(self.address_len())
    }
}

pub(crate) fn cells_for(address_len: usize) -> usize {
    address_len.div_ceil(TEXT).max(1)
}
