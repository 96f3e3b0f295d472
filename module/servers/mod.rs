//! The evidence about each server, and the attempts to reach unreachable servers.

mod attempt;
pub mod attempts;
pub mod evidence;
mod look;
pub mod socket;
pub mod upstreams;
