//! HTTP/1.1 as a client (RFC 9112), without a socket: a request as bytes, and a reader of the response,
//! which is fed bytes as they arrive.
//!
//! It is for requests that nginx sends itself, not for those that it passes on. The server may be hostile.
//! Each limit and each fault has an [`HttpError`] of its own. A response that two readers could understand
//! in two ways is an error. The result does not depend on where the bytes are cut.
//!
//! 1. [`HttpRequest::encode`] makes the bytes to be sent.
//! 2. [`Exchange::new`] gets the same request: a response to HEAD has no body.
//! 3. [`Exchange::feed`] gets the bytes that arrive, in pieces of any length, until it returns true or an
//!    error; [`Exchange::close`] is called if the server closes the connection before.
//!
//! | what | limit |
//! |---|---|
//! | heads, with those of 1xx responses | [`MAX_HEAD`] |
//! | header lines of a head | [`MAX_FIELDS`] |
//! | body that is kept | [`MAX_BODY`] |
//! | chunk extensions, together | [`MAX_EXTENSIONS`] |
//! | trailer | [`MAX_TRAILER`] |
//!
//! An [`Exchange`] keeps the whole body. A [`ResponseReader`] keeps none: its caller gets each piece.

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
pub use sent::{target, with_value, without, SentHead};
