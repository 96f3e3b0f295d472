//! What a server's answer to `initialize` says: version and capabilities.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::capabilities::{Capabilities, Names};
use super::record::{Record, MAX_VERSION};
use crate::http::{HttpError, LimitedBuffer, MAX_BODY};
use crate::mcp::BodyFormat;
use crate::rpc::{any_answer, EventReader, RpcAnswer};
use crate::text::bounded::Bounded;

/// Version and capabilities of a server.
#[derive(Clone, Debug)]
pub struct Negotiated {
    version: Bounded<MAX_VERSION>,
    names: Names,
}

/// Why a new server cannot take the place of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It speaks another version of the protocol.
    Version,
    /// It lacks a capability of the old server.
    Capability,
}

#[derive(Deserialize)]
struct Response<'t> {
    #[serde(borrow)]
    result: &'t RawValue,
}

#[derive(Deserialize)]
struct InitializeResult<'t> {
    #[serde(borrow, rename = "protocolVersion")]
    version: std::borrow::Cow<'t, str>,
    #[serde(borrow)]
    capabilities: &'t RawValue,
}

impl Negotiated {
    /// Reads a JSON-RPC response to `initialize`: the bytes of [`RpcAnswer::Result`].
    pub fn read(response: &[u8]) -> Option<Negotiated> {
        let response: Response = serde_json::from_slice(response).ok()?;
        // Without the check serde would read the members of an array.
        if !response.result.get().starts_with('{') {
            return None;
        }
        let result: InitializeResult = serde_json::from_str(response.result.get()).ok()?;
        let mut negotiated = Negotiated { version: Bounded::new(), names: Names::new() };
        negotiated.version.extend(result.version.as_bytes());
        is_version(negotiated.version.get()?).then_some(())?;
        Capabilities::read(result.capabilities, &mut negotiated.names)?;
        Some(negotiated)
    }

    /// The version that the server has chosen: digits, letters, `.`, `-` and `_`.
    pub fn version(&self) -> &str {
        self.version.get().and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// The capabilities of the server.
    pub fn capabilities(&self) -> Capabilities<'_> {
        self.names.get().and_then(Capabilities::from_bytes).unwrap_or_default()
    }

    /// Whether the server can take the place of the one that the record describes.
    pub fn fits(&self, record: &Record) -> Result<(), Misfit> {
        match () {
            () if self.version() != record.version => Err(Misfit::Version),
            () if !self.capabilities().cover(&record.capabilities) => Err(Misfit::Capability),
            () => Ok(()),
        }
    }
}

/// A version is put into a JSON text as it is.
fn is_version(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    !text.is_empty() && text.iter().all(is_plain)
}

/// Reads the answer to a client's `initialize` as it passes, buffer by buffer. The result does not depend on
/// where the body is cut.
pub struct NegotiatedReader {
    body: Result<Body, HttpError>,
    found: Option<Negotiated>,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each session that is opened")]
enum Body {
    Json(LimitedBuffer),
    Events(EventReader),
}

impl NegotiatedReader {
    /// A reader at the beginning of a body.
    pub fn new(format: BodyFormat) -> Self {
        let body = match format {
            BodyFormat::Json => Body::Json(LimitedBuffer::new(MAX_BODY, HttpError::BodyTooLong)),
            BodyFormat::Sse => Body::Events(EventReader::new()),
        };
        NegotiatedReader { body: Ok(body), found: None }
    }

    /// Reads the next bytes of the body; false if the rest of it does not matter. After that, or at the end of
    /// the body, `finish` has the result.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        if let Err(error) = self.read(bytes) {
            self.body = Err(error);
        }
        self.body.is_ok() && self.found.is_none()
    }

    /// What the body says. None if it cannot be read.
    pub fn finish(self) -> Option<Negotiated> {
        match self.body {
            Ok(Body::Json(text)) => negotiated(text.as_bytes()),
            _ => self.found,
        }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), HttpError> {
        match &mut self.body {
            Ok(Body::Json(text)) => text.append(bytes),
            Ok(Body::Events(events)) => {
                while self.found.is_none() && events.next(&mut bytes)? {
                    self.found = events.data().and_then(negotiated);
                }
                Ok(())
            }
            Err(error) => Err(*error),
        }
    }
}

fn negotiated(text: &[u8]) -> Option<Negotiated> {
    match any_answer(text)? {
        RpcAnswer::Result(response) => Negotiated::read(response),
        _ => None,
    }
}
