//! The head of requests of nginx's own, as the location makes it for a client's request.

use affinity::http::{HttpHead, HttpRequest, SentHead};
use affinity::revive::Record;

use crate::nginx;
use crate::nginx::request::Request;

/// `Host` and further headers of a client's request, with its credentials, as nginx has sent it or was to send it.
pub(super) struct Head {
    host: Vec<u8>,
    lines: Vec<(String, Vec<u8>)>,
    /// The URI of the session's `initialize`, and the version of the protocol that it has.
    uri: Vec<u8>,
    version: String,
}

/// What belongs to the client's request alone, or is nginx's own.
const DROPPED: [&str; 21] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "keep-alive",
    "te",
    "trailer",
    "expect",
    "content-type",
    "content-encoding",
    "accept",
    "accept-encoding",
    "last-event-id",
    "if-none-match",
    "if-modified-since",
    "range",
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
];
/// Arguments of the client's call.
const PARAMETER: &str = "mcp-param-";

/// The first buffer of the request that nginx has made for the server.
pub(super) fn sent<'r>(r: Request<'r>) -> Option<&'r [u8]> {
    // SAFETY: the request to the server is in memory of the client's request; the bytes of its buffer are from
    // `start` to `last`, sent or not.
    unsafe {
        let chain = (*r.upstream()?.raw()).request_bufs.as_ref()?;
        let buf = chain.buf.as_ref()?;
        if buf.start.is_null() {
            return None;
        }
        let len = usize::try_from(buf.last.offset_from(buf.start)).ok()?;
        Some(core::slice::from_raw_parts(buf.start, len))
    }
}

/// The session that a server's answer has opened.
pub(super) fn session_id(head: &HttpHead) -> Option<Vec<u8>> {
    head.values("mcp-session-id").next().filter(|id| !id.is_empty()).and_then(nginx::try_copy)
}

impl Head {
    /// The head that the location makes of a client's request, without what no request of nginx's own may have; `None`
    /// if it is none of HTTP/1. `credentials`: names of headers that are kept in any case, in lower case.
    pub(super) fn of(r: Request<'_>, credentials: &[Vec<u8>], record: &Record<'_>) -> Option<Head> {
        let head = SentHead::parse(sent(r)?)?;
        let is_kept = |name: &str| {
            let begins = name.get(..PARAMETER.len());
            !DROPPED.iter().any(|dropped| dropped.eq_ignore_ascii_case(name))
                && !begins.is_some_and(|begin| begin.eq_ignore_ascii_case(PARAMETER))
        };
        let is_credential = |name: &str| {
            credentials.iter().any(|credential| credential.eq_ignore_ascii_case(name.as_bytes()))
        };
        let kept = head.lines.iter().filter(|(name, value)| {
            (is_kept(name) || is_credential(name)) && HttpRequest::may_have(name, value)
        });
        let mut lines = Vec::new();
        for (name, value) in kept {
            lines.try_reserve(1).ok()?;
            lines.push((try_text(name)?, nginx::try_copy(value)?));
        }
        Some(Head {
            host: nginx::try_copy(head.host)?,
            lines,
            uri: nginx::try_copy(record.uri)?,
            version: try_text(record.version)?,
        })
    }

    /// Calls `f` with a request. Without a session it opens one.
    pub(super) fn with_request<T>(
        &self,
        method: &str,
        body: Option<&[u8]>,
        session: Option<&[u8]>,
        f: impl FnOnce(&HttpRequest<'_>) -> T,
    ) -> T {
        let mut headers: Vec<(&str, &[u8])> =
            vec![("Accept", b"application/json, text/event-stream")];
        if body.is_some() {
            headers.push(("Content-Type", b"application/json"));
        }
        if let Some(id) = session {
            headers.push(("Mcp-Session-Id", id));
            headers.push(("MCP-Protocol-Version", self.version.as_bytes()));
        }
        headers.extend(self.lines.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let (target, host) = (&*self.uri, &*self.host);
        f(&HttpRequest { method, target, host, headers: &headers, body, keep_alive: false })
    }
}

fn try_text(text: &str) -> Option<String> {
    String::from_utf8(nginx::try_copy(text.as_bytes())?).ok()
}
