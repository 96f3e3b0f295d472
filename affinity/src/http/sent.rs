//! The head of a request that nginx has made for a server.

/// The head of an HTTP/1 request, as nginx sends it. What nginx lets through is valid here: any bytes in a value, and
/// any number of lines.
#[derive(Debug)]
pub struct SentHead<'b> {
    /// Path and query.
    pub target: &'b [u8],
    /// The value of the first `Host`.
    pub host: &'b [u8],
    /// All lines whose name is text, in their order.
    pub lines: Vec<(&'b str, &'b [u8])>,
}

impl<'b> SentHead<'b> {
    /// Reads the first buffer of a request, which has the whole head. None if it is no head of HTTP/1: FastCGI
    /// and gRPC look different.
    pub fn parse(bytes: &'b [u8]) -> Option<SentHead<'b>> {
        let mut lines = Vec::new();
        for line in Lines::of(bytes)? {
            let line = line?;
            if let Ok(name) = core::str::from_utf8(line.name) {
                lines.try_reserve(1).ok()?;
                lines.push((name, line.value));
            }
        }
        let host = lines.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"))?.1;
        Some(SentHead { target: target(bytes)?, host, lines })
    }
}

/// Path and query of a request that nginx has made. None if it is none of HTTP/1.
pub fn target(bytes: &[u8]) -> Option<&[u8]> {
    let line = bytes.get(..bytes.iter().position(|byte| *byte == b'\n')?)?.strip_suffix(b"\r")?;
    let target = line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/1.0"))?;
    let space = target.iter().position(|byte| *byte == b' ')?;
    target.get(space + 1..).filter(|target| !target.is_empty())
}

/// A line of a head, and the offsets of its parts.
struct Line<'b> {
    name: &'b [u8],
    value: &'b [u8],
    begin: usize,
    value_at: usize,
    /// Behind its line end.
    end: usize,
}

/// The lines of a head, to the empty one.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Lines<'b> {
    fn of(bytes: &'b [u8]) -> Option<Lines<'b>> {
        target(bytes)?;
        Some(Lines { bytes, at: bytes.iter().position(|byte| *byte == b'\n')? + 1 })
    }

    fn line(&mut self) -> Option<Line<'b>> {
        let (begin, rest) = (self.at, self.bytes.get(self.at..)?);
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest.get(..end)?.strip_suffix(b"\r")?;
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        let value_at = begin + colon + 1 + (value.len() - value.trim_ascii_start().len());
        self.at = begin + end + 1;
        Some(Line { name, value: value.trim_ascii(), begin, value_at, end: self.at })
    }
}

impl<'b> Iterator for Lines<'b> {
    /// None if the head is cut, or no head.
    type Item = Option<Line<'b>>;

    fn next(&mut self) -> Option<Option<Line<'b>>> {
        match self.bytes.get(self.at..)?.starts_with(b"\r\n") {
            true => None,
            false => {
                let line = self.line();
                if line.is_none() {
                    // Nothing follows.
                    self.at = usize::MAX;
                }
                Some(line)
            }
        }
    }
}

/// The bytes of a request with another value in each line of one name. None if there is no such line, or no memory.
pub fn with_value(bytes: &[u8], name: &str, value: &[u8]) -> Option<Vec<u8>> {
    replaced(bytes, name, |line| (line.value_at, line.value_at + line.value.len()), value)
}

/// The bytes of a request without the lines of one name. None if there is no such line, or no memory.
pub fn without(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    replaced(bytes, name, |line| (line.begin, line.end), b"")
}

/// Replaces the same part of each line of one name.
fn replaced(
    bytes: &[u8],
    name: &str,
    part: fn(&Line<'_>) -> (usize, usize),
    new: &[u8],
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    out.try_reserve(bytes.len() + new.len()).ok()?;
    let (mut copied, mut is_found) = (0, false);
    for line in Lines::of(bytes)? {
        let line = line?;
        if line.name.eq_ignore_ascii_case(name.as_bytes()) {
            let (begin, end) = part(&line);
            let before = bytes.get(copied..begin)?;
            out.try_reserve(before.len() + new.len()).ok()?;
            out.extend_from_slice(before);
            out.extend_from_slice(new);
            (copied, is_found) = (end, true);
        }
    }
    let rest = bytes.get(copied..)?;
    out.try_reserve(rest.len()).ok()?;
    out.extend_from_slice(rest);
    is_found.then_some(out)
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
    fn what_nginx_lets_through_is_read() {
        let many = "X-A: 1\r\n".repeat(300);
        let odd = b"X[1]: a\x01b\r\nX-\xff: \xe9\r\nHost: x\r\nY:  \r\nMcp-Session-Id: old\r\n\r\nMcp-Session-Id: body\r\n";
        let bytes = [b"POST /a b?\"c\" HTTP/1.0\r\n", many.as_bytes(), odd].concat();
        let head = SentHead::parse(&bytes).unwrap();
        assert_eq!(
            (head.target, head.host, head.lines.len()),
            (&b"/a b?\"c\""[..], &b"x"[..], 304)
        );
        assert_eq!(head.lines[300], ("X[1]", &b"a\x01b"[..]));
        let end = bytes.len() - b"old\r\n\r\nMcp-Session-Id: body\r\n".len();
        let expected = [&bytes[..end], b"newer", &bytes[end + 3..]].concat();
        assert_eq!(with_value(&bytes, "mcp-session-id", b"newer"), Some(expected));
        assert_eq!(without(&bytes, "y"), without(&bytes, "Y"));
        assert_eq!(without(&bytes, "y").unwrap().len(), bytes.len() - 6);
    }

    #[test]
    fn what_is_no_http_1_is_no_head() {
        let cut = &SENT[..SENT.len() - 4];
        let no_host = b"POST / HTTP/1.1\r\nX: y\r\n\r\n";
        let others =
            [cut, no_host, b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x01\x01\x00\x01\x00\x08"];
        for bytes in others {
            assert!(SentHead::parse(bytes).is_none());
            assert_eq!((with_value(bytes, "Z", b"z"), without(bytes, "Z")), (None, None));
        }
        assert_eq!(with_value(cut, "X", b"z"), None);
        assert_eq!((target(cut), target(b"PRI * HTTP/2.0\r\n\r\n")), (Some(&b"/a?b"[..]), None));
    }
}
