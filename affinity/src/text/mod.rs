//! Readers of texts that arrive in pieces, cut at any byte, and the buffers that they fill.

pub(crate) mod bounded;
pub(crate) mod decimal;
pub(crate) mod json;
pub(crate) mod name;
pub(crate) mod query;
pub(crate) mod sse;
