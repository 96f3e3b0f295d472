//! As much of HTTP/1.1 as the benchmark's backend speaks.

/// A complete response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Last digit of `X-Served-By`, one to nine; zero without one.
    pub server: u8,
}

impl Response {
    /// `None` if more of it is to come.
    pub fn parse(text: &[u8]) -> Result<Option<Response>, &'static str> {
        let Some(end) = text.windows(4).position(|w| w == b"\r\n\r\n") else {
            return Ok(None);
        };
        let mut lines = text[..end].split(|&c| c == b'\n');
        let status = lines
            .next()
            .and_then(|line| number(line.strip_prefix(b"HTTP/1.1 ")?.get(..3)?))
            .ok_or("not an HTTP/1.1 response")?;
        let (mut server, mut length) = (0, None);
        for line in lines {
            let Some(colon) = line.iter().position(|&c| c == b':') else {
                return Err("a header without a colon");
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                length = number(value);
            } else if name.eq_ignore_ascii_case(b"x-served-by") {
                server = value.last().map_or(0, |c| c.wrapping_sub(b'0'));
            }
        }
        let length = length.ok_or("a response without a length")?;
        let complete = text.len() >= end + 4 + length;
        Ok(complete.then_some(Response { status: status as u16, server }))
    }
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nx-served-by: 2\r\n\r\nok\n";

    #[test]
    fn complete_with_its_last_byte() {
        for n in 0..TEXT.len() {
            assert_eq!(Response::parse(&TEXT[..n]), Ok(None));
        }
        assert_eq!(Response::parse(TEXT), Ok(Some(Response { status: 200, server: 2 })));
    }

    #[test]
    fn what_is_no_response_is_said() {
        assert!(Response::parse(b"HTTP/1.0 200 OK\r\n\r\n").is_err());
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n").is_err());
    }
}
