//! Our hooks around an upstream's balancer, and nginx's directives that this module reads first.

pub mod keepalive;
#[cfg(not(nginx_own_sticky))]
pub mod server;
pub mod wire;
