//! The state of a server: what is known of it, from evidence alone.
//!
//! A session lives on one server, and no other can serve it. So its server is tried unless it cannot
//! be reached, and that is a fact of the network: a TCP connection that was refused or reset, or
//! that did not come about in time. A slow answer, an error, a broken TLS handshake, or a port that
//! this machine has run out of is the failure of one request and tells nothing of the server.
//!
//! [`Record`] is what all workers share of one server of a zone; [`Record::apply`] is the table
//! (state × event → state); [`Record::view`] is what one upstream makes of it. What the
//! administrator wants (drain, down) is a second value, which no event changes.

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
