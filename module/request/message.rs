//! What nginx holds of a request, for `affinity::mcp` to read.

use core::cell::RefCell;

use affinity::mcp::{Id, Lines, Request as Message, Verb};
use affinity::table::Kind;
use nginx_sys::{NGX_HTTP_DELETE, NGX_HTTP_GET};

use crate::nginx::headers::Header;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::request::Request;

/// What a request says to MCP servers. Of a header that comes twice the first counts; lines of
/// `Mcp-Session-Id` that differ make the request ambiguous.
pub fn of(r: Request<'_>) -> Message<'_> {
    let mut message = Message {
        verb: match r.method() {
            NGX_HTTP_GET => Verb::Get,
            NGX_HTTP_DELETE => Verb::Delete,
            _ => Verb::Other,
        },
        session: &[],
        lines: Lines::None,
        version: &[],
        method: &[],
        name: &[],
        query: r.args(),
        target: r.unparsed_uri(),
    };
    for header in r.headers_in() {
        // All that matter begin alike.
        if header.begins_with(b'm') {
            add(&mut message, header);
        }
    }
    message
}

// Out of line: hardly any header comes here.
#[inline(never)]
fn add<'r>(message: &mut Message<'r>, header: Header<'r>) {
    message.add_header(header.lowcase_name().unwrap_or_default(), header.value());
}

/// Room for ids that must be decoded, one at a time.
static SCRATCH: PerWorker<RefCell<Id>> = PerWorker::new(RefCell::new(Id::new()));

/// Calls `f` with the id that a request carries, if any, and what it names. `f` must not do so again.
pub fn with_id<T>(message: &Message<'_>, f: impl FnOnce(Kind, &[u8]) -> T) -> Option<T> {
    let mut scratch = SCRATCH.try_borrow_mut().ok()?;
    message.id(&mut scratch).map(|(kind, id)| f(kind, id))
}

/// The same with the id that is asked for where the first one is unknown.
pub fn with_second_id<T>(message: &Message<'_>, f: impl FnOnce(Kind, &[u8]) -> T) -> Option<T> {
    let mut scratch = SCRATCH.try_borrow_mut().ok()?;
    message.second_id(&mut scratch).map(|(kind, id)| f(kind, id))
}
