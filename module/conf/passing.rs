//! Which upstream a location passes its requests to, where that is known before the content phase.
//!
//! The modules `proxy`, `fastcgi`, `uwsgi`, `scgi` and `grpc` begin their configuration of a location with an
//! `ngx_http_upstream_conf_t`. Its `upstream` is null where the name has variables.

use core::cell::Cell;
use core::ffi::CStr;

use nginx_sys::{ngx_http_upstream_conf_t, ngx_uint_t};

use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::request::Request;
use crate::nginx::upstream::Block;

const MODULES: [&CStr; 5] = [
    c"ngx_http_proxy_module",
    c"ngx_http_fastcgi_module",
    c"ngx_http_uwsgi_module",
    c"ngx_http_scgi_module",
    c"ngx_http_grpc_module",
];

/// The places of the modules among nginx's http modules; `None` for one that this nginx does not have.
static PLACES: PerWorker<[Cell<Option<ngx_uint_t>>; MODULES.len()]> =
    PerWorker::new([const { Cell::new(None) }; MODULES.len()]);

/// Finds the modules. To be called when a worker starts.
pub fn begin_worker(cycle: Cycle<'_>) {
    for (place, name) in PLACES.iter().zip(MODULES) {
        place.set(cycle.http_module(name));
    }
}

/// The upstream that the request's location passes requests to. `None` if its name has variables, or if
/// something else answers.
///
/// nginx does not tell which module the location's content handler belongs to. So `None` also if several of
/// the modules have an upstream here. If a handler of another module replaces that of the one (`proxy_pass`
/// and then `empty_gif` in a location), the result is the upstream, which gets no request.
pub fn upstream(r: Request<'_>) -> Option<Block<'_>> {
    if !r.has_content_handler() {
        return None;
    }
    let mut passing = PLACES.iter().filter_map(|place| {
        // SAFETY: the configuration of this module begins with an `ngx_http_upstream_conf_t`.
        let conf = unsafe { r.loc_conf_at::<ngx_http_upstream_conf_t>(place.get()?)? };
        // SAFETY: an upstream of the request's configuration, which outlives its requests.
        (!conf.upstream.is_null()).then(|| unsafe { Block::new(conf.upstream) })
    });
    passing.next().filter(|_| passing.next().is_none())
}
