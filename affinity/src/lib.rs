//! The parts that need no nginx: session table, files of a zone, policy, the course of a question to others,
//! states of servers, MCP messages, sessions that outlive their server, sessions of several machines, cookies,
//! `sticky_api`, connections to others and what is said over them.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

#[cfg(not(loom))]
pub mod ask;
#[cfg(not(loom))]
pub mod cookies;
#[cfg(not(loom))]
pub mod file;
#[cfg(not(loom))]
pub mod http;
#[cfg(not(loom))]
pub mod mcp;
#[cfg(not(loom))]
pub mod net;
#[cfg(not(loom))]
pub mod policy;
#[cfg(not(loom))]
pub mod revive;
#[cfg(not(loom))]
pub mod rpc;
#[cfg(not(loom))]
pub mod servers;
#[cfg(not(loom))]
pub mod share;
#[cfg(not(loom))]
pub mod status;
pub mod table;
#[cfg(not(loom))]
mod text;
mod time;
