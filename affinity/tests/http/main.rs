//! Requests that nginx sends itself: their bytes, and responses of servers that are sound, broken and
//! hostile.

mod bodies;
mod calls;
#[path = "../common/exchange.rs"]
mod exchange;
mod heads;
#[path = "../common/mcp.rs"]
mod model;
mod properties;
#[path = "../common/http.rs"]
mod reference;
mod requests;

use affinity::http::{Exchange, HttpError};
use exchange::{read, Seen, POST};

/// Status, body and whether the connection is reusable, of a response that is complete.
fn complete(response: &[u8]) -> (u16, Vec<u8>, bool) {
    let Seen { status, body, error, is_done, is_reusable } = read(response, false);
    assert_eq!((error, is_done), (None, true), "{}", response.escape_ascii());
    (status.unwrap(), body, is_reusable)
}

/// The error of a response, before the server closes the connection.
fn error(response: &[u8]) -> HttpError {
    let seen = read(response, false);
    seen.error.unwrap_or_else(|| panic!("no error in {}", response.escape_ascii()))
}
