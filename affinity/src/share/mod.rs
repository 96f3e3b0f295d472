//! Sessions that several machines share by a store, Redis or Valkey; without I/O.
//!
//! The machines that share are a fleet. The store has the truth, the session table of each machine a copy of
//! what its requests have used.
//!
//! - **Key of a session**: `PREFIX ZONE : FINGERPRINT`. The fingerprint is the table's key of the id, hashed
//!   by the secret of the fleet. No id leaves a machine.
//! - **Value**: the server, when the session was created, its own time to live; or that it has ended
//!   ([`value`]). It carries a MAC under the fleet's secret ([`secret`]), bound to zone and fingerprint: who can
//!   write to the store without the secret cannot make a value that a machine believes.
//! - **A session is learned**: `SET` before the response leaves. **Unknown**: `GET`, asked again for a while
//!   ([`asking`]), since the `SET` of another machine may be on its way. **Moved, ended**: the change and a
//!   [`message`] to all machines in one transaction, so that the store's order is everybody's. An end leaves a
//!   tombstone for the session's timeout.
//! - **The store is away**: [`standing`] has what the workers of a machine know of it together.
//!
//! [`link`] is the connection for commands of one worker, [`subscription`] the one that hears messages. The
//! protocol is RESP2 ([`resp`]): with RESP3, Redis before 7.2 mixes messages into the result of `EXEC`.

pub mod asking;
pub mod link;
pub mod message;
pub mod resp;
pub mod secret;
pub mod standing;
pub mod subscription;
#[cfg(test)]
mod tests;
pub mod value;
