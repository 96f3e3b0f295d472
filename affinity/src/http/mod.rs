//! HTTP/1.1 as a client (RFC 9112), without a socket: a request as bytes, and a reader of the response,
//! which is fed bytes as they arrive.
//!
//! nginx sends such requests itself: it asks whether a server is alive, and begins a session. The server
//! may be hostile. Each limit and each fault has an [`HttpError`] of its own, what two readers could
//! understand in two ways is an error, and the result does not depend on where the bytes are cut.
//!
//! | what | limit |
//! |---|---|
//! | heads, with those of 1xx responses | [`MAX_HEAD`] |
//! | header lines of a head | [`MAX_FIELDS`] |
//! | body that is kept | [`MAX_BODY`] |
//! | chunk extensions, together | [`MAX_EXTENSIONS`] |
//! | trailer | [`MAX_TRAILER`] |
//!
//! An [`Exchange`] collects the body. Who looks for something in it uses a [`ResponseReader`].

mod buffer;
mod chunked;
mod error;
mod exchange;
mod framing;
mod head;
mod lines;
mod request;
mod response;
mod sent;

pub use buffer::LimitedBuffer;
pub use chunked::{MAX_EXTENSIONS, MAX_TRAILER};
pub use error::HttpError;
pub use exchange::{Exchange, MAX_BODY};
pub use head::{HttpHead, MAX_FIELDS, MAX_HEAD};
pub use request::{HttpRequest, RequestError};
pub use response::{ResponsePiece, ResponseReader};
pub use sent::{with_value, without, SentHead};
