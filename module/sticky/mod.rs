//! The directive `sticky` of NGINX Plus, and of nginx from 1.29.6 on, for an nginx without it.
//!
//! `sticky cookie` and `sticky route` store nothing: the request contains the id of its server
//! (`peers/ids.rs`). `sticky learn` has sessions: only its directive is here, its requests are in `request/`,
//! with rules of their own (`Rules::Plus`).

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

/// Our `peer.init` for an upstream with `sticky cookie` or `sticky route`.
pub fn init_peer_of(conf: &Sticky) -> ngx_http_upstream_init_peer_pt {
    conf.method.as_ref().map(|_| choice::init_peer as _)
}

/// Installs a header filter in the versions of nginx that lose the cookie behind a 103.
pub fn install_filter(cf: &mut Conf<'_>) {
    #[cfg(nginx_early_hints)]
    early_hints::install(cf);
    #[cfg(not(nginx_early_hints))]
    let _ = cf;
}

/// Computes the ids of an upstream's servers.
///
/// # Safety
/// 1. nginx reads the configuration, and no reference to our configuration of the upstream that was made
///    before is used any more.
/// 2. The upstream's balancer has been initialised and keeps a list of peers.
pub unsafe fn arrange(block: Block<'_>) {
    // SAFETY: the configuration is being read, and this is the only reference in use (1).
    let Some(conf) = (unsafe { UpstreamConf::of_mut(block) }) else { return };
    let sticky = &mut conf.sticky;
    if sticky.method.is_some() || sticky.ids.has_routes() {
        // SAFETY: the balancer keeps a list of peers (2).
        if let Some(list) = unsafe { List::of(block) } {
            sticky.ids.arrange(block.servers(), list);
        }
    }
}

/// The status of a request and the address of its bound server.
pub type Shown<'a> = (Status, Option<&'a [u8]>);

/// The values of the variables for a request at an upstream with `sticky cookie` or `sticky route`.
pub fn shown<'r>(r: Request<'r>) -> Option<Shown<'r>> {
    let choice = choice::Choice::last(r).filter(|choice| choice.is_current())?;
    Some((choice.status(), choice.bound_address()))
}
