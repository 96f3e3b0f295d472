//! nginx's lists of servers, and what a request has tried of them.

pub mod addresses;
pub mod hooks;
#[cfg(not(nginx_own_sticky))]
pub mod ids;
pub mod list;
mod take;
pub mod tried;
pub mod version;
