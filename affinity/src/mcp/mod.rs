//! What a session of the Model Context Protocol looks like on the wire, in every revision.
//!
//! | what | id in the request | learned from |
//! |---|---|---|
//! | Streamable HTTP (2025-03-26 to 2025-11-25) | `Mcp-Session-Id` | `Mcp-Session-Id` of a 2xx response |
//! | HTTP+SSE (2024-11-05) | path and query, or `sessionId` in the query | the URI of the `endpoint` event |
//! | tasks (extension of 2026-07-28) | `Mcp-Name` of `tasks/get`, `tasks/update`, `tasks/cancel` | the result of `tools/call` |
//! | stateless (2026-07-28) | none | nothing |
//!
//! A [`RequestHead`] says which ids it carries, in the order in which they are looked up, and which
//! [`Effects`] its answer can have on sessions. If an id may be in the body of the answer, a [`Reader`]
//! gets each buffer that passes. It reads at most [`MAX_WATCHED`] bytes, copies nothing but the id,
//! allocates nothing, and learns no id from a body that it does not understand.
//!
//! An [`InitializeReader`] reads the body of a request, to find out whether it begins a session.
//!
//! No function here waits, allocates or recurses. All time is linear in the bytes, except for the target
//! of an `endpoint` event, whose length is bounded.

mod endpoint;
mod initialize;
mod reader;
pub mod rejection;
mod request;
mod response;
mod shared;
mod step;
mod target;
mod task;
#[cfg(test)]
mod tests;

pub use crate::text::bounded::{Bounded, Id, MAX_ID};
pub use initialize::{InitializeReader, MAX_READ};
pub use reader::{Learned, Progress, Reader, MAX_WATCHED};
pub use request::{trim, Lines, RequestHead, Verb};
pub use response::{BodyFormat, Effects, ResponseHead, Watch};
pub use shared::SharedTargets;
pub use step::Fault;
