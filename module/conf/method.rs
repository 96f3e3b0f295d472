//! The configuration of `sticky cookie` and `sticky route`, for an nginx without its own `sticky`.

use nginx_sys::{ngx_int_t, time_t};

use crate::conf::value::Value;

pub struct StickyMethod {
    /// The indices of the variables with a server's id; the first that is not empty counts.
    pub lookup: Vec<ngx_int_t>,
    /// The cookie that names the chosen server to the client.
    pub cookie: Option<Cookie>,
}

/// The parameters of `sticky cookie`.
pub struct Cookie {
    /// `NAME=`.
    pub name: Vec<u8>,
    pub expires: Expires,
    pub domain: Option<Value>,
    pub samesite: Option<Value>,
    /// `; httponly; secure`, one of the two, or nothing.
    pub flags: Vec<u8>,
    /// `; path=PATH`, or nothing.
    pub path: Vec<u8>,
}

/// When the cookie expires.
pub enum Expires {
    /// With the browser's session.
    Session,
    /// This number of seconds after it is set; the text is `; max-age=SECONDS`.
    After(time_t, String),
    /// `expires=max`: nginx's latest date.
    Max,
}

impl Cookie {
    /// The name without `=`.
    pub fn own_name(&self) -> &[u8] {
        self.name.strip_suffix(b"=").unwrap_or(&self.name)
    }
}
