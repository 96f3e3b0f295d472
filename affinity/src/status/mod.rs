//! What `sticky_api` shows and understands, as values: the state of zones and servers, its two
//! renderings, and the requests that ask for it or change it.
//!
//! Names and units of fields are a promise to users: docs/api.md describes them,
//! docs/api.schema.json holds the tests to it.

mod body;
mod json;
mod negotiate;
mod output;
mod prometheus;
mod refusal;
mod report;
mod request;
#[cfg(test)]
mod tests;
mod text;
mod zone;

pub use body::{Drain, SessionId, MAX_BODY};
pub use json::{Document, Outcome};
pub use negotiate::Format;
pub use output::{OutOfMemory, Output};
pub use refusal::{
    Refusal, FOREIGN, NO_LENGTH, NO_MEMORY, NO_ROOM, NO_SERVER, NO_SESSION, NO_UPSTREAM, NO_ZONE,
    RELOADING, TOO_LARGE,
};
pub use report::{Admin, Report, Server, Upstream, Zone, ZoneServer};
pub use request::{Method, Request, Resource, Task};
pub use text::{Text, Utc};
pub use zone::{Draining, Tally};
