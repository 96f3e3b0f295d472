//! All that differs by nginx's version.
//!
//! - Before 1.29.6 nginx has no `sticky`: the directive is ours. From then on it is nginx's own.
//! - From 1.27.3 on, open-source peers are counted and re-resolved.

use nginx_sys::{
    ngx_command_t, ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peer_t,
    ngx_http_upstream_rr_peers_t, ngx_peer_connection_t,
};

/// How many directives of ours depend on the version.
pub const COMMANDS_LEN: usize = if cfg!(nginx_own_sticky) { 0 } else { 1 };

/// Adds them to the others, from place `at` on.
pub const fn add_commands<const N: usize>(
    commands: [ngx_command_t; N],
    at: usize,
) -> [ngx_command_t; N] {
    #[cfg(not(nginx_own_sticky))]
    {
        use crate::directives::{command, sticky};
        let mut commands = commands;
        commands[at] = command(c"sticky", nginx_sys::NGX_CONF_1MORE, sticky);
        commands
    }
    #[cfg(nginx_own_sticky)]
    {
        let _ = at;
        commands
    }
}

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
