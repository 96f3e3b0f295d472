//! What the configuration has made of the directives.

pub mod cookie;
pub mod foreign;
pub mod header;
pub mod method;
pub mod sticky_learn;
pub mod value;
pub mod words;

use crate::nginx::pool;
use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::ptr;
use core::slice;

use affinity::policy::Policy;
use affinity::table::Limits;
use nginx_sys::{
    ngx_conf_t, ngx_cycle_t, ngx_http_request_t, ngx_http_upstream_init_peer_pt,
    ngx_http_upstream_init_pt, ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_int_t,
};

use crate::conf::value::Value;
use crate::nginx;
use crate::peers::addresses::Addresses;
use crate::peers::version::is_resolved_later;
use crate::zone::Zone;

/// Of the whole `http {}`.
#[derive(Default)]
pub struct MainConf {
    /// The zones that the upstreams keep their sessions in.
    pub zones: Vec<*mut Zone>,
    /// What the upstreams need.
    pub filters: Filters,
    /// The headers of a request may tell where it belongs.
    pub expects: bool,
}

/// Which of nginx's chains we stand in.
#[derive(Default)]
pub struct Filters {
    pub header: bool,
    pub body: bool,
}

/// Of one `upstream {}` (nginx makes one for each `server {}`, too, where it stays empty).
#[derive(Default)]
pub struct UpstreamConf {
    /// Which directive has asked for sessions.
    pub directive: Option<&'static str>,
    pub affinity: Option<Affinity>,
    /// What stands in place of nginx's own `sticky`.
    pub sticky: method::Sticky,
    pub balancer: Balancer,
    /// What a `keepalive` directive has put over our hook.
    pub wrapped: ngx_http_upstream_init_pt,
    /// The servers, where there are sessions. Each worker has its own copy.
    pub addresses: RefCell<Addresses>,
    /// The balancer cannot be told which server to take: sessions have no effect.
    pub foreign: bool,
    /// The directive that says so.
    pub foreign_directive: Option<foreign::Directive>,
}

/// What lies beneath our hooks.
#[derive(Default)]
pub struct Balancer {
    /// Beneath `keepalive`, if there is one.
    pub init_upstream: ngx_http_upstream_init_pt,
    /// All that wraps it, if anything but `keepalive` does.
    pub outermost: ngx_http_upstream_init_pt,
    /// Set when one of the hooks has done its work.
    pub init_peer: ngx_http_upstream_init_peer_pt,
    /// Its servers are nginx's list of peers, as those of all stock balancers.
    pub keeps_round_robins_list: bool,
}

/// What `sticky_learn` or `sticky learn` asked for.
pub struct Affinity {
    pub zone: *mut Zone,
    pub create: Vec<Value>,
    pub lookup: Lookup,
    pub bind: Option<Value>,
    pub limits: Limits,
    pub policy: Policy,
    /// Place of the last handler of PRECONTENT in nginx's phase engine; set in each worker.
    pub last_handler: Cell<ngx_int_t>,
}

/// No place in the phase engine.
pub const NO_HANDLER: ngx_int_t = -1;

/// Of one `location {}`.
#[derive(Default)]
pub struct LocationConf {
    pub api: Option<Api>,
    /// Of the last request here that went to an upstream with sessions; each worker has its own.
    pub expected: Cell<Option<&'static Affinity>>,
}

/// What `sticky_api` asked for.
#[derive(Clone, Copy)]
pub struct Api {
    /// Requests may change what is shown.
    pub write: bool,
}

/// Where a request carries its id.
pub enum Lookup {
    /// In the first of these that is not empty.
    Values(Vec<Value>),
    /// Where MCP puts it.
    Mcp,
}

impl MainConf {
    /// # Safety
    /// `cf` is being read.
    pub unsafe fn of<'a>(cf: &ngx_conf_t) -> Option<&'a mut MainConf> {
        // SAFETY: `create_main` made what stands in our place.
        unsafe { nginx::conf::own_main_conf(cf) }
    }

    /// # Safety
    /// `cycle` is live.
    pub unsafe fn of_cycle<'a>(cycle: *const ngx_cycle_t) -> Option<&'a MainConf> {
        // SAFETY: as above.
        unsafe { nginx::conf::own_cycle_main_conf(cycle) }
    }

    /// # Safety
    /// `r` is a live request.
    pub unsafe fn of_request<'a>(r: *const ngx_http_request_t) -> Option<&'a MainConf> {
        // SAFETY: as above.
        unsafe { nginx::conf::own_request_main_conf(r) }
    }
}

impl LocationConf {
    /// # Safety
    /// `r` is a live request.
    pub unsafe fn of<'a>(r: *const ngx_http_request_t) -> Option<&'a LocationConf> {
        // SAFETY: `create_location` made what stands in our place.
        unsafe { nginx::conf::own_request_loc_conf(r) }
    }
}

impl UpstreamConf {
    /// # Safety
    /// `us` belongs to a live configuration.
    pub unsafe fn of<'a>(us: *const ngx_http_upstream_srv_conf_t) -> Option<&'a mut UpstreamConf> {
        // SAFETY: `create_upstream` made what stands in our place.
        unsafe { nginx::conf::upstream_conf(us) }
    }
}

/// The zones of a cycle.
///
/// # Safety
/// The cycle is live.
pub unsafe fn zones<'a>(cycle: *const ngx_cycle_t) -> &'a [*mut Zone] {
    // SAFETY: by this function's contract.
    unsafe { MainConf::of_cycle(cycle) }.map_or(&[][..], |main| &main.zones)
}

/// Calls `f` with what the upstreams of a cycle have asked for.
///
/// # Safety
/// `cycle` is live, and nothing else uses it meanwhile.
pub unsafe fn each_affinity(cycle: *const ngx_cycle_t, f: impl FnMut(&mut Affinity)) {
    // SAFETY: by this function's contract.
    unsafe {
        let all = nginx::conf::upstreams(nginx::conf::cycle_main_conf(
            cycle,
            nginx::conf::upstream_module(),
        ));
        all.iter().filter_map(|&us| UpstreamConf::of(us)?.affinity.as_mut()).for_each(f);
    }
}

/// The upstreams of a request's configuration that have sessions.
///
/// # Safety
/// `r` is a live request.
pub unsafe fn upstreams<'a>(
    r: *const ngx_http_request_t,
) -> impl Iterator<Item = (*const ngx_http_upstream_srv_conf_t, &'a Affinity)> {
    // SAFETY: by this function's contract.
    unsafe {
        let all = nginx::conf::upstreams(nginx::conf::request_main_conf(
            r,
            nginx::conf::upstream_module(),
        ));
        all.iter()
            .filter_map(|&us| Some((us.cast_const(), UpstreamConf::of(us)?.affinity.as_ref()?)))
    }
}

/// Addresses of the servers of a zone's upstreams, each once. Those that DNS gives later are not
/// known yet.
///
/// # Safety
/// `cf` has read all of `http {}`, and the zone belongs to it.
pub unsafe fn servers<'a>(cf: &ngx_conf_t, zone: *const Zone) -> Vec<&'a [u8]> {
    let mut addresses = Vec::new();
    // SAFETY: by this function's contract; what the configuration holds lives as long as it does.
    unsafe {
        for &us in
            nginx::conf::upstreams(nginx::conf::main_conf(cf, nginx::conf::upstream_module()))
        {
            let affinity = UpstreamConf::of(us).and_then(|conf| conf.affinity.as_ref());
            let Some(servers) = (*us).servers.as_ref() else { continue };
            if !affinity.is_some_and(|affinity| ptr::eq(affinity.zone, zone)) {
                continue;
            }
            for server in servers.as_slice::<ngx_http_upstream_server_t>() {
                if server.naddrs > 0 && !is_resolved_later(server) {
                    let peers = slice::from_raw_parts(server.addrs, server.naddrs);
                    addresses.extend(peers.iter().map(|peer| nginx::bytes(&peer.name)));
                }
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

pub unsafe extern "C" fn create_main(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes a configuration with a pool that lives as long as the cycle.
    unsafe { create::<MainConf>(cf) }
}

pub unsafe extern "C" fn create_upstream(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: as above.
    unsafe { create::<UpstreamConf>(cf) }
}

pub unsafe extern "C" fn create_location(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: as above.
    unsafe { create::<LocationConf>(cf) }
}

unsafe fn create<T: Default>(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: by the callers.
    match unsafe { pool::pool_box((*cf).pool, T::default) } {
        Some(conf) => ptr::from_mut(conf).cast(),
        None => ptr::null_mut(),
    }
}
