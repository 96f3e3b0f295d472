//! What NGINX Plus, and nginx from 1.29.6 on, call sticky, for an nginx that has none of its own.
//!
//! `sticky cookie` and `sticky route` keep nothing on the server: the request itself names its
//! server, by an id that `ids` knows. `sticky learn` has sessions, and is the business of
//! `upstream` with rules of its own.

use affinity::policy::Status;
use nginx_sys::ngx_http_upstream_init_peer_pt;

use crate::conf::method::Sticky;
use crate::conf::UpstreamConf;
use crate::nginx::conf::Conf;
use crate::nginx::request::Request;
use crate::nginx::upstream::Block;
use crate::peers::list::List;

mod choice;
mod cookie;
pub mod directive;
#[cfg(nginx_early_hints)]
mod early_hints;

/// What begins a request of an upstream with a method of its own, without sessions.
pub fn init_peer_of(conf: &Sticky) -> ngx_http_upstream_init_peer_pt {
    conf.method.as_ref().map(|_| choice::init_peer as _)
}

/// Adds a filter where nginx loses the cookies of `sticky cookie`.
pub fn install_filter(cf: &mut Conf<'_>) {
    #[cfg(nginx_early_hints)]
    early_hints::install(cf);
    #[cfg(not(nginx_early_hints))]
    let _ = cf;
}

/// Notes what is known of an upstream's servers.
///
/// # Safety
/// 1. nginx reads its configuration, and a reference to ours of the upstream that was made before is not used any more.
/// 2. The upstream's balancer keeps a list of peers, and has made it.
pub unsafe fn arrange(block: Block<'_>) {
    // SAFETY: by (1).
    let Some(conf) = (unsafe { UpstreamConf::of_mut(block) }) else { return };
    let sticky = &mut conf.sticky;
    if sticky.method.is_some() || sticky.ids.has_routes() {
        // SAFETY: by (2).
        if let Some(list) = unsafe { List::of(block) } {
            sticky.ids.arrange(block.servers(), list);
        }
    }
}

/// Status and bound server of a request.
pub type Shown<'a> = (Status, Option<&'a [u8]>);

/// What the variables show of a request that is in such an upstream.
pub fn shown<'r>(r: Request<'r>) -> Option<Shown<'r>> {
    let choice = choice::Choice::last(r).filter(|choice| choice.is_current())?;
    Some((choice.status(), choice.bound_address()))
}
