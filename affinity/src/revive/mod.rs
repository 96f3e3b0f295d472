//! Sessions of the Model Context Protocol that outlive their server (`gone=revive`), without nginx and
//! without I/O.
//!
//! # What is kept
//! A [`Record`] of each session: the body of its `initialize`, and what the server's answer says
//! ([`NegotiatedReader`]). A [`RecordKey`] encrypts it; only a request that brings the session's id has that
//! key. A [`Store`] holds the records in shared memory, beside the session table, by the table's keys.
//!
//! # How a session is revived
//! 1. [`decide`] says what an answer, or the state of the server, means for a request: it is sent, it waits,
//!    the server is asked a `ping`, or the session is lost. Only its owner ([`Standing`]) starts anything.
//! 2. [`Store::claim`]: one of many requests, in all processes, does the rest. The others ask again for the
//!    claim until it is theirs or the session is revived. A claim has a deadline, which ends that of a
//!    process that died.
//! 3. [`Revival`] is the course: the kept [`initialize`] to another server, [`INITIALIZED`], [`ping`].
//! 4. [`Store::revived`] replaces the record by one with the new id. The client keeps its own.
//!
//! A server numbers its requests from zero in each session. So a late answer of the client to the lost
//! session could reach another request of the new one. [`ClientBody`] finds the answers in what the client
//! sends. [`TaggedStream`] gives the requests in streams other ids, which tell the revival ([`IdTag`]);
//! [`Store::note_request`] and [`Store::has_request`] share them between processes.
//!
//! A client resumes a broken stream by the id of its last event. An id of the lost session means nothing to the new
//! server, or another stream. [`EventIds`] finds the ids in streams of the new session, [`Store::note_event`] and
//! [`Store::may_have_event`] share them.

mod capabilities;
mod decision;
mod memory;
mod messages;
mod negotiated;
mod owner;
mod pace;
mod record;
mod revival;
mod rpc_ids;
mod seal;

pub use capabilities::Capabilities;
pub use decision::{
    decide, is_suspect, Evidence, Presented, Reply, RequestKind, Standing, Step, PING_TIMEOUT,
};
pub use memory::claim::{Cause, Claim, Ticket};
pub use memory::layout::StoreError;
pub use memory::store::{Kept, Store, StoreStats};
pub use messages::{initialize, ping, INITIALIZED};
pub use negotiated::{Misfit, Negotiated, NegotiatedReader};
pub use owner::{Owner, CREDENTIALS};
pub use pace::PER_SECOND;
pub use record::{NotKept, Record, MAX_INITIALIZE, MAX_OPENER, MAX_URI, MAX_VERSION};
pub use revival::{Heard, Next, Revival, Send, MAX_SERVERS};
pub use rpc_ids::client::ClientBody;
pub use rpc_ids::events::{EventId, EventIds};
pub use rpc_ids::message::RpcId;
pub use rpc_ids::stream::ServerRequests;
pub use rpc_ids::tag::{IdTag, TaggedStream, MAX_LINE};
pub use seal::{RecordKey, MAX_SEALED, NONCE_LEN};
