//! The errors that `sticky_api` answers with.

use super::output::OutOfMemory;

/// An error: its status and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// What is wrong.
    pub text: &'static str,
    /// The value of `Allow`.
    pub allow: Option<&'static str>,
}

pub(super) const fn refusal(status: u16, text: &'static str) -> Refusal {
    Refusal { status, text, allow: None }
}

/// The path names nothing.
pub const NO_RESOURCE: Refusal = refusal(404, "no such resource");
/// The zone is not in the configuration.
pub const NO_ZONE: Refusal = refusal(404, "no such zone");
/// The upstream is not in the configuration, or has no sessions.
pub const NO_UPSTREAM: Refusal = refusal(404, "no such upstream");
/// The server is not in the upstream, and the zone does not know it.
pub const NO_SERVER: Refusal = refusal(404, "no such server");
/// The id has no session.
pub const NO_SESSION: Refusal = refusal(404, "no such session");
/// The body does not say how long it is.
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
/// The upstream's balancer asks for no server of ours.
pub const FOREIGN: Refusal =
    refusal(409, "the balancer of this upstream is not one of nginx's own: drain has no effect");
/// All servers that the zone has room for have sessions.
pub const NO_ROOM: Refusal = refusal(503, "the zone has no room for the server");
/// There is no memory for an answer.
pub const NO_MEMORY: Refusal = refusal(503, "no memory");
/// A request that waits is to be sent again.
pub const RELOADING: Refusal = refusal(503, "nginx is reloading, ask again");

impl From<OutOfMemory> for Refusal {
    fn from(_: OutOfMemory) -> Refusal {
        NO_MEMORY
    }
}
