//! The protocol of a connection, as a state machine: bytes in, bytes out.

use super::output::Output;

/// What a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Waits for more bytes.
    Wait,
    /// Sends the rest of the output and closes: the exchange has succeeded.
    Done,
    /// Closes: the exchange has failed, for this reason.
    Fail(&'static str),
}

/// A protocol, at the side that has connected. The connection calls these methods; none of them waits.
pub trait Protocol {
    /// The connection is established, its TLS handshake included.
    fn connected(&mut self, output: &mut Output) -> Next;

    /// Bytes have arrived. `input` is all that is not consumed yet; the result begins with how many of these
    /// bytes the protocol has consumed. If [`super::MAX_BUFFERED`] bytes stay unconsumed, the exchange has failed.
    fn received(&mut self, input: &[u8], output: &mut Output) -> (usize, Next);

    /// The server sends no more; all it has sent has been received. If the result is [`Next::Wait`], the
    /// server has closed too early: the exchange has failed.
    fn closed(&mut self) -> Next;
}
