//! What NGINX Plus, and nginx from 1.29.6 on, call sticky, for an nginx that has none of its own.
//!
//! `sticky cookie` and `sticky route` keep nothing on the server: the request itself names its
//! server, by an id that `ids` knows. `sticky learn` has sessions, and is the business of
//! `upstream` with rules of its own.

use nginx_sys::ngx_int_t;

mod cookie;
mod directive;
#[cfg(nginx_early_hints)]
mod early_hints;
mod ids;
mod request;
mod server;

pub use directive::sticky;
#[cfg(nginx_early_hints)]
pub use early_hints::install;
pub use request::{init_peer, Choice};
pub use server::server;

/// Of one `upstream {}`.
#[derive(Default)]
pub struct Sticky {
    /// What `sticky cookie` or `sticky route` asked for.
    pub method: Option<Method>,
    pub ids: ids::Ids,
}

pub struct Method {
    /// The variables that name a server, by their indices; the first that is not empty counts.
    lookup: Vec<ngx_int_t>,
    /// What tells the client which server it was.
    cookie: Option<cookie::Cookie>,
}

impl Sticky {
    fn cookie(&self) -> Option<&cookie::Cookie> {
        self.method.as_ref()?.cookie.as_ref()
    }

    fn sets_cookie(&self) -> bool {
        self.cookie().is_some()
    }
}
