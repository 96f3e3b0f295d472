//! What NGINX Plus, and nginx from 1.29.6 on, call sticky, for an nginx that has none of its own.
//!
//! `sticky cookie` and `sticky route` keep nothing on the server: the request itself names its
//! server, by an id that `ids` knows. `sticky learn` has sessions, and is the business of
//! `upstream` with rules of its own.

use affinity::policy::Status;
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_init_peer_pt,
    ngx_http_upstream_srv_conf_t,
};

use crate::balancer::server::server;
use crate::conf::method::Sticky;
use crate::nginx::conf::command;

mod choice;
mod cookie;
mod directive;
#[cfg(nginx_early_hints)]
mod early_hints;

/// How many directives of ours depend on the version.
pub const COMMANDS_LEN: usize = 2;

/// Adds them to the others, from place `at` on.
pub const fn add_commands<const N: usize>(
    mut commands: [ngx_command_t; N],
    at: usize,
) -> [ngx_command_t; N] {
    commands[at] = command(c"sticky", nginx_sys::NGX_CONF_2MORE, directive::sticky);
    commands[at + 1] = command(c"server", nginx_sys::NGX_CONF_1MORE, server);
    commands
}

/// What begins a request of an upstream with a method of its own, without sessions.
pub fn init_peer_of(conf: &Sticky) -> ngx_http_upstream_init_peer_pt {
    conf.method.as_ref().map(|_| choice::init_peer as _)
}

/// Adds a filter where nginx loses the cookies of `sticky cookie`.
///
/// # Safety
/// `cf` has read all of `http {}`.
pub unsafe fn install_filter(cf: &ngx_conf_t) {
    #[cfg(nginx_early_hints)]
    // SAFETY: by this function's contract.
    unsafe {
        early_hints::install(cf)
    };
    #[cfg(not(nginx_early_hints))]
    let _ = cf;
}

/// Notes what is known of an upstream's servers.
///
/// # Safety
/// nginx reads its configuration; the upstream's balancer has made its peers.
pub unsafe fn arrange(us: *const ngx_http_upstream_srv_conf_t, conf: &mut Sticky) {
    if conf.method.is_some() || conf.ids.has_routes() {
        // SAFETY: by this function's contract.
        unsafe { conf.ids.arrange(&*us) };
    }
}

/// Status and bound server of a request.
pub type Shown<'a> = (Status, Option<&'a [u8]>);

/// What the variables show of a request that is in such an upstream.
///
/// # Safety
/// `r` is a live request.
pub unsafe fn shown<'a>(r: *mut ngx_http_request_t) -> Option<Shown<'a>> {
    // SAFETY: by this function's contract.
    unsafe {
        let choice = choice::Choice::last(r).filter(|choice| choice.is_current())?;
        Some((choice.status(), choice.bound_address()))
    }
}
