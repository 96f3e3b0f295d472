//! What a starting nginx does with a memory that it finds.

use super::header::{Description, Machine, Refusal};
use crate::table::Table;

/// Which processes use a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lives {
    /// None.
    Nobody,
    /// Some that know of this one: the nginx whose binary is being upgraded, or one that quits.
    Family,
}

/// What the starting nginx would make itself.
#[derive(Clone, Copy, Debug)]
pub struct Mine {
    /// The boot of its kernel.
    pub boot: [u8; 16],
    /// Bytes of the zone.
    pub size: u64,
    /// Bytes of its table.
    pub table_len: u64,
    /// The layout of its notes.
    pub notes: u64,
}

impl Mine {
    /// The description of a new memory.
    pub fn description(&self) -> Description {
        Description {
            machine: Machine::THIS,
            boot: self.boot,
            size: self.size,
            table_len: self.table_len,
            table_format: Table::FORMAT,
            notes: self.notes,
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Use the memory as it is. If nobody else uses it, its locks are made again first.
    Attach,
    /// Copy the sessions into a new memory.
    Import,
    /// Start without sessions: the description is damaged, or the table has a format that this version
    /// does not read.
    Begin,
}

/// Decides about a memory that describes itself so; `None` if its description is damaged.
pub fn classify(
    found: Option<&Description>,
    mine: &Mine,
    lives: Lives,
) -> Result<Verdict, Refusal> {
    let Some(found) = found else { return Ok(Verdict::Begin) };
    if found.machine.processor != Machine::THIS.processor {
        return Err(Refusal::OtherMachine);
    }
    if found.table_format != Table::FORMAT {
        return match found.table_format > Table::FORMAT {
            true => Err(Refusal::Newer(found.table_format)),
            false if Table::reads(found.table_format) => Ok(Verdict::Import),
            false => Ok(Verdict::Begin),
        };
    }
    // The locks of another C library are not understood.
    let same_locks = found.machine.libc == Machine::THIS.libc;
    let attach = Description { machine: Machine::THIS, ..*found } == mine.description();
    Ok(match lives {
        Lives::Nobody if attach => Verdict::Attach,
        Lives::Family if attach && same_locks => Verdict::Attach,
        Lives::Family if !same_locks => Verdict::Begin,
        Lives::Nobody | Lives::Family => Verdict::Import,
    })
}
