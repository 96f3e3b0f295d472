//! The head of requests of nginx's own, as the location makes it for a client's request.

use affinity::http::{HttpRequest, SentHead};

use crate::nginx::request::Request;

/// `Host` and further headers of a client's request, with its credentials, as nginx has sent it or was to send it.
pub(super) struct Head {
    host: Vec<u8>,
    lines: Vec<(String, Vec<u8>)>,
}

/// What belongs to the client's request alone, or is nginx's own. All headers of MCP are.
const DROPPED: [&str; 17] = [
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
];
const OF_MCP: &str = "mcp-";

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

impl Head {
    /// The head that the location makes of a client's request; `None` if it is none of HTTP/1.
    pub(super) fn of(r: Request<'_>) -> Option<Head> {
        let head = SentHead::parse(sent(r)?)?;
        let is_kept = |name: &str| {
            let begins = name.get(..OF_MCP.len());
            !DROPPED.iter().any(|dropped| dropped.eq_ignore_ascii_case(name))
                && !begins.is_some_and(|begin| begin.eq_ignore_ascii_case(OF_MCP))
        };
        let lines = head.lines.iter().filter(|(name, _)| is_kept(name));
        let lines = lines.map(|(name, value)| (String::from(*name), value.to_vec())).collect();
        Some(Head { host: head.host.to_vec(), lines })
    }

    /// Calls `f` with a request. Without a session it opens one.
    pub(super) fn with_request<T>(
        &self,
        method: &str,
        target: &[u8],
        body: Option<&[u8]>,
        session: Option<(&[u8], &str)>,
        f: impl FnOnce(&HttpRequest<'_>) -> T,
    ) -> T {
        let mut headers: Vec<(&str, &[u8])> =
            vec![("Accept", b"application/json, text/event-stream")];
        if body.is_some() {
            headers.push(("Content-Type", b"application/json"));
        }
        if let Some((id, version)) = session {
            headers.push(("Mcp-Session-Id", id));
            headers.push(("MCP-Protocol-Version", version.as_bytes()));
        }
        headers.extend(self.lines.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let host = &self.host;
        f(&HttpRequest { method, target, host, headers: &headers, body, keep_alive: false })
    }
}
