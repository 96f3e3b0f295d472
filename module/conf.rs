//! What the configuration has made of the directives.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::ptr;

use affinity::policy::Policy;
use affinity::table::Limits;
use nginx_sys::{
    ngx_conf_t, ngx_http_upstream_init_peer_pt, ngx_http_upstream_init_pt,
    ngx_http_upstream_srv_conf_t, ngx_int_t,
};

use crate::addresses::Addresses;
use crate::filters::Filters;
use crate::foreign;
use crate::keepalive;
use crate::nginx;
use crate::upstream;
use crate::values::Value;
use crate::versions;
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

/// Of one `upstream {}` (nginx makes one for each `server {}`, too, where it stays empty).
#[derive(Default)]
pub struct UpstreamConf {
    /// Which directive has asked for sessions.
    pub directive: Option<&'static str>,
    pub affinity: Option<Affinity>,
    /// What stands in place of nginx's own `sticky`.
    pub sticky: versions::Sticky,
    pub balancer: Balancer,
    /// What a `keepalive` directive has put over our hook.
    pub wrapped: keepalive::Wrapped,
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

impl UpstreamConf {
    /// # Safety
    /// `us` belongs to a live configuration.
    pub unsafe fn of<'a>(us: *const ngx_http_upstream_srv_conf_t) -> Option<&'a mut UpstreamConf> {
        // SAFETY: `create_upstream` made what stands in our place.
        unsafe { nginx::upstream_conf(us, &raw const crate::ngx_http_sticky_learn_module) }
    }

    /// What is to begin each request, if a directive has asked for it.
    pub fn init_peer(&self) -> ngx_http_upstream_init_peer_pt {
        match self.affinity {
            Some(_) if self.foreign => Some(upstream::init_without_session),
            Some(_) => Some(upstream::init_peer),
            None if self.foreign => None,
            None => versions::init_peer(&self.sticky),
        }
    }
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
    match unsafe { nginx::pool_box((*cf).pool, T::default) } {
        Some(conf) => ptr::from_mut(conf).cast(),
        None => ptr::null_mut(),
    }
}
