//! What is known of each server, and the attempts to reach those that cannot be reached.

pub mod attempts;
pub mod evidence;
