//! What NGINX Plus, and nginx from 1.29.6 on, call sticky, for an nginx that has none of its own.
//!
//! `sticky cookie` and `sticky route` keep nothing on the server: the request itself names its
//! server, by an id that `ids` knows. `sticky learn` has sessions, and is the business of
//! `upstream` with rules of its own.

use affinity::policy::Status;

use crate::conf::UpstreamConf;
use crate::nginx::conf::Conf;
use crate::nginx::request::Request;
use crate::nginx::upstream::Block;
use crate::peers::list::List;

pub mod choice;
mod cookie;
pub mod directive;
#[cfg(nginx_early_hints)]
mod early_hints;

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
    if conf.method().is_some() || conf.ids.has_routes() {
        // SAFETY: by (2).
        if let Some(list) = unsafe { List::of(block) } {
            conf.ids.arrange(block.servers(), list);
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
