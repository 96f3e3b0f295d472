//! The memory of a zone that outlives the nginx that has made it: its layout, how it describes itself, and
//! what a later nginx does with it. There is no input or output here.
//!
//! ```text
//! Header (4096 bytes) | table | the caller's notes | up to the size of the zone | sums (in a file)
//! ```

mod header;
pub mod sums;
#[cfg(test)]
mod tests;
mod verdict;

pub use header::{Clock, Description, Header, Inode, Machine, Refusal};
pub use verdict::{classify, Lives, Mine, Verdict};
