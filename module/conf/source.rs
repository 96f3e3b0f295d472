//! A source of answers: asked for the server of an id that the session table does not have.

use affinity::ask::Ticket;
use affinity::table::{Key, Span};

use crate::zone::Zone;

/// Which server has the session of a key.
pub struct Question {
    /// The zone of the sessions. The answer is bound there.
    pub zone: &'static Zone,
    pub key: Key,
    /// Names the request that asks, for an answer that comes later.
    pub ticket: Ticket,
}

/// The answer to a question.
pub enum Answer<'a> {
    /// The server with this address, as nginx prints it, has the session.
    Server(&'a [u8]),
    /// Nobody has it.
    Nobody,
    /// `wait::answer` is called later, with the ticket of the question; not before the source has returned.
    Wait,
    /// The source cannot answer.
    Failed,
}

/// An upstream's source of answers. It is asked in a phase handler, so it must not block.
pub trait Source {
    /// Which server has the session.
    fn ask(&self, question: &Question) -> Answer<'_>;

    /// Whether [`Self::revive`] may be called.
    fn revives(&self) -> bool;

    /// Makes a server take over a session that nobody has. Called at most once for a question, after it was
    /// answered by `Nobody`: by the caller of `wait::answer`, or right after [`Self::ask`].
    fn revive(&self, question: &Question) -> Answer<'_>;

    /// How long a request waits for its answer, revival included.
    fn timeout(&self) -> Span;
}
