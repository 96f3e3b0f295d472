//! A request as bytes.

use std::collections::TryReserveError;

/// A request. [`encode`](Self::encode) adds `Host`, `Content-Length` and `Connection`.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path and query, undecoded.
    pub target: &'a [u8],
    /// The value of `Host`.
    pub host: &'a [u8],
    /// The other headers.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body. Without one there is no `Content-Length`.
    pub body: Option<&'a [u8]>,
    /// Whether the connection is to have another request.
    pub keep_alive: bool,
}

/// Why a request cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The method is no token, or is CONNECT.
    #[error("invalid method")]
    Method,
    /// The target does not begin with a slash, or has a space, a fragment or a control character.
    #[error("invalid request target")]
    Target,
    /// The host has a space or a control character.
    #[error("invalid \"Host\"")]
    Host,
    /// The name of a header is no token, or is `Host`, `Content-Length`, `Transfer-Encoding`, `Connection` or
    /// `Upgrade`.
    #[error("invalid header name")]
    Name,
    /// The value of a header has a control character.
    #[error("invalid header value")]
    Value,
    /// There is no memory for the request.
    #[error("no memory for the request")]
    NoMemory,
}

/// What decides where a message ends, or whose it is, has one source.
const ADDED: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "upgrade"];

impl HttpRequest<'_> {
    /// Whether `headers` may have such a line.
    pub fn may_have(name: &str, value: &[u8]) -> bool {
        check_line(name, value).is_ok()
    }

    /// The bytes to be sent. Values may come from clients: nothing in them can begin another line.
    pub fn encode(&self) -> Result<Vec<u8>, RequestError> {
        self.check()?;
        let body = self.body.unwrap_or_default();
        let mut digits = itoa::Buffer::new();
        let length = self.body.map(|body| digits.format(body.len()));
        let connection = if self.keep_alive { "keep-alive" } else { "close" };
        let added = [
            ("Host", Some(self.host)),
            ("Content-Length", length.map(str::as_bytes)),
            ("Connection", Some(connection.as_bytes())),
        ];
        let added = added.into_iter().filter_map(|(name, value)| Some((name, value?)));

        let mut bytes = Vec::new();
        put(&mut bytes, &[self.method.as_bytes(), b" ", self.target, b" HTTP/1.1\r\n"])?;
        for (name, value) in added.chain(self.headers.iter().copied()) {
            put(&mut bytes, &[name.as_bytes(), b": ", value, b"\r\n"])?;
        }
        put(&mut bytes, &[b"\r\n", body])?;
        Ok(bytes)
    }

    fn check(&self) -> Result<(), RequestError> {
        // The body of a response to CONNECT is a tunnel.
        if !is_token(self.method) || self.method == "CONNECT" {
            return Err(RequestError::Method);
        }
        let is_of_target = |byte: &u8| is_text(byte) && *byte != b'#';
        if !self.target.starts_with(b"/") || !self.target.iter().all(is_of_target) {
            return Err(RequestError::Target);
        }
        if !self.host.iter().all(is_text) {
            return Err(RequestError::Host);
        }
        self.headers.iter().try_for_each(|(name, value)| check_line(name, value))
    }
}

fn check_line(name: &str, value: &[u8]) -> Result<(), RequestError> {
    let is_value = |byte: &u8| *byte == b'\t' || *byte == b' ' || is_text(byte);
    match () {
        () if !is_token(name) || ADDED.iter().any(|it| it.eq_ignore_ascii_case(name)) => {
            Err(RequestError::Name)
        }
        () if !value.iter().all(is_value) => Err(RequestError::Value),
        () => Ok(()),
    }
}

fn is_text(byte: &u8) -> bool {
    *byte > b' ' && *byte != 0x7f
}

/// A token (RFC 9110, 5.6.2). By hand: `httparse` shows its table of them to nobody.
fn is_token(text: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_token)
}

fn put(bytes: &mut Vec<u8>, parts: &[&[u8]]) -> Result<(), RequestError> {
    for part in parts {
        bytes.try_reserve(part.len()).map_err(|_: TryReserveError| RequestError::NoMemory)?;
        bytes.extend_from_slice(part);
    }
    Ok(())
}
