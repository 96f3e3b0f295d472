//! Why a response is of no use.

/// Why a response is of no use. The subject of each text is the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The connection was closed before the first byte of the response. A connection that was kept may
    /// have been closed before the request arrived.
    #[error("server closed the connection without a response")]
    NoResponse,
    /// The connection was closed in the head, or after the head of a 1xx response.
    #[error("server closed the connection in the response header")]
    ClosedInHead,
    /// The connection was closed in the body.
    #[error("server closed the connection in the response body")]
    ClosedInBody,
    /// The first bytes are not `HTTP/1.`.
    #[error("server sent no HTTP/1 response")]
    NotHttp,
    /// The status line has a syntax error, or a status that is not between 100 and 599.
    #[error("server sent an invalid status line")]
    StatusLine,
    /// 101: the request had no `Upgrade`.
    #[error("server switched to another protocol without having been asked")]
    Switched,
    /// A header line has a syntax error, or continues the line before it.
    #[error("server sent an invalid header line")]
    HeaderLine,
    /// More than `MAX_FIELDS` lines.
    #[error("server sent more than 100 header lines")]
    TooManyHeaders,
    /// More than `MAX_HEAD` bytes.
    #[error("server sent a response header of more than 16 KiB")]
    HeadTooLong,
    /// A line feed without a carriage return before it.
    #[error("server sent a line feed without a carriage return")]
    BareLineFeed,
    /// A carriage return without a line feed behind it.
    #[error("server sent a carriage return without a line feed")]
    BareReturn,
    /// A control character in a line.
    #[error("server sent a control character in a line")]
    ControlCharacter,
    /// `Content-Length` is not one number below 2^64.
    #[error("server sent an invalid \"Content-Length\"")]
    InvalidLength,
    /// Several lines `Content-Length`, even if they are equal.
    #[error("server sent \"Content-Length\" twice")]
    SeveralLengths,
    /// Both headers.
    #[error("server sent \"Content-Length\" and \"Transfer-Encoding\"")]
    LengthAndEncoding,
    /// `Transfer-Encoding` is not `chunked` alone, or the response is HTTP/1.0.
    #[error("server sent an unknown \"Transfer-Encoding\"")]
    UnknownEncoding,
    /// A chunk size is not hexadecimal, or has more than 16 digits.
    #[error("server sent an invalid chunk size")]
    ChunkSize,
    /// A chunk is longer than its size.
    #[error("server sent a chunk that is longer than its size")]
    ChunkEnd,
    /// More than `MAX_EXTENSIONS` bytes.
    #[error("server sent chunk extensions of more than 4 KiB")]
    ExtensionsTooLong,
    /// More than `MAX_TRAILER` bytes.
    #[error("server sent a trailer of more than 4 KiB")]
    TrailerTooLong,
    /// More than `MAX_BODY` bytes.
    #[error("server sent a response body of more than 64 KiB")]
    BodyTooLong,
    /// There is no memory for the response.
    #[error("no memory for the response of the server")]
    NoMemory,
}
