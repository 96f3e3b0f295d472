//! The bodies of rejections. Their `id` is null, as in the servers of the SDKs: a rejection is made from
//! the head of a request, and the id is in its body.

use crate::policy::Rejection;

/// The media type of the bodies.
pub const CONTENT_TYPE: &str = "application/json";

/// Code and message are those of the TypeScript SDK's server. Clients use the status.
const NOT_FOUND: &str =
    r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#;

/// The code is JSON-RPC's "internal error", which the Python SDK's server sends with its 503s.
const UNAVAILABLE: &str = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"Session temporarily unavailable"}}"#;

/// JSON-RPC's "invalid request".
const AMBIGUOUS: &str = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request: Mcp-Session-Id lines differ"}}"#;

/// The body of a rejection.
pub const fn body(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::NotFound | Rejection::Gone => NOT_FOUND,
        Rejection::Unavailable => UNAVAILABLE,
        Rejection::Ambiguous => AMBIGUOUS,
    }
}
