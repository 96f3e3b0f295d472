//! The head of a request that nginx has made for a server.

use super::head::MAX_FIELDS;

/// The head of an HTTP/1 request, as nginx sends it.
#[derive(Debug)]
pub struct SentHead<'b> {
    /// Path and query.
    pub target: &'b [u8],
    /// The value of the first `Host`.
    pub host: &'b [u8],
    /// All lines, in their order.
    pub lines: Vec<(&'b str, &'b [u8])>,
}

impl<'b> SentHead<'b> {
    /// Reads the first buffer of a request, which has the whole head. None if it is no head of HTTP/1: FastCGI
    /// and gRPC look different.
    pub fn parse(bytes: &'b [u8]) -> Option<SentHead<'b>> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            _ => return None,
        }
        let mut lines = Vec::new();
        lines.try_reserve_exact(request.headers.len()).ok()?;
        lines.extend(request.headers.iter().map(|line| (line.name, line.value)));
        let host = lines.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"))?.1;
        Some(SentHead { target: request.path?.as_bytes(), host, lines })
    }
}

/// The bytes of a request with another value in each line of one name. None if there is no such line, or no memory.
pub fn with_value(bytes: &[u8], name: &str, value: &[u8]) -> Option<Vec<u8>> {
    let head = SentHead::parse(bytes)?;
    let of_name = head.lines.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name));
    let old: Vec<&[u8]> = of_name.map(|(_, old)| *old).collect();
    let mut out = Vec::new();
    out.try_reserve_exact(bytes.len() + old.len() * value.len()).ok()?;
    let mut rest = bytes;
    for old in &old {
        // A value is a part of the bytes that were parsed.
        let at = old.as_ptr().addr().checked_sub(rest.as_ptr().addr())?;
        let (before, from) = rest.split_at_checked(at)?;
        out.extend_from_slice(before);
        out.extend_from_slice(value);
        rest = from.get(old.len()..)?;
    }
    out.extend_from_slice(rest);
    (!old.is_empty()).then_some(out)
}

/// The bytes of a request without the lines of one name. None if there is no such line, or no memory.
pub fn without(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let head = SentHead::parse(bytes)?;
    let mut out = Vec::new();
    out.try_reserve_exact(bytes.len()).ok()?;
    let mut rest = bytes;
    for (line, value) in head.lines.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name)) {
        // Name and value are parts of the bytes that were parsed.
        let begin = line.as_ptr().addr().checked_sub(rest.as_ptr().addr())?;
        let value = value.as_ptr().addr().checked_sub(rest.as_ptr().addr())? + value.len();
        let end = value + rest.get(value..)?.iter().position(|byte| *byte == b'\n')? + 1;
        out.extend_from_slice(rest.get(..begin)?);
        rest = rest.get(end..)?;
    }
    out.extend_from_slice(rest);
    (out.len() < bytes.len()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &[u8] =
        b"POST /a?b HTTP/1.1\r\nhost: x:1\r\nMCP-Session-Id: old\r\nX: mcp-session-id: old\r\n\
        Mcp-Session-Id:old\r\nContent-Length: 2\r\n\r\n{}";

    #[test]
    fn the_head_is_read_without_the_body() {
        let head = SentHead::parse(SENT).unwrap();
        assert_eq!((head.target, head.host), (&b"/a?b"[..], &b"x:1"[..]));
        assert_eq!(head.lines.len(), 5);
        assert_eq!(head.lines[1], ("MCP-Session-Id", &b"old"[..]));
    }

    #[test]
    fn only_the_value_of_the_name_is_replaced() {
        for value in ["newer-one", "", "x"] {
            let expected = String::from_utf8(SENT.to_vec())
                .unwrap()
                .replace("MCP-Session-Id: old", &format!("MCP-Session-Id: {value}"))
                .replace("Mcp-Session-Id:old", &format!("Mcp-Session-Id:{value}"));
            let replaced = with_value(SENT, "mcp-session-id", value.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(replaced).unwrap(), expected);
        }
        assert_eq!(with_value(SENT, "mcp-session", b"x"), None);
    }

    #[test]
    fn all_lines_of_the_name_are_removed() {
        let expected = String::from_utf8(SENT.to_vec())
            .unwrap()
            .replace("MCP-Session-Id: old\r\nX", "X")
            .replace("Mcp-Session-Id:old\r\n", "");
        assert_eq!(without(SENT, "mcp-session-id").unwrap(), expected.as_bytes());
        let empty = b"GET / HTTP/1.1\r\nHost: x\r\nY: \r\n\r\n";
        assert_eq!(without(empty, "y").unwrap(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(without(SENT, "mcp-session"), None);
    }

    #[test]
    fn what_is_no_http_1_is_no_head() {
        let cut = &SENT[..SENT.len() - 4];
        let no_host = b"POST / HTTP/1.1\r\nX: y\r\n\r\n";
        let others =
            [cut, no_host, b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x01\x01\x00\x01\x00\x08"];
        for bytes in others {
            assert!(SentHead::parse(bytes).is_none());
            assert_eq!(with_value(bytes, "X", b"z"), None);
        }
    }
}
