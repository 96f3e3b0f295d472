//! What a response may do to sessions, and what to look for in its body.

use crate::table::Kind;

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// Its status code.
    pub status: u16,
    /// `Content-Type` with its parameters; empty if there is none.
    pub content_type: &'a [u8],
    /// `Content-Encoding`; empty if there is none.
    pub encoding: &'a [u8],
}

impl ResponseHead<'_> {
    /// How the body is written, if it can be read: it is not encoded.
    // Inlined: part of the path of every response.
    #[inline(always)]
    pub fn format(&self) -> Option<BodyFormat> {
        match () {
            () if is_encoded(self.encoding) => None,
            () if is_media_type(self.content_type, b"text/event-stream") => Some(BodyFormat::Sse),
            () if is_media_type(self.content_type, b"application/json") => Some(BodyFormat::Json),
            () => None,
        }
    }
}

/// What to look for in the body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Nothing.
    Nothing,
    /// The `endpoint` event of a stream of the transport HTTP+SSE.
    Endpoint,
    /// The result of `tools/call`, if it is a task.
    Task(BodyFormat),
}

/// How a response to a JSON-RPC request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// As one JSON text.
    Json,
    /// As an event stream, after notifications.
    Sse,
}

/// What the answer to a request may do to sessions. The head of the answer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effects {
    /// It may name a session.
    pub(super) opens: bool,
    /// It may end the session of the request.
    pub(super) ends: bool,
    /// The request's ids contradict each other.
    pub(super) ambiguous: bool,
    pub(super) body: Content,
}

/// What a body may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    Endpoint,
    Task,
}

impl Effects {
    /// Whether the request is to be rejected: its `Mcp-Session-Id` lines differ.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Whether the request may be one that opens a stream of HTTP+SSE: a GET without `Mcp-Session-Id`.
    pub fn opens_stream(&self) -> bool {
        self.body == Content::Endpoint
    }

    /// Whether the `Mcp-Session-Id` of an answer with this status names a session.
    pub fn opens(&self, status: u16) -> bool {
        self.opens && is_success(status)
    }

    /// Whether the answer of the session's own server, with this status, ends the session.
    ///
    /// Only a `DELETE` that is answered 2xx does. A 404 ends nothing: servers also send it for a method
    /// that they do not have (`GET` where only `POST` is routed), for a path that does not exist, and to a
    /// client that presents the id of another one. No request ends a task.
    pub fn ends(&self, kind: Kind, status: u16) -> bool {
        match kind {
            Kind::Session | Kind::Sse => self.ends && is_success(status),
            Kind::Task => false,
        }
    }

    /// What to look for in the body of the answer.
    pub fn watch(&self, response: &ResponseHead) -> Watch {
        let Some(format) = response.format() else { return Watch::Nothing };
        match (self.body, format) {
            (Content::Task, format) if is_success(response.status) => Watch::Task(format),
            (Content::Endpoint, BodyFormat::Sse) if response.status == 200 => Watch::Endpoint,
            _ => Watch::Nothing,
        }
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Whether the body is encoded. Servers should not send `identity` (RFC 9110, section 8.4.1), and some
/// do.
#[inline(always)]
fn is_encoded(encoding: &[u8]) -> bool {
    !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")
}

fn is_media_type(content_type: &[u8], media_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(media_type)
}
