//! The keyed hash of ids and addresses, computed for every request.
//!
//! The hash is a message authentication code: without the key nobody can predict it or choose an
//! input for a given value. The table keeps the hash in place of the id. Where the processor has
//! instructions for AES the hash is [Pelican](pelican), elsewhere [SipHash-1-3](siphash), which takes
//! nearly twice as many instructions for a UUID (the bench `latency` counts them). The header of a
//! region names the hash of its table.

mod domain;
mod hasher;
#[cfg(target_arch = "x86_64")]
mod pelican;
mod siphash;

pub(super) use domain::DOMAINS;
pub(super) use hasher::{Algorithm, Hasher};
