//! Differences between nginx's versions in the lists of peers. From 1.27.3 on, peers of open-source nginx are
//! reference-counted and re-resolved; from 1.29.6 on they have ids.

use core::ffi::c_void;

use nginx_sys::{
    ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_server_t, ngx_peer_connection_t,
};

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

/// Whether the request's bits of tried peers were made for the group's present list.
///
/// # Safety
/// `group` is a live group, and locked.
pub unsafe fn is_same_list(
    rrp: &ngx_http_upstream_rr_peer_data_t,
    group: *const ngx_http_upstream_rr_peers_t,
) -> bool {
    #[cfg(nginx_peer_refs)]
    // SAFETY: `config` is null or points to the generation in the upstream's zone.
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
    // SAFETY: `config` is null or points to the generation in the upstream's zone.
    unsafe {
        (*first).config.as_ref().map_or(0, |generation| *generation)
    }
    #[cfg(not(nginx_peer_refs))]
    {
        let _ = first;
        0
    }
}

/// The name that nginx has resolved a peer from while it runs, the same pointer for all its addresses. Null
/// for an address of the configuration.
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
    // SAFETY: `first` is a live group. The names are allocated with the upstream's zone and live as long.
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

/// Sets the version's fields of a peer connection to a server that is not among the peers.
pub fn hold_other(pc: &mut ngx_peer_connection_t) {
    #[cfg(nginx_own_sticky)]
    {
        pc.sid = core::ptr::null_mut();
    }
    let _ = pc;
}

/// Sets the version's fields when a request takes a peer.
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

/// The number of the name that nginx has resolved a peer from while it runs, in the order of the
/// configuration with backup servers last; `None` for a peer of the configuration.
///
/// # Safety
/// The peer's group is locked; `first` is the first group of its upstream.
#[cfg(not(nginx_own_sticky))]
pub unsafe fn resolved_name(
    first: &ngx_http_upstream_rr_peers_t,
    peer: &ngx_http_upstream_rr_peer_t,
) -> Option<usize> {
    #[cfg(nginx_peer_refs)]
    // SAFETY: the names are allocated with the upstream's zone and live as long.
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
