//! The errors that `sticky_api` answers with.

use super::output::OutOfMemory;

/// An error: its status and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// The text.
    pub text: &'static str,
    /// The value of `Allow`.
    pub allow: Option<&'static str>,
}

pub(super) const fn refusal(status: u16, text: &'static str) -> Refusal {
    Refusal { status, text, allow: None }
}

/// The path names no resource.
pub const NO_RESOURCE: Refusal = refusal(404, "no such resource");
/// The zone is not in the configuration.
pub const NO_ZONE: Refusal = refusal(404, "no such zone");
/// The upstream is not in the configuration, or has no sessions.
pub const NO_UPSTREAM: Refusal = refusal(404, "no such upstream");
/// The server is neither in the upstream nor on the zone's list.
pub const NO_SERVER: Refusal = refusal(404, "no such server");
/// The id has no session.
pub const NO_SESSION: Refusal = refusal(404, "no such session");
/// The request has a body without `Content-Length`.
pub const NO_LENGTH: Refusal = refusal(411, "Content-Length is required");
/// The body is longer than `MAX_BODY`.
pub const TOO_LARGE: Refusal = refusal(413, "request body is too large");
/// The body does not say how to drain.
pub const NO_DRAIN: Refusal = refusal(
    400,
    "invalid request body, it has \"drain\" (true or false) and may have \"deadline\"",
);
/// The body names no session.
pub const NO_NAME: Refusal =
    refusal(400, "invalid request body, it has \"id\" and may have \"kind\" and \"bind\"");
/// The upstream's balancer is not one of nginx's own, so this module cannot keep new sessions away from
/// a server.
pub const FOREIGN: Refusal =
    refusal(409, "the balancer of this upstream is not one of nginx's own: drain has no effect");
/// All servers that the zone has room for have sessions.
pub const NO_ROOM: Refusal = refusal(503, "the zone has no room for the server");
/// There is no memory for the answer.
pub const NO_MEMORY: Refusal = refusal(503, "no memory");
/// The worker exits while the request waits.
pub const RELOADING: Refusal = refusal(503, "nginx is reloading, repeat the request");

impl From<OutOfMemory> for Refusal {
    fn from(_: OutOfMemory) -> Refusal {
        NO_MEMORY
    }
}
