//! The memory of a zone: shared by all workers, kept over reloads and over an upgrade of nginx's binary.

pub mod clock;
pub mod file;
mod folder;
pub mod handover;
pub mod inspect;
pub mod locks;
mod mapping;
pub mod memory;
mod message;

pub use mapping::Mapping;
