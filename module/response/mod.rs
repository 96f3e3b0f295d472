//! From the response's header to the last byte of its body, and the variables that the log shows.

pub mod body;
pub mod filters;
pub mod variables;
