//! What the configuration has made of the directives.

pub mod cookie;
pub mod foreign;
pub mod header;
pub mod method;
pub mod sticky_learn;
pub mod value;
pub mod words;

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::{ptr, slice};

use affinity::policy::Policy;
use affinity::table::Limits;
use nginx_sys::{ngx_conf_t, ngx_http_upstream_init_peer_pt, ngx_http_upstream_init_pt, ngx_int_t};

use crate::conf::value::Value;
use crate::nginx;
use crate::nginx::conf::{Conf, Word};
use crate::nginx::cycle::Cycle;
use crate::nginx::request::Request;
use crate::nginx::upstream::Block;
use crate::peers::addresses::Addresses;
use crate::peers::list::{self, List};
use crate::peers::version::is_resolved_later;
use crate::zone::Zone;

/// Of the whole `http {}`.
#[derive(Default)]
pub struct MainConf {
    /// The zones that the upstreams keep their sessions in.
    pub zones: Vec<&'static Zone>,
    /// What the upstreams need.
    pub filters: Filters,
    /// The headers of a request may hold its id: sessions are prefetched.
    pub prefetches: bool,
}

/// Which of nginx's chains of filters we stand in.
#[derive(Clone, Copy, Default)]
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
    pub wrapped: Cell<ngx_http_upstream_init_pt>,
    /// The servers, where there are sessions. Each worker has its own copy.
    pub addresses: RefCell<Addresses>,
    /// The balancer cannot be told which server to take: sessions have no effect.
    pub foreign: Cell<bool>,
    /// The directive that says so.
    pub foreign_directive: Option<ForeignDirective>,
}

/// A directive that gives an upstream a balancer which chooses its servers itself, and where it stands.
pub struct ForeignDirective {
    pub name: Word,
    pub file: Word,
    pub line: usize,
}

/// What lies beneath our hooks.
#[derive(Default)]
pub struct Balancer {
    /// Beneath `keepalive`, if there is one.
    pub init_upstream: Cell<ngx_http_upstream_init_pt>,
    /// All that wraps it, if anything but `keepalive` does.
    pub outermost: Cell<ngx_http_upstream_init_pt>,
    /// Set when one of the hooks has done its work.
    pub init_peer: Cell<ngx_http_upstream_init_peer_pt>,
    /// Its servers are nginx's list of peers.
    keeps_list: Cell<bool>,
}

impl Balancer {
    /// Notes whether the balancer, which has just been initialised, keeps nginx's list of peers, as all stock
    /// ones do.
    ///
    /// # Safety
    /// As for [`list::is_kept_by`].
    pub unsafe fn look_for_list(&self, block: Block<'_>) -> bool {
        // SAFETY: by this function's own condition.
        self.keeps_list.set(unsafe { list::is_kept_by(block) });
        self.keeps_list.get()
    }

    /// The list of the upstream that this is the balancer of, if it keeps one.
    pub fn list<'c>(&self, block: Block<'c>) -> Option<List<'c>> {
        // SAFETY: `look_for_list` has seen it.
        self.keeps_list.get().then(|| unsafe { List::of(block) })?
    }
}

/// What `sticky_learn` or `sticky learn` asked for.
pub struct Affinity {
    /// It lives as long as the configuration.
    pub zone: &'static Zone,
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
    pub last: Cell<Option<&'static Affinity>>,
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
    /// The one that is read.
    pub fn of<'c>(cf: &'c mut Conf<'_>) -> Option<&'c mut MainConf> {
        // SAFETY: `create_main` made what stands in our place, and `Conf` is borrowed meanwhile.
        unsafe { cf.own_main_conf() }
    }

    pub fn of_cycle<'c>(cycle: Cycle<'c>) -> Option<&'c MainConf> {
        // SAFETY: `create_main` made what stands in our place.
        unsafe { cycle.own_main_conf() }
    }

    pub fn of_request<'r>(r: Request<'r>) -> Option<&'r MainConf> {
        // SAFETY: `create_main` made what stands in our place.
        unsafe { r.own_main_conf() }
    }
}

impl LocationConf {
    #[inline(always)]
    pub fn of<'r>(r: Request<'r>) -> Option<&'r LocationConf> {
        // SAFETY: `create_location` made what stands in our place.
        unsafe { r.own_loc_conf() }
    }
}

impl UpstreamConf {
    #[inline(always)]
    pub fn of<'c>(block: Block<'c>) -> Option<&'c UpstreamConf> {
        // SAFETY: `create_upstream` made what stands in our place. It is changed by the handlers of
        // directives and by `of_mut`, which no other use of it overlaps.
        unsafe { block.own_conf() }
    }

    /// # Safety
    /// nginx reads its configuration, or has just done so: there is no request of it, and no other reference
    /// to this one while the result lives.
    pub unsafe fn of_mut<'c>(block: Block<'c>) -> Option<&'c mut UpstreamConf> {
        // SAFETY: `create_upstream` made what stands in our place; by this function's own condition.
        unsafe { block.own_conf_ptr().cast::<UpstreamConf>().as_mut() }
    }
}

/// The zones of a cycle.
pub fn zones<'c>(cycle: Cycle<'c>) -> &'c [&'static Zone] {
    MainConf::of_cycle(cycle).map_or(&[][..], |main| &main.zones)
}

/// The upstreams of a request's configuration that have sessions.
pub fn upstreams<'r>(r: Request<'r>) -> impl Iterator<Item = (Block<'r>, &'r Affinity)> {
    r.upstreams().filter_map(|block| Some((block, UpstreamConf::of(block)?.affinity.as_ref()?)))
}

/// Addresses of the servers of a zone's upstreams, each once. Those that DNS gives later are not
/// known yet.
pub fn servers<'c>(cf: &mut Conf<'c>, zone: &Zone) -> Vec<&'c [u8]> {
    let mut addresses = Vec::new();
    for block in cf.upstreams() {
        let affinity = UpstreamConf::of(block).and_then(|conf| conf.affinity.as_ref());
        if !affinity.is_some_and(|affinity| ptr::eq(affinity.zone, zone)) {
            continue;
        }
        for server in block.servers() {
            if server.naddrs > 0 && !is_resolved_later(server) {
                // SAFETY: nginx has resolved so many addresses, and keeps them with the configuration.
                unsafe {
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
    // SAFETY: nginx passes a configuration that it begins to read, for this call.
    create::<MainConf>(&unsafe { Conf::new(cf) })
}

pub unsafe extern "C" fn create_upstream(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes a configuration that it reads, for this call.
    create::<UpstreamConf>(&unsafe { Conf::new(cf) })
}

pub unsafe extern "C" fn create_location(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes a configuration that it reads, for this call.
    create::<LocationConf>(&unsafe { Conf::new(cf) })
}

fn create<T: Default + 'static>(cf: &Conf<'_>) -> *mut c_void {
    match cf.pool().make(T::default) {
        Some(conf) => ptr::from_mut::<T>(conf).cast(),
        None => ptr::null_mut(),
    }
}
