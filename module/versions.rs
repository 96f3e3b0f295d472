//! All that differs by nginx's version.
//!
//! - Before 1.29.6 nginx has no `sticky`, and its `server` knows neither `route=` nor `drain`: the
//!   directives are ours. From then on they are nginx's own, and nothing of ours is compiled.
//! - From 1.27.3 on, open-source peers are counted and re-resolved.

use core::ffi::c_void;

use affinity::policy::Status;
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_init_peer_pt,
    ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_peer_connection_t,
};

use crate::peers::Candidate;

#[cfg(not(nginx_own_sticky))]
#[path = "sticky/mod.rs"]
mod sticky;

#[cfg(not(nginx_own_sticky))]
mod own {
    pub use super::sticky::Sticky;
    use super::*;
    use crate::directives::command;

    /// How many directives of ours depend on the version.
    pub const COMMANDS_LEN: usize = 2;

    /// Adds them to the others, from place `at` on.
    pub const fn add_commands<const N: usize>(
        mut commands: [ngx_command_t; N],
        at: usize,
    ) -> [ngx_command_t; N] {
        commands[at] = command(c"sticky", nginx_sys::NGX_CONF_2MORE, sticky::sticky);
        commands[at + 1] = command(c"server", nginx_sys::NGX_CONF_1MORE, sticky::server);
        commands
    }

    /// What begins a request of an upstream with a method of its own, without sessions.
    pub fn init_peer(conf: &Sticky) -> ngx_http_upstream_init_peer_pt {
        conf.method.as_ref().map(|_| sticky::init_peer as _)
    }

    /// Adds a filter where nginx loses the cookies of `sticky cookie`.
    ///
    /// # Safety
    /// `cf` has read all of `http {}`.
    pub unsafe fn install_filter(cf: &ngx_conf_t) {
        #[cfg(nginx_early_hints)]
        // SAFETY: by this function's contract.
        unsafe {
            sticky::install(cf)
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

    /// The route of a server, for as long as its group is locked.
    pub fn route<'a>(conf: &Sticky, candidate: &Candidate<'a>) -> Option<&'a [u8]> {
        conf.ids.route(candidate)
    }

    /// Which name a peer was resolved from while nginx runs, in the order of the configuration with
    /// backup servers last; `None` for a peer that was there from the start.
    ///
    /// # Safety
    /// The peer's group is locked; `first` is the first group of its upstream.
    pub unsafe fn resolved_name(
        first: &ngx_http_upstream_rr_peers_t,
        peer: &ngx_http_upstream_rr_peer_t,
    ) -> Option<usize> {
        #[cfg(nginx_peer_refs)]
        // SAFETY: the names are made with the zone, and stay as long.
        unsafe {
            if peer.host.is_null() {
                return None;
            }
            let mut number = 0;
            let mut group = core::ptr::from_ref(first);
            while let Some(peers) = group.as_ref() {
                let mut name = peers.resolve;
                while let Some(template) = name.as_ref() {
                    if template.host == peer.host {
                        return Some(number);
                    }
                    number += 1;
                    name = template.next;
                }
                group = peers.next;
            }
            None
        }
        #[cfg(not(nginx_peer_refs))]
        {
            let _ = (first, peer);
            None
        }
    }
    /// What the variables show of a request that is in such an upstream.
    ///
    /// # Safety
    /// `r` is a live request.
    pub unsafe fn shown<'a>(r: *mut ngx_http_request_t) -> Option<Shown<'a>> {
        // SAFETY: by this function's contract.
        unsafe {
            let choice = sticky::Choice::last(r).filter(|choice| choice.is_current())?;
            Some((choice.status(), choice.bound_address()))
        }
    }
}

#[cfg(nginx_own_sticky)]
mod own {
    use super::*;

    pub type Sticky = ();

    pub const COMMANDS_LEN: usize = 0;

    pub const fn add_commands<const N: usize>(
        commands: [ngx_command_t; N],
        _at: usize,
    ) -> [ngx_command_t; N] {
        commands
    }

    pub fn init_peer(_conf: &Sticky) -> ngx_http_upstream_init_peer_pt {
        None
    }

    pub unsafe fn install_filter(_cf: &ngx_conf_t) {}

    pub unsafe fn arrange(_us: *const ngx_http_upstream_srv_conf_t, _conf: &mut Sticky) {}

    pub fn route<'a>(_conf: &Sticky, candidate: &Candidate<'a>) -> Option<&'a [u8]> {
        let peer = candidate.peer;
        // SAFETY: the string lives as long as the peer.
        (peer.route() != 0).then(|| unsafe { crate::nginx::bytes(&peer.sid) })
    }

    pub unsafe fn shown<'a>(_r: *mut ngx_http_request_t) -> Option<Shown<'a>> {
        None
    }
}

pub use own::*;

/// Whether nginx resolves a server's name while it runs.
pub fn is_resolved_later(server: &ngx_http_upstream_server_t) -> bool {
    #[cfg(nginx_peer_refs)]
    {
        !server.host.is_empty()
    }
    #[cfg(not(nginx_peer_refs))]
    {
        let _ = server;
        false
    }
}

/// Status and bound server of a request.
pub type Shown<'a> = (Status, Option<&'a [u8]>);

/// Whether the peers are those that the request's bits of tried peers were made for.
///
/// # Safety
/// `group` is locked.
pub unsafe fn is_same_list(
    rrp: &ngx_http_upstream_rr_peer_data_t,
    group: *const ngx_http_upstream_rr_peers_t,
) -> bool {
    #[cfg(nginx_peer_refs)]
    // SAFETY: the generation, where there is one, lies in the zone.
    unsafe {
        (*group).config.is_null() || rrp.config == *(*group).config
    }
    #[cfg(not(nginx_peer_refs))]
    {
        let _ = (rrp, group);
        true
    }
}

/// A number that changes with the peers of an upstream.
///
/// # Safety
/// `first` is the first group of a live upstream.
pub unsafe fn generation(first: *const ngx_http_upstream_rr_peers_t) -> usize {
    #[cfg(nginx_peer_refs)]
    // SAFETY: by this function's contract; where there is one, it lies in the upstream's zone.
    unsafe {
        (*first).config.as_ref().map_or(0, |generation| *generation as usize)
    }
    #[cfg(not(nginx_peer_refs))]
    {
        let _ = first;
        0
    }
}

/// The name that nginx resolves a peer from while it runs: the same for all addresses of it. Null for
/// an address of the configuration.
pub fn host(peer: &ngx_http_upstream_rr_peer_t) -> *const c_void {
    #[cfg(nginx_peer_refs)]
    {
        peer.host.cast_const().cast()
    }
    #[cfg(not(nginx_peer_refs))]
    {
        let _ = peer;
        core::ptr::null()
    }
}

/// Calls `f` with each name that nginx resolves for an upstream while it runs.
///
/// # Safety
/// `first` is the first group of a live upstream.
pub unsafe fn each_host(
    first: *const ngx_http_upstream_rr_peers_t,
    mut f: impl FnMut(*const c_void),
) {
    #[cfg(nginx_peer_refs)]
    // SAFETY: by this function's contract; the names are made with the zone, and stay as long.
    unsafe {
        let mut group = first;
        while let Some(peers) = group.as_ref() {
            let mut template = peers.resolve.cast_const();
            while let Some(name) = template.as_ref() {
                f(host(name));
                template = name.next;
            }
            group = peers.next;
        }
    }
    #[cfg(not(nginx_peer_refs))]
    {
        let _ = (first, &mut f);
    }
}

/// Notes that a request holds no peer of its upstream, but a server all the same.
pub fn hold_other(pc: &mut ngx_peer_connection_t) {
    #[cfg(nginx_own_sticky)]
    {
        pc.sid = core::ptr::null_mut();
    }
    let _ = pc;
}

/// Notes that a request holds a peer, beside what is the same in all versions.
pub fn hold(pc: &mut ngx_peer_connection_t, peer: &mut ngx_http_upstream_rr_peer_t) {
    #[cfg(nginx_peer_refs)]
    {
        peer.refs += 1;
    }
    #[cfg(nginx_own_sticky)]
    {
        pc.sid = &mut peer.sid;
    }
    let _ = (pc, peer);
}
