//! What is known of each server, and the attempts to reach those that cannot be reached.

mod attempt;
pub mod attempts;
pub mod evidence;
mod look;
pub mod socket;
pub mod upstreams;
