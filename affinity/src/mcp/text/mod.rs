//! Readers of texts that may be cut anywhere.

pub(super) mod bounded;
pub(super) mod decimal;
pub(super) mod json;
pub(super) mod query;
pub(super) mod sse;
