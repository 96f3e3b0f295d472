//! In place of `sticky` where nginx has its own (from 1.29.6 on): nothing of ours is compiled.

use affinity::policy::Status;
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_init_peer_pt,
    ngx_http_upstream_srv_conf_t,
};

use crate::conf::method::Sticky;

pub const COMMANDS_LEN: usize = 0;

pub const fn add_commands<const N: usize>(
    commands: [ngx_command_t; N],
    _at: usize,
) -> [ngx_command_t; N] {
    commands
}

pub fn init_peer_of(_conf: &Sticky) -> ngx_http_upstream_init_peer_pt {
    None
}

pub unsafe fn install_filter(_cf: &ngx_conf_t) {}

pub unsafe fn arrange(_us: *const ngx_http_upstream_srv_conf_t, _conf: &mut Sticky) {}

/// Status and bound server of a request.
pub type Shown<'a> = (Status, Option<&'a [u8]>);

pub unsafe fn shown<'a>(_r: *mut ngx_http_request_t) -> Option<Shown<'a>> {
    None
}
