//! Puts our hooks around the balancer of each upstream with sessions.

use core::ptr;

use nginx_sys::{
    ngx_conf_t, ngx_http_upstream_init_peer_pt, ngx_http_upstream_init_pt,
    ngx_http_upstream_init_round_robin, ngx_http_upstream_srv_conf_t, ngx_int_t,
};

use crate::conf::{foreign, Affinity, Asked, Lookup, UpstreamConf};
use crate::nginx::conf::Conf;
use crate::nginx::cycle::Cycle;
use crate::nginx::upstream::Block;
use crate::nginx::{ERROR, OK};
use crate::request::{by_lua, route};
use crate::sticky;

/// Installs our hook in each upstream where `keepalive` has not done so. Runs when all of `http {}` is read,
/// before nginx initialises the upstreams.
pub fn wire(cf: &mut Conf<'_>) {
    for block in cf.upstreams() {
        let Some(conf) = UpstreamConf::of(block) else {
            continue;
        };
        foreign::warn_at_start(cf, block, conf);
        let beneath_keepalive = match (conf.wrapped.get(), block.init_upstream()) {
            (Some(wrapped), Some(outermost)) => ptr::fn_addr_eq(wrapped, outermost),
            _ => false,
        };
        if init_peer_of(conf).is_some() && !beneath_keepalive {
            let outermost = block.replace_init_upstream(Some(init_outermost));
            conf.balancer.outermost.set(outermost);
        }
    }
}

/// Confirms the fast path of all values ([`Value::confirm`]). Runs when nginx has read its whole
/// configuration.
///
/// [`Value::confirm`]: crate::conf::value::Value::confirm
///
/// # Safety
/// The cycle has no request yet, and nothing else uses our configuration of its upstreams.
pub unsafe fn confirm_values(cycle: Cycle<'_>) {
    for block in cycle.upstreams() {
        // SAFETY: the cycle has no request yet; this reference ends with the loop's step.
        let Some(conf) = (unsafe { UpstreamConf::of_mut(block) }) else { continue };
        let Asked::Sessions(_, affinity) = &mut conf.asked else { continue };
        let lookup = match &mut affinity.lookup {
            Lookup::Values(values) => &mut values[..],
            Lookup::Mcp => &mut [],
        };
        let ids = affinity.create.iter_mut().chain(lookup);
        ids.chain(&mut affinity.bind).for_each(|value| value.confirm(cycle));
    }
}

/// Our `peer.init` for an upstream; `None` for one without sessions.
fn init_peer_of(conf: &UpstreamConf) -> ngx_http_upstream_init_peer_pt {
    match conf.asked {
        Asked::Nothing => None,
        Asked::Sessions(..) if conf.is_by_lua() => Some(by_lua::init_peer),
        Asked::Sessions(..) if conf.foreign.get() => Some(route::init_without_session),
        Asked::Sessions(_, Affinity { revive: Some(_), .. }) => Some(route::init_reviving),
        Asked::Sessions(..) => Some(route::init_peer),
        #[cfg(not(nginx_own_sticky))]
        Asked::Method(_) if conf.foreign.get() => None,
        #[cfg(not(nginx_own_sticky))]
        Asked::Method(_) => Some(crate::sticky::choice::init_peer),
    }
}

/// Initialises the balancer that `keepalive` has captured.
pub(super) unsafe extern "C" fn init_upstream(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes the arguments of an `init_upstream` hook on unchanged.
    unsafe { init_beneath(cf, us, |conf| conf.balancer.init_upstream.get(), is_above_lua) }
}

/// Initialises the upstream's balancer, then installs our `peer.init` if it is not installed yet: a
/// directive behind `keepalive` may have wrapped or replaced the balancer, and our hook with it.
unsafe extern "C" fn init_outermost(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes the arguments of an `init_upstream` hook on unchanged.
    unsafe { init_beneath(cf, us, |conf| conf.balancer.outermost.get(), |_| true) }
}

/// Whether the hook in `keepalive` is above that of `balancer_by_lua`, as ours must be. If `keepalive` is read
/// first, Lua's hook captures it, and ours is the outermost.
fn is_above_lua(conf: &UpstreamConf) -> bool {
    !conf.is_by_lua() || conf.balancer.outermost.get().is_none()
}

/// Calls the hook `beneath` ours, then installs our `peer.init`, if `installs` says so.
///
/// # Safety
/// `cf` and `us` are what nginx passes to an `init_upstream` hook: the configuration that it reads, and one
/// of its upstreams.
unsafe fn init_beneath(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
    beneath: fn(&UpstreamConf) -> ngx_http_upstream_init_pt,
    installs: fn(&UpstreamConf) -> bool,
) -> ngx_int_t {
    // SAFETY: `us` is an upstream of the configuration that nginx reads.
    let block = unsafe { Block::new(us) };
    let Some(conf) = UpstreamConf::of(block) else {
        return ERROR;
    };
    let init = beneath(conf).unwrap_or(ngx_http_upstream_init_round_robin);
    // SAFETY: an `init_upstream` hook, called with the arguments of ours.
    let rc = unsafe { init(cf, us) };
    // SAFETY: the balancer has been initialised, and no balancer keeps data smaller than a list of peers.
    let is_list = rc == OK && unsafe { conf.balancer.detect_list(block) };
    let is_missing = init_peer_of(conf).is_some() && conf.balancer.init_peer.get().is_none();
    if rc == OK && is_missing && installs(conf) {
        if is_list {
            // SAFETY: nginx reads its configuration, and `conf` is not used any more.
            unsafe { sticky::arrange(block) };
        } else {
            // SAFETY: `cf` is the configuration that nginx reads.
            foreign::note(unsafe { (*cf).log }, block, conf);
        }
        let Some(conf) = UpstreamConf::of(block) else {
            return ERROR;
        };
        if let Some(ours) = init_peer_of(conf) {
            conf.balancer.init_peer.set(block.replace_init_peer(Some(ours)));
        }
    }
    rc
}
