//! The memory of a zone: shared by all workers, kept over reloads and over an upgrade of nginx's binary.

pub mod clock;
pub mod file;
pub mod handover;
mod mapping;
pub mod memory;

pub use mapping::Mapping;
