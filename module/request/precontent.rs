//! Prefetches the session of a request. Runs in PRECONTENT; `peer.init` reads the session.
//!
//! Of a million sessions hardly any is in the processor's cache, and the wait for one costs more than the
//! rest of the lookup. Between PRECONTENT and the choice of a server nginx makes the upstream's request,
//! which takes longer than the prefetch.
//!
//! `peer.init` uses the id that was read here only if nothing in between can change the request's headers
//! ([`is_settled`]). Otherwise this is only a prefetch: `peer.init` reads the id and `bind` again, because
//! `bind` decides which client may use a session.
//!
//! The upstream is not known in PRECONTENT. The guess is the upstream of the location's last request. A wrong
//! guess costs one wasted prefetch.

use core::cell::Cell;
use core::ptr;

use affinity::status::OutOfMemory;
use affinity::table::Table;
use nginx_sys::{
    ngx_array_push, ngx_chain_t, ngx_conf_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_handler_pt, ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE,
    ngx_http_request_body_save_filter, ngx_http_request_t, ngx_int_t,
};

use super::id::RequestId;
use super::{ask, opening, MARK};
use crate::conf::value::Value;
use crate::conf::{Affinity, LocationConf, MainConf, UpstreamConf};
use crate::nginx::conf::Conf;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::PerWorker;
use crate::nginx::request::held::before_content;
use crate::nginx::request::Request;
use crate::nginx::{self, DECLINED, ERROR, OK};

/// The id that was read last, with its request and upstream.
///
/// Valid only if
/// 1. the request's context is [`MARK`], and
/// 2. `request` and `affinity` are the caller's.
///
/// nginx clears (1) for a new request and for an internal redirect. (2) fails when another request was read
/// since: a request may wait for its body or for the name of its upstream. Do not read `id` before both are
/// checked: its pointers may dangle.
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

/// Installs the handler of PRECONTENT, if any upstream prefetches or has a source of answers.
///
/// Handlers of a phase run in the reverse order of modules. Nearly all modules are behind this one, so their
/// handlers run before it.
pub unsafe extern "C" fn install(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    let mut cf = unsafe { Conf::new(cf) };
    let handler: HttpHandler = match MainConf::of(&mut cf) {
        Some(main) if main.asks => asking_handler,
        Some(main) if main.prefetches => handler,
        _ => return OK,
    };
    // SAFETY: `ngx_http_core_module` makes this type. nginx has initialised the arrays of the phases, and
    // makes them again for each configuration.
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

type HttpHandler = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

/// The handler where an upstream has a source of answers.
unsafe extern "C" fn asking_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request. What keeps it is in its pool and is dropped with that.
    let request = unsafe { Request::<'static>::new(r) };
    match ask::ask(request, prefetched) {
        Some(result) => result,
        None if request.context(&nginx::MODULE) == MARK => DECLINED,
        // SAFETY: the same request.
        None => unsafe { handler(r) },
    }
}

/// Prefetches the session of a request. Returns its id if `peer.init` will have the same.
fn prefetched(r: Request<'static>, affinity: &Affinity) -> Option<RequestId> {
    prefetch(r, affinity)?;
    is_read(r, affinity).then(|| LAST.id.get())
}

unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request. `LAST` keeps its id, and the conditions there exclude a use after
    // the request has ended.
    let r = unsafe { Request::<'static>::new(r) };
    if let Some(affinity) = LocationConf::of(r).and_then(|location| location.last.get()) {
        prefetch(r, affinity);
    }
    DECLINED
}

#[inline(always)]
fn prefetch(r: Request<'static>, affinity: &Affinity) -> Option<()> {
    let table = &affinity.zone.sessions()?.table;
    // `LAST` is invalid until it is complete.
    LAST.request.set(ptr::null());
    // SAFETY: this is the only reference to `LAST.id`: `id.read` with `header_only` runs no code of other
    // modules.
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

/// Whether the headers of a request, which is at our handler of PRECONTENT, stay as they are until
/// `peer.init`.
///
/// - This handler is the last of its phase in this run. (ngx_lua moves its handler of `precontent_by_lua`
///   behind all others when it runs first. Handlers move only within the phase, so the index of this one
///   shows whether others follow.)
/// - Nothing else holds the request: subrequests (`mirror`) share the elements of its headers, and run while
///   nginx reads its body. For a subrequest this is never true.
/// - No filter of request bodies but nginx's own and ours is loaded: see [`begin_worker`].
///
/// A redirect (`error_page`, `ngx.exec`, `X-Accel-Redirect`, `js_content`) clears the request's contexts, and
/// with them [`MARK`].
#[inline(always)]
fn is_settled(r: Request<'_>, affinity: &Affinity) -> bool {
    r.phase_handler() == affinity.last_handler.get() && r.references() == 1
}

/// Stores the index of PRECONTENT's last handler in each upstream. It stays [`NO_HANDLER`] if another filter
/// of request bodies than nginx's own and ours is loaded: that may change headers while a body is read. To be
/// called when a worker starts.
pub fn begin_worker(cycle: Cycle<'_>) {
    let Some(last) = last_handler(cycle) else { return };
    for affinity in cycle.upstreams().filter_map(|it| UpstreamConf::of(it)?.affinity()) {
        affinity.last_handler.set(last);
    }
}

fn last_handler(cycle: Cycle<'_>) -> Option<ngx_int_t> {
    let nginx_alone = opening::beneath().is_some_and(|filter| {
        ptr::fn_addr_eq(filter, ngx_http_request_body_save_filter as BodyFilter)
    });
    // SAFETY: `ngx_http_core_module` makes this type.
    let core =
        unsafe { cycle.main_conf::<ngx_http_core_main_conf_t>(&raw const ngx_http_core_module) };
    before_content(core.filter(|_| nginx_alone)?)
}

type BodyFilter = unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_chain_t) -> ngx_int_t;

/// Whether [`last`] is the id of this request, read for this upstream.
#[inline(always)]
pub fn is_read(r: Request<'_>, affinity: &Affinity) -> bool {
    r.context(&nginx::MODULE) == MARK
        && ptr::eq(LAST.request.get(), r.raw())
        && ptr::eq(LAST.affinity.get(), affinity)
}

/// Reads the id of a request whose upstream was not guessed; [`last`] then returns it. The id of another
/// request that waits becomes invalid.
#[cold]
pub fn read(r: Request<'static>, affinity: &Affinity, table: &Table) -> Result<(), OutOfMemory> {
    // A variable's handler may run requests: `LAST` is written only after all of them.
    let mut id = RequestId::NONE;
    id.read(r, affinity, table, Value::eval)?;
    if let Some(key) = id.key {
        table.prefetch(key);
    }
    LAST.request.set(ptr::null());
    LAST.id.set(id);
    Ok(())
}

/// The id that was read last.
///
/// # Safety
/// Called in `peer.init` of a request for which [`is_read`] is true or which [`read`] has just read, with no
/// call of another request's handlers in between.
#[inline(always)]
pub unsafe fn last() -> RequestId {
    LAST.id.get()
}

/// Stores the upstream for which the location's next request prefetches its session.
pub fn note(r: Request<'_>, affinity: &'static Affinity) {
    if let Some(location) = LocationConf::of(r) {
        location.last.set(Some(affinity));
    }
}
