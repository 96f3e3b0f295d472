//! Our hooks around an upstream's balancer, and the directives that wrap or change it.

pub mod keepalive;
#[cfg(not(nginx_own_sticky))]
pub mod server;
pub mod wire;
