//! Connections of nginx's own to others, on nginx's event loop.
//!
//! `connection.rs` has the course of one: name, connect, TLS handshake, exchange, end. What is said on it is a
//! [`affinity::net::Protocol`]. docs/waiting.md describes how it is used.

pub mod address;
pub mod connection;
pub mod error;
mod names;
mod stream;
pub mod target;
mod timer;
#[cfg(ngx_feature = "http_ssl")]
mod tls;
#[cfg(not(ngx_feature = "http_ssl"))]
#[path = "no_tls.rs"]
mod tls;
pub mod to;
pub mod trust;
