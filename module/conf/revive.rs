//! `gone=revive`: sessions that outlive their server.

use crate::conf::value::Value;

/// What an upstream with `gone=revive` keeps of its sessions.
pub struct Revive {
    /// Further headers with credentials, in lower case.
    pub credentials: Vec<Vec<u8>>,
    /// The fingerprint of the client's certificate, in an nginx with SSL.
    pub certificate: Option<Value>,
}
