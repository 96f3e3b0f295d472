//! Readers of texts that arrive in pieces, cut at any byte, and the buffers that they fill.

pub(super) mod bounded;
pub(super) mod decimal;
pub(super) mod json;
pub(super) mod name;
pub(super) mod query;
pub(super) mod sse;
