//! Prefetches the session of a request. Runs in PRECONTENT; `peer.init` reads the session.
//!
//! Of a million sessions hardly any is in the processor's cache, and to wait for one costs more than
//! all else that is done for it. Between its last phase before the content and the choice of a server
//! nginx has enough to do: it makes the upstream's request.
//!
//! What was read here is used in `peer.init` only where nothing runs in between that can change the
//! request's headers ([`is_settled`]). Elsewhere it is a hint for the processor's cache alone: id and
//! `bind` are read again. `bind` decides who may use a session.
//!
//! The upstream is not known in PRECONTENT. The guess is the upstream of the location's last request. A wrong
//! guess costs one wasted prefetch.

use core::cell::Cell;
use core::ptr;

use affinity::table::Table;
use nginx_sys::{
    ngx_array_push, ngx_chain_t, ngx_conf_t, ngx_http_core_content_phase,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt, ngx_http_phase_handler_t,
    ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE, ngx_http_request_body_save_filter,
    ngx_http_request_t, ngx_http_top_request_body_filter, ngx_int_t,
};

use super::id::RequestId;
use super::MARK;
use crate::conf::value::{OutOfMemory, Value};
use crate::conf::{Affinity, LocationConf, MainConf, UpstreamConf, NO_HANDLER};
use crate::nginx::conf::Conf;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::request::Request;
use crate::nginx::{self, DECLINED, ERROR, OK};

/// What was read of a request, for an upstream.
///
/// Valid only if
/// 1. the request's context is [`MARK`], and
/// 2. `request` and `affinity` are the caller's.
///
/// nginx clears (1) for a new request and for an internal redirect; (2) fails when another request was read
/// since (a request may have to wait, for its body or for the name of its upstream). `id` is not to be read before
/// both are checked: its pointers may dangle.
struct Last {
    request: Cell<*const ngx_http_request_t>,
    affinity: Cell<*const Affinity>,
    id: Cell<RequestId>,
}

static LAST: PerWorker<Last> = PerWorker::new(Last {
    request: Cell::new(ptr::null()),
    affinity: Cell::new(ptr::null()),
    id: Cell::new(RequestId::NONE),
});

/// Has each request looked at, if any upstream can profit.
///
/// Handlers of a phase run in the reverse order of modules, and nearly all stand behind this one:
/// they run before it.
pub unsafe extern "C" fn install(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes the configuration that it reads, for this call.
    let mut cf = unsafe { Conf::new(cf) };
    if !MainConf::of(&mut cf).is_some_and(|main| main.prefetches) {
        return OK;
    }
    // SAFETY: that is what the core module makes. nginx has made the phases, and fills them again for each
    // configuration.
    unsafe {
        let core = cf.main_conf::<ngx_http_core_main_conf_t>(&raw const ngx_http_core_module);
        let Some(core) = core else { return ERROR };
        let phase = &mut core.phases[ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE as usize];
        match ngx_array_push(&mut phase.handlers).cast::<ngx_http_handler_pt>().as_mut() {
            Some(place) => *place = Some(handler),
            None => return ERROR,
        }
    }
    OK
}

unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request in a location. What is kept of it is looked at as long as it lives.
    let r = unsafe { Request::<'static>::new(r) };
    if let Some(affinity) = LocationConf::of(r).and_then(|location| location.last.get()) {
        prefetch(r, affinity);
    }
    DECLINED
}

#[inline(always)]
fn prefetch(r: Request<'static>, affinity: &Affinity) -> Option<()> {
    let table = &affinity.zone.sessions()?.table;
    // Invalid until it is complete.
    LAST.request.set(ptr::null());
    // SAFETY: nothing that is called from here comes back to this file.
    let id = unsafe { &mut *LAST.id.as_ptr() };
    id.read(r, affinity, table, Value::header_only).ok()?;
    if let Some(key) = id.key {
        table.prefetch(key);
    }
    if is_settled(r, affinity) {
        LAST.request.set(r.raw());
        LAST.affinity.set(affinity);
        r.set_context(&nginx::MODULE, MARK);
    }
    Some(())
}

/// Whether the headers of a request, which is at our handler of PRECONTENT, stay as they are until `peer.init`.
///
/// - This is the last handler of its phase, on this run: ngx_lua moves its handler of
///   `precontent_by_lua` behind all others when it runs first. Which handlers stand behind this one
///   follows from its place, since handlers move within the phase only.
/// - Nothing else holds the request: subrequests (`mirror`) share the elements of its headers, and
///   run while its body is awaited. For a subrequest this is never true.
/// - No filter of request bodies is loaded but nginx's own: see [`begin_worker`].
///
/// What leads a request elsewhere (`error_page`, `ngx.exec`, `X-Accel-Redirect`, `js_content`)
/// empties its contexts, and with them the mark.
#[inline(always)]
fn is_settled(r: Request<'_>, affinity: &Affinity) -> bool {
    r.phase_handler() == affinity.last_handler.get() && r.references() == 1
}

/// Notes for each upstream which handler is the last one of PRECONTENT. None is where a filter of
/// request bodies stands behind nginx's own, which may change headers while it reads a body. It is to be called
/// when a worker starts.
pub fn begin_worker(cycle: Cycle<'_>) {
    let Some(last) = last_handler(cycle) else { return };
    for affinity in cycle.upstreams().filter_map(|it| UpstreamConf::of(it)?.affinity()) {
        affinity.last_handler.set(last);
    }
}

fn last_handler(cycle: Cycle<'_>) -> Option<ngx_int_t> {
    // SAFETY: that is what the core module makes; nginx ends its list of handlers with an empty one.
    unsafe {
        let nginx_alone = ngx_http_top_request_body_filter.is_some_and(|filter| {
            ptr::fn_addr_eq(filter, ngx_http_request_body_save_filter as BodyFilter)
        });
        let core = cycle.main_conf::<ngx_http_core_main_conf_t>(&raw const ngx_http_core_module);
        let mut handler = core.filter(|_| nginx_alone)?.phase_engine.handlers;
        let mut last = NO_HANDLER;
        while let Some(checker) = (*handler).checker {
            if ptr::fn_addr_eq(checker, ngx_http_core_content_phase as Checker) {
                return Some(last);
            }
            last += 1;
            handler = handler.add(1);
        }
    }
    None
}

type BodyFilter = unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_chain_t) -> ngx_int_t;
type Checker =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_http_phase_handler_t) -> ngx_int_t;

/// Whether the id of a request was read for its upstream, and stands in [`last`].
#[inline(always)]
pub fn is_read(r: Request<'_>, affinity: &Affinity) -> bool {
    r.context(&nginx::MODULE) == MARK
        && ptr::eq(LAST.request.get(), r.raw())
        && ptr::eq(LAST.affinity.get(), affinity)
}

/// Reads the id of a request whose upstream was not guessed, so that it stands in [`last`]. What was read of
/// another request that waits is forgotten.
#[cold]
pub fn read(r: Request<'static>, affinity: &Affinity, table: &Table) -> Result<(), OutOfMemory> {
    // Whatever a variable's handler does, it is done before `LAST` is written.
    let mut id = RequestId::NONE;
    id.read(r, affinity, table, Value::eval)?;
    if let Some(key) = id.key {
        table.prefetch(key);
    }
    LAST.request.set(ptr::null());
    LAST.id.set(id);
    Ok(())
}

/// What was read last.
///
/// # Safety
/// Called in `peer.init` of the request that [`is_read`] is true for, or that [`read`] has read: no other request
/// is at a phase meanwhile.
#[inline(always)]
pub unsafe fn last() -> RequestId {
    LAST.id.get()
}

/// Has the next request of the location prefetch its session for this upstream.
pub fn note(r: Request<'_>, affinity: &'static Affinity) {
    if let Some(location) = LocationConf::of(r) {
        location.last.set(Some(affinity));
    }
}
