//! Directives of `upstream {}` that wrap or change its balancer.

pub mod keepalive;
#[cfg(not(nginx_own_sticky))]
pub mod server;
