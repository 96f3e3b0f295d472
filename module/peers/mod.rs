//! nginx's lists of peers, and the peers that a request has taken and tried.

pub mod addresses;
pub mod hooks;
#[cfg(not(nginx_own_sticky))]
pub mod ids;
pub mod list;
mod take;
pub mod tried;
pub mod version;
