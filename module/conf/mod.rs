//! The module's configuration: what its directives are read into.

pub mod cookie;
pub mod fleet;
pub mod foreign;
pub mod header;
pub mod judge;
pub mod location;
#[cfg(not(nginx_own_sticky))]
pub mod method;
pub mod revive;
pub mod source;
pub mod sticky_learn;
pub mod value;
pub mod words;

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::{ptr, slice};

use affinity::policy::{Policy, Rules};
use affinity::table::Limits;
use nginx_sys::{
    ngx_conf_t, ngx_http_upstream_conf_t, ngx_http_upstream_init_peer_pt,
    ngx_http_upstream_init_pt, ngx_int_t, ngx_str_t,
};

use crate::conf::fleet::Fleet;
use crate::conf::judge::Judge;
use crate::conf::revive::Revive;
use crate::conf::source::Source;
use crate::conf::value::Value;
use crate::nginx;
use crate::nginx::conf::{Conf, Word};
use crate::nginx::cycle::Cycle;
use crate::nginx::request::Request;
use crate::nginx::upstream::Block;
use crate::peers::addresses::Addresses;
#[cfg(not(nginx_own_sticky))]
use crate::peers::ids::Ids;
use crate::peers::list::{self, List};
use crate::peers::version::is_resolved_later;
use crate::zone::Zone;

/// The configuration of `http {}`.
#[derive(Default)]
pub struct MainConf {
    /// The zones of all upstreams with sessions.
    pub zones: Vec<&'static Zone>,
    /// The filters that the upstreams need.
    pub filters: Filters,
    /// Whether sessions are prefetched: an upstream may find the id in a request's headers.
    pub prefetches: bool,
    /// Whether any upstream has a source of answers.
    pub asks: bool,
    /// Whether any upstream wants warnings about the locations that lead to it.
    pub warns: bool,
    /// Those locations, until they are looked at.
    pub noted: Vec<Passing>,
    /// The stores that sessions are shared by, in the order of their numbers.
    pub fleets: Vec<Fleet>,
}

/// A directive of a location that names an upstream, such as `proxy_pass http://NAME`.
#[derive(Clone, Copy)]
pub struct Passing {
    /// The name of the location.
    pub location: ngx_str_t,
    /// What the names of its module's directives begin with.
    pub directives: &'static str,
    /// What the module makes for the location, or its first part. It lives as long as the configuration.
    pub conf: *const ngx_http_upstream_conf_t,
    pub upstream: Block<'static>,
}

/// In which of nginx's filter chains the module is.
#[derive(Clone, Copy, Default)]
pub struct Filters {
    pub header: bool,
    pub body: bool,
    /// The filter of request bodies.
    pub request_body: bool,
    /// The filters that hold answers, and those of answers in revived sessions.
    pub hold: bool,
}

/// The configuration of one `upstream {}`. (nginx makes an empty one for each `server {}`, too.)
#[derive(Default)]
pub struct UpstreamConf {
    /// What our directive in this upstream has asked for.
    pub asked: Asked,
    /// The ids of the servers in cookies and routes.
    #[cfg(not(nginx_own_sticky))]
    pub ids: Ids,
    pub balancer: Balancer,
    /// The `init_upstream` that a `keepalive` directive has put over our hook.
    pub wrapped: Cell<ngx_http_upstream_init_pt>,
    /// The servers of an upstream with sessions. Each worker has its own copy.
    pub addresses: RefCell<Addresses>,
    /// Whether the balancer chooses the servers itself: sessions have no effect, except for
    /// `balancer_by_lua`.
    pub foreign: Cell<bool>,
    /// The directive of a foreign balancer.
    pub foreign_directive: Option<ForeignDirective>,
}

/// What an upstream keeps its clients at their servers by. It has one directive of ours at most.
#[derive(Default)]
pub enum Asked {
    #[default]
    Nothing,
    /// Sessions, with the name of the directive: `sticky_learn`, or `sticky` for `sticky learn`.
    Sessions(&'static str, Affinity),
    /// `sticky cookie` or `sticky route`.
    #[cfg(not(nginx_own_sticky))]
    Method(method::StickyMethod),
}

/// A directive that installs a foreign balancer, with its place in the configuration.
pub struct ForeignDirective {
    pub name: Word,
    pub file: Word,
    pub line: usize,
}

/// The hooks beneath ours.
#[derive(Default)]
pub struct Balancer {
    /// The `init_upstream` beneath our hook in `keepalive`.
    pub init_upstream: Cell<ngx_http_upstream_init_pt>,
    /// The `init_upstream` beneath our outermost hook, where there is one.
    pub outermost: Cell<ngx_http_upstream_init_pt>,
    /// The `peer.init` beneath ours; set when ours is installed.
    pub init_peer: Cell<ngx_http_upstream_init_peer_pt>,
    /// Whether the balancer's servers are in nginx's list of peers.
    keeps_list: Cell<bool>,
}

impl Balancer {
    /// Stores and returns whether the balancer keeps nginx's list of peers, as all stock ones do.
    ///
    /// # Safety
    /// The upstream's balancer has been initialised, and its data, if any, are no smaller than a list of
    /// peers.
    pub unsafe fn detect_list(&self, block: Block<'_>) -> bool {
        // SAFETY: the balancer has been initialised, and its data are large enough.
        self.keeps_list.set(unsafe { list::is_kept_by(block) });
        self.keeps_list.get()
    }

    /// The list of peers of `block`, whose balancer this is; `None` if it keeps no such list.
    pub fn list<'c>(&self, block: Block<'c>) -> Option<List<'c>> {
        // SAFETY: `keeps_list` says that the initialised balancer keeps a list of peers.
        self.keeps_list.get().then(|| unsafe { List::of(block) })?
    }
}

/// The parameters of `sticky_learn` or `sticky learn`.
pub struct Affinity {
    /// The zone of the sessions; it lives as long as the configuration.
    pub zone: &'static Zone,
    pub create: Vec<Value>,
    pub lookup: Lookup,
    pub bind: Option<Value>,
    pub limits: Limits,
    pub policy: Policy,
    /// The index of the last handler of PRECONTENT in nginx's phase engine; set in each worker.
    pub last_handler: Cell<ngx_int_t>,
    /// Who is asked for an id that the zone does not have.
    pub source: Option<Box<dyn Source>>,
    /// Whether to warn of settings that are wrong for MCP. A worker that has warned of the requests' version
    /// of HTTP does not do so again.
    pub warns: Cell<bool>,
    /// Who decides what becomes of an answer before it is sent.
    pub judge: Option<Box<dyn Judge>>,
    /// `gone=revive`.
    pub revive: Option<Revive>,
    /// The `sticky_share` that the sessions are shared by: its name.
    pub share: Option<Word>,
}

/// No index in the phase engine.
pub const NO_HANDLER: ngx_int_t = -1;

/// The configuration of one `location {}`.
#[derive(Default)]
pub struct LocationConf {
    pub api: Option<Api>,
    /// The upstream of the location's last request to an upstream with sessions. Each worker has its own.
    pub last: Cell<Option<&'static Affinity>>,
    /// The upstream that the location leads to, if its directive names it; only if any upstream has a source of
    /// answers.
    pub upstream: Cell<Option<Block<'static>>>,
}

/// The parameters of `sticky_api`.
#[derive(Clone, Copy)]
pub struct Api {
    /// Whether requests may change servers and sessions.
    pub write: bool,
}

/// Where the id of a request is.
pub enum Lookup {
    /// In the first of these that is not empty.
    Values(Vec<Value>),
    /// Where MCP has it.
    Mcp,
}

impl MainConf {
    /// The main configuration that is read.
    pub fn of<'c>(cf: &'c mut Conf<'_>) -> Option<&'c mut MainConf> {
        // SAFETY: `create_main` makes this type, and `cf` stays borrowed.
        unsafe { cf.own_main_conf() }
    }

    pub fn of_cycle<'c>(cycle: Cycle<'c>) -> Option<&'c MainConf> {
        // SAFETY: `create_main` makes this type.
        unsafe { cycle.own_main_conf() }
    }

    pub fn of_request<'r>(r: Request<'r>) -> Option<&'r MainConf> {
        // SAFETY: `create_main` makes this type.
        unsafe { r.own_main_conf() }
    }
}

impl LocationConf {
    #[inline(always)]
    pub fn of<'r>(r: Request<'r>) -> Option<&'r LocationConf> {
        // SAFETY: `create_location` makes this type.
        unsafe { r.own_loc_conf() }
    }
}

impl UpstreamConf {
    /// The sessions that the upstream has.
    #[inline(always)]
    pub fn affinity(&self) -> Option<&Affinity> {
        match &self.asked {
            Asked::Sessions(_, affinity) => Some(affinity),
            _ => None,
        }
    }

    /// `sticky cookie` or `sticky route`.
    #[cfg(not(nginx_own_sticky))]
    pub fn method(&self) -> Option<&method::StickyMethod> {
        match &self.asked {
            Asked::Method(method) => Some(method),
            _ => None,
        }
    }

    /// The cookie that names the chosen server to the client.
    #[cfg(not(nginx_own_sticky))]
    pub fn cookie(&self) -> Option<&method::Cookie> {
        self.method()?.cookie.as_ref()
    }

    /// Whether `balancer_by_lua` chooses the servers, and the sessions are for it and for us. NGINX Plus's
    /// rules are not for that.
    pub fn is_by_lua(&self) -> bool {
        self.foreign_directive.is_some()
            && self.affinity().is_some_and(|it| it.policy.rules == Rules::Affinity)
    }

    /// The name of our directive in this upstream.
    pub fn directive(&self) -> Option<&'static str> {
        match &self.asked {
            Asked::Nothing => None,
            Asked::Sessions(name, _) => Some(name),
            #[cfg(not(nginx_own_sticky))]
            Asked::Method(_) => Some("sticky"),
        }
    }

    #[inline(always)]
    pub fn of<'c>(block: Block<'c>) -> Option<&'c UpstreamConf> {
        // SAFETY: `create_upstream` makes this type. Mutable references exist only in the handlers of
        // directives and from `of_mut`, and no call of `of` overlaps those.
        unsafe { block.own_conf() }
    }

    /// # Safety
    /// 1. nginx reads the configuration, or has just read it: it has no request yet.
    /// 2. No other reference to this upstream's configuration is used while the result lives.
    pub unsafe fn of_mut<'c>(block: Block<'c>) -> Option<&'c mut UpstreamConf> {
        // SAFETY: `create_upstream` made it in memory that may be written; the result is the only reference
        // in use (1, 2).
        unsafe { block.own_conf_ptr().cast::<UpstreamConf>().as_mut() }
    }
}

/// The zones of a cycle.
pub fn zones<'c>(cycle: Cycle<'c>) -> &'c [&'c Zone] {
    MainConf::of_cycle(cycle).map_or(&[][..], |main| &main.zones)
}

/// The upstreams of a request's configuration that have sessions.
pub fn upstreams<'r>(r: Request<'r>) -> impl Iterator<Item = (Block<'r>, &'r Affinity)> {
    r.upstreams().filter_map(|block| Some((block, UpstreamConf::of(block)?.affinity()?)))
}

/// The addresses of the servers of a zone's upstreams, each once, without those that nginx resolves later.
pub fn servers<'c>(cf: &mut Conf<'c>, zone: &Zone) -> Vec<&'c [u8]> {
    let mut addresses = Vec::new();
    for block in cf.upstreams() {
        let affinity = UpstreamConf::of(block).and_then(UpstreamConf::affinity);
        if !affinity.is_some_and(|affinity| ptr::eq(affinity.zone, zone)) {
            continue;
        }
        for server in block.servers() {
            if server.naddrs > 0 && !is_resolved_later(server) {
                // SAFETY: nginx has resolved `naddrs` addresses, which live as long as the configuration.
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
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    create::<MainConf>(&unsafe { Conf::new(cf) })
}

pub unsafe extern "C" fn create_upstream(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    create::<UpstreamConf>(&unsafe { Conf::new(cf) })
}

pub unsafe extern "C" fn create_location(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    create::<LocationConf>(&unsafe { Conf::new(cf) })
}

fn create<T: Default + 'static>(cf: &Conf<'_>) -> *mut c_void {
    match cf.pool().make(T::default) {
        Some(conf) => ptr::from_mut::<T>(conf).cast(),
        None => ptr::null_mut(),
    }
}
