//! `sticky_api`, as values: the state of zones and servers, its renderings as JSON and for Prometheus, and
//! the requests that read or change it.
//!
//! Names and units of fields are a promise to users. docs/api.md describes them, and the tests check them
//! by docs/api.schema.json.

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
pub use report::{
    Admin, Began, FileReport, RecordsReport, Report, ServerReport, ShareReport, UpstreamReport,
    ZoneReport, ZoneServer,
};
pub use request::{ApiRequest, Method, Resource, Task};
pub use text::{Text, Utc};
pub use zone::{Draining, Loss, Refused, Tally};
