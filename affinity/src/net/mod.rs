//! Connections to others, without I/O: what a protocol on one is, what it sends, when the next one is tried.

mod backoff;
mod output;
mod protocol;

pub use backoff::Backoff;
pub use output::{Full, Output, MAX_BUFFERED};
pub use protocol::{Next, Protocol};
