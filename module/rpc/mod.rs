//! JSON-RPC calls of nginx's own: one request to a server, on a connection of its own.
//!
//! The caller keeps no pointer to a request of a client: that may end before the answer.

use core::fmt;

use affinity::http::{HttpError, HttpRequest, RequestError};
use affinity::net::{Next, Output, Protocol};
use affinity::rpc::{Call, CallProgress};

use crate::net::connection::{open, Exchange};
use crate::net::error::Error;
use crate::net::to::{Times, To};
use crate::nginx::cycle::Cycle;
use crate::nginx::try_box;

/// Why a call has no answer.
#[derive(Clone, Copy, Debug)]
pub enum CallError {
    Request(RequestError),
    /// This machine has no memory for a connection, or the process serves no requests.
    Local,
    Connection(Error),
    Response(HttpError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Request(error) => error.fmt(f),
            CallError::Local => Error::Local.fmt(f),
            CallError::Connection(error) => error.fmt(f),
            CallError::Response(error) => error.fmt(f),
        }
    }
}

/// What answers a request.
#[derive(Clone, Copy)]
pub enum Expected {
    /// The head of the response.
    Head,
    /// A JSON-RPC response with this id.
    Id(u64),
    /// A JSON-RPC response: the message in the body has an id of its author's choice.
    AnyId,
}

/// Sends a request, and calls `then` with what was answered: after this function has returned, and not at all
/// if the worker exits before. `deadline` is in milliseconds, for
/// everything together.
pub fn call<F>(
    cycle: Cycle<'_>,
    to: To,
    request: &HttpRequest<'_>,
    expected: Expected,
    deadline: u64,
    then: F,
) -> Result<(), CallError>
where
    F: FnOnce(Cycle<'_>, Result<Call, CallError>) + 'static,
{
    let bytes = request.encode().map_err(CallError::Request)?;
    let call = match expected {
        Expected::Head => Call::new(request, None),
        Expected::Id(id) => Call::new(request, Some(id)),
        Expected::AnyId => Call::with_any_id(request),
    };
    let pending = Pending { bytes, call, error: None, then };
    let pending = try_box(pending).ok_or(CallError::Local)?;
    let times = Times { delay: 0, deadline, lasts: false };
    open(cycle, to, times, pending).map(|_| ()).ok_or(CallError::Local)
}

/// A call without its answer.
struct Pending<F> {
    /// The request, until it is sent.
    bytes: Vec<u8>,
    call: Call,
    error: Option<CallError>,
    then: F,
}

impl<F> Pending<F> {
    fn fail(&mut self, error: HttpError) -> Next {
        self.error = Some(CallError::Response(error));
        Next::Fail("invalid response")
    }
}

impl<F> Protocol for Pending<F> {
    fn connected(&mut self, output: &mut Output) -> Next {
        match output.push(&core::mem::take(&mut self.bytes)) {
            Ok(()) => Next::Wait,
            Err(_) => {
                self.error = Some(CallError::Local);
                Next::Fail("no room for the request")
            }
        }
    }

    fn received(&mut self, input: &[u8], _: &mut Output) -> (usize, Next) {
        let next = match self.call.feed(input) {
            Ok(CallProgress::More) => Next::Wait,
            Ok(CallProgress::Answered | CallProgress::Ended) => Next::Done,
            Err(error) => self.fail(error),
        };
        (input.len(), next)
    }

    fn closed(&mut self) -> Next {
        match self.call.close() {
            Ok(()) => Next::Done,
            Err(error) => self.fail(error),
        }
    }
}

impl<F> Exchange for Pending<F>
where
    F: FnOnce(Cycle<'_>, Result<Call, CallError>) + 'static,
{
    fn ended(self: Box<Self>, cycle: Cycle<'_>, result: Result<(), Error>) {
        let pending = *self;
        let result = match (result, pending.error) {
            (Ok(()), _) => Ok(pending.call),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(CallError::Connection(error)),
        };
        (pending.then)(cycle, result);
    }
}
