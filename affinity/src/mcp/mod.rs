//! What a session of the Model Context Protocol looks like on the wire, in every revision.
//!
//! | what | id in the request | learned from |
//! |---|---|---|
//! | Streamable HTTP (2025-03-26 to 2025-11-25) | `Mcp-Session-Id` | `Mcp-Session-Id` of a 2xx response |
//! | HTTP+SSE (2024-11-05) | path and query, or `sessionId` in the query | the URI of the `endpoint` event |
//! | tasks (extension of 2026-07-28) | `Mcp-Name` of `tasks/get`, `tasks/update`, `tasks/cancel` | the result of `tools/call` |
//! | stateless (2026-07-28) | none | nothing |
//!
//! A [`Request`] says which ids it carries, in the order in which they are asked for, what an answer to
//! it can teach, and whether that answer ends the session. Where a body must be read for it, a [`Reader`] is fed with each buffer that
//! passes. It looks at [`MAX_WATCHED`] bytes at most, holds no copy of them but the id, takes no
//! memory but its own, and learns nothing from what it does not understand.
//!
//! Nothing here waits, allocates or recurs, and all time is linear in the bytes, but for the target
//! of an `endpoint` event, whose length is bounded.

mod endpoint;
mod name;
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
mod text;

pub use reader::{Learned, Progress, Reader, MAX_WATCHED};
pub use request::{trim, Lines, Request, Verb};
pub use response::{BodyFormat, Effects, Response, Watch};
pub use shared::SharedTargets;
pub use step::Fault;
pub use text::bounded::{Bounded, Id, MAX_ID};
