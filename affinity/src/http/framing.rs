//! How the end of a body is found, and whether the connection outlives it (RFC 9112, 6.3 and 9.3).

use super::error::HttpError;
use super::head::HttpHead;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    /// `to_head`: whether the request's method is HEAD.
    pub(super) fn of(head: &HttpHead, to_head: bool) -> Result<Framing, HttpError> {
        let length = length(head)?;
        let is_chunked = is_chunked(head)?;
        if length.is_some() && is_chunked {
            return Err(HttpError::LengthAndEncoding);
        }
        Ok(match length {
            _ if to_head || matches!(head.status(), 204 | 304) => Framing::Length(0),
            _ if is_chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }
}

/// Whether the server keeps the connection open after the response.
pub(super) fn is_kept(head: &HttpHead) -> bool {
    let has = |option: &str| {
        let mut options = head.values("connection").flat_map(|line| line.split(|b| *b == b','));
        options.any(|other| other.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    };
    !has("close") && (!head.is_1_0() || has("keep-alive"))
}

/// The `Content-Length`. Two that are equal would be allowed; a server that sends them is broken, or
/// forwards what somebody else has written.
fn length(head: &HttpHead) -> Result<Option<u64>, HttpError> {
    let mut values = head.values("content-length");
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(HttpError::SeveralLengths);
    }
    let digits = core::str::from_utf8(value).ok().filter(|_| value.iter().all(u8::is_ascii_digit));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.map(Some).ok_or(HttpError::InvalidLength)
}

fn is_chunked(head: &HttpHead) -> Result<bool, HttpError> {
    let mut values = head.values("transfer-encoding");
    match (values.next(), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.eq_ignore_ascii_case(b"chunked") && !head.is_1_0() => Ok(true),
        _ => Err(HttpError::UnknownEncoding),
    }
}
