//! The parts of a request that `affinity::mcp` reads.

use core::cell::RefCell;

use affinity::mcp::{Id, RequestHead, Verb};
use affinity::table::Kind;
use nginx_sys::{NGX_HTTP_DELETE, NGX_HTTP_GET};

use crate::nginx::headers::Header;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::request::Request;

/// The MCP message of a request. Of several headers of a name the first counts; different values of
/// `Mcp-Session-Id` make the request ambiguous.
pub fn of(r: Request<'_>) -> RequestHead<'_> {
    let mut message = RequestHead {
        verb: match r.method() {
            NGX_HTTP_GET => Verb::Get,
            NGX_HTTP_DELETE => Verb::Delete,
            _ => Verb::Other,
        },
        query: r.args(),
        target: r.unparsed_uri(),
        ..RequestHead::EMPTY
    };
    for header in r.headers_in() {
        // All headers of MCP begin with `mcp-`.
        if header.begins_with(b'm') {
            add(&mut message, header);
        }
    }
    message
}

// Out of line: few headers come here.
#[inline(never)]
fn add<'r>(message: &mut RequestHead<'r>, header: Header<'r>) {
    message.add_header(header.lowcase_name().unwrap_or_default(), header.value());
}

/// The buffer for an id that must be decoded.
static SCRATCH: PerWorker<RefCell<Id>> = PerWorker::new(RefCell::new(Id::new()));

/// Calls `f` with the kind and the id of a request, if it has one. `f` must not call this function again.
pub fn with_id<T>(message: &RequestHead<'_>, f: impl FnOnce(Kind, &[u8]) -> T) -> Option<T> {
    let mut scratch = SCRATCH.try_borrow_mut().ok()?;
    message.id(&mut scratch).map(|(kind, id)| f(kind, id))
}

/// The same with the id that is looked up after an unknown first one.
pub fn with_second_id<T>(message: &RequestHead<'_>, f: impl FnOnce(Kind, &[u8]) -> T) -> Option<T> {
    let mut scratch = SCRATCH.try_borrow_mut().ok()?;
    message.second_id(&mut scratch).map(|(kind, id)| f(kind, id))
}
