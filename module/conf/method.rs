//! What `sticky cookie` and `sticky route` asked for, for an nginx that has no `sticky` of its own.

#[cfg(not(nginx_own_sticky))]
pub use own::*;

/// Where nginx has its own there is nothing of ours.
#[cfg(nginx_own_sticky)]
pub type Sticky = ();

#[cfg(not(nginx_own_sticky))]
mod own {
    use nginx_sys::{ngx_int_t, time_t};

    use crate::conf::value::Value;
    use crate::peers::ids::Ids;

    /// Of one `upstream {}`.
    #[derive(Default)]
    pub struct Sticky {
        /// What `sticky cookie` or `sticky route` asked for.
        pub method: Option<Method>,
        pub ids: Ids,
    }

    pub struct Method {
        /// The variables that name a server, by their indices; the first that is not empty counts.
        pub lookup: Vec<ngx_int_t>,
        /// What tells the client which server it was.
        pub cookie: Option<Cookie>,
    }

    impl Sticky {
        pub fn cookie(&self) -> Option<&Cookie> {
            self.method.as_ref()?.cookie.as_ref()
        }

        pub fn sets_cookie(&self) -> bool {
            self.cookie().is_some()
        }
    }

    /// What `sticky cookie` says of it.
    pub struct Cookie {
        /// `NAME=`.
        pub name: Vec<u8>,
        pub expires: Expires,
        pub domain: Option<Value>,
        pub samesite: Option<Value>,
        /// `; httponly; secure`, or parts of it.
        pub flags: Vec<u8>,
        /// `; path=PATH`, or nothing.
        pub path: Vec<u8>,
    }

    /// When it ends.
    pub enum Expires {
        /// With the client's session.
        Session,
        /// So many seconds from now; the text is `; max-age=SECONDS`.
        After(time_t, String),
        /// As late as nginx can say.
        Max,
    }

    impl Cookie {
        /// Its name.
        pub fn own_name(&self) -> &[u8] {
            self.name.strip_suffix(b"=").unwrap_or(&self.name)
        }
    }
}
