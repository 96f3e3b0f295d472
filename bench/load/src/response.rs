//! Reads the responses of bench/conf/backend.conf: HTTP/1.1 with `Content-Length`.

/// The backend and a load balancer send seven header lines.
const MAX_HEADERS: usize = 16;

/// What is recorded of a complete response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Last digit of `X-Served-By`, one to nine; zero without that header.
    pub server: u8,
}

impl Response {
    /// `None` if `text` is not a complete response yet.
    pub fn parse(text: &[u8]) -> Result<Option<Response>, String> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let body = match head.parse(text) {
            Ok(httparse::Status::Complete(length)) => &text[length..],
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("malformed response: {error}")),
        };
        if head.version != Some(1) {
            return Err("not an HTTP/1.1 response".into());
        }
        let (mut server, mut length) = (0, None);
        for header in head.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                length = number(header.value);
            } else if header.name.eq_ignore_ascii_case("x-served-by") {
                server = header.value.last().map_or(0, |c| c.wrapping_sub(b'0'));
            }
        }
        let length = length.ok_or("no valid Content-Length in a response")?;
        let status = head.code.ok_or("no status in a response")?;
        Ok((body.len() >= length).then_some(Response { status, server }))
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
    fn a_response_is_complete_with_its_last_byte() {
        for n in 0..TEXT.len() {
            assert_eq!(Response::parse(&TEXT[..n]), Ok(None));
        }
        assert_eq!(Response::parse(TEXT), Ok(Some(Response { status: 200, server: 2 })));
    }

    #[test]
    fn blanks_and_letter_case_do_not_matter() {
        let text =
            b"HTTP/1.1 503 Service Unavailable\r\nCONTENT-LENGTH:0\r\nX-Served-By: \t3 \r\n\r\n";
        assert_eq!(Response::parse(text), Ok(Some(Response { status: 503, server: 3 })));
    }

    #[test]
    fn the_server_is_zero_without_its_header() {
        for line in ["", "X-Served-By:\r\n", "X-Served-By-Proxy: 2\r\n"] {
            let text = format!("HTTP/1.1 200 OK\r\n{line}Content-Length: 0\r\n\r\n");
            let response = Response { status: 200, server: 0 };
            assert_eq!(Response::parse(text.as_bytes()), Ok(Some(response)), "{line}");
        }
    }

    #[test]
    fn a_response_may_have_16_headers() {
        let text = |more: usize| {
            let lines = "X: 1\r\n".repeat(more);
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{lines}\r\n").into_bytes()
        };
        assert!(Response::parse(&text(15)).is_ok_and(|response| response.is_some()));
        assert_eq!(
            Response::parse(&text(16)),
            Err(format!("malformed response: {}", httparse::Error::TooManyHeaders))
        );
    }

    #[test]
    fn an_unusable_response_is_an_error() {
        for (text, error) in [
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "not an HTTP/1.1 response"),
            ("HTTP/1.1 200 OK\r\nX: 1\r\n\r\n", "no valid Content-Length in a response"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                "no valid Content-Length in a response",
            ),
            ("HTTP/1.1 abc OK\r\n\r\n", "malformed response: "),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "malformed response: "),
            ("ok\n", "malformed response: "),
        ] {
            let found = Response::parse(text.as_bytes()).unwrap_err();
            assert!(found.starts_with(error), "{text}: {found}");
        }
    }
}
