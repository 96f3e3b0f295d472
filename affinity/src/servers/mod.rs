//! The state of a server, from evidence alone.
//!
//! A session lives on one server, and no other can serve it. So its server is tried unless it cannot
//! be reached. That is a fact of the network: a TCP connection was refused or reset, or was not
//! established in time. A slow answer, an error, a broken TLS handshake, or the lack of a local port is
//! the failure of one request and says nothing about the server.
//!
//! [`Record`] is what all workers share of one server of a zone. [`Record::apply`] is the table
//! (state × event → state). [`Record::view`] is the state in one upstream. What the administrator
//! wants (drain, down) is a second value, which no event changes.

mod record;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod words;

pub use record::{Event, Record, Thresholds, SLOW_CALLS};
pub use run::Run;
pub use state::{Known, Reason, Source};
pub use view::{Avoided, Member, View};
