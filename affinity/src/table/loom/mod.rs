//! All interleavings of readers, touchers and a writer on two buckets, by loom, with the memory
//! model of C11. Run: `RUSTFLAGS="--cfg loom" cargo test -p affinity --lib --release loom`.
//!
//! The shard's lock is loom's mutex here: a robust mutex gives the same exclusion, and what the
//! death of its owner leaves is covered by `interrupted_changes_are_finished`.
//!
//! Not covered: a late touch against `publish`. In C11 a successful exchange directly follows the value
//! that it has compared with. Loom does not know that, and reports a time that moves back.

#![cfg_attr(not(test), allow(dead_code, unused_imports))]

#[cfg(test)]
mod flag;
#[cfg(test)]
mod listener;
mod model;
pub(crate) mod mortal;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod writers;
