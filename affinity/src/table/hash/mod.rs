//! The keyed hash of ids and addresses, which every request pays for.
//!
//! It stands for what it was made of, and whoever has not got the key can neither foretell nor
//! steer it: a message authentication code. Where the processor has instructions for AES it is
//! [Pelican](pelican), elsewhere [SipHash-1-3](siphash), which takes nearly twice as many
//! instructions for a UUID (the bench `latency` counts them). A region says which one its table
//! uses.

mod domain;
mod hasher;
#[cfg(target_arch = "x86_64")]
mod pelican;
mod siphash;

pub(super) use domain::DOMAINS;
pub(super) use hasher::{Algorithm, Hasher};
