//! The filters for the response's header and body, and the variables.

pub mod body;
pub mod filters;
pub mod variables;
