//! What a buffer of a body has brought.

/// What a buffer has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Nothing,
    Faulty(Fault),
    Found,
}

/// Why an answer that should give an id gives none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The data of an `endpoint` event is no URI of an HTTP server.
    NoTarget,
    /// The target of an `endpoint` event is the same for every stream.
    NoId,
    /// The id, or the data that should have it, is longer than what is read.
    TooLong,
}
