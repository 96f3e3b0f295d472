//! JSON-RPC 2.0 over HTTP as a client: the response to one request, in a body that is JSON or an event
//! stream (Streamable HTTP of MCP, 2025-03-26 and later).
//!
//! A [`Call`] is fed the bytes of the HTTP response as they arrive. It has its answer as soon as the bytes
//! say so: an event stream may stay open after the response, and begin with an event without data or with
//! notifications. At most [`MAX_BODY`](crate::http::MAX_BODY) bytes of a body are read.

mod call;
mod events;
mod message;

pub use call::{Call, CallProgress};
pub(crate) use events::EventReader;
pub use message::{any_answer, RpcAnswer};
