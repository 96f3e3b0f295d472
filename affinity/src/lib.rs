//! The parts that need no nginx: session table, files of a zone, policy, states of servers, MCP messages,
//! cookies, `sticky_api`.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

#[cfg(not(loom))]
pub mod cookies;
#[cfg(not(loom))]
pub mod file;
#[cfg(not(loom))]
pub mod mcp;
#[cfg(not(loom))]
pub mod policy;
#[cfg(not(loom))]
pub mod servers;
#[cfg(not(loom))]
pub mod status;
pub mod table;
mod time;
