//! The result of one buffer of a body.

/// The result of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Nothing,
    Faulty(Fault),
    Found,
}

/// Why a body that should have an id has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The data of an `endpoint` event is no URI of an HTTP server.
    NoTarget,
    /// The target of an `endpoint` event is the same for every stream.
    NoId,
    /// The id, or the data that should have it, is too long.
    TooLong,
}
