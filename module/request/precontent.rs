//! Looks at requests before their upstream does, to have their sessions on the way from memory by
//! then.
//!
//! Of a million sessions hardly any is in the processor's cache, and to wait for one costs more than
//! all else that is done for it. Between its last phase before the content and the choice of a server
//! nginx has enough to do: it makes the upstream's request.
//!
//! What was read here is used in `peer.init` only where nothing runs in between that can change the
//! request's headers ([`is_settled`]). Elsewhere it is a hint for the processor's cache alone: id and
//! `bind` are read again. `bind` decides who may use a session.
//!
//! Where a request will go to is not known yet: a location expects what its last request has got. A
//! wrong guess costs a little time, nothing else.

use core::cell::UnsafeCell;
use core::ptr;

use affinity::table::Table;
use nginx_sys::{
    ngx_array_push, ngx_chain_t, ngx_conf_t, ngx_cycle_t, ngx_http_core_content_phase,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt, ngx_http_phase_handler_t,
    ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE, ngx_http_request_body_save_filter,
    ngx_http_request_t, ngx_http_top_request_body_filter, ngx_int_t,
};

use crate::conf::value::{OutOfMemory, Value};
use crate::conf::{self, Affinity, LocationConf, MainConf, NO_HANDLER};
use crate::nginx::bits;
use crate::nginx::{self, DECLINED, ERROR, OK};
use crate::request::id::Carried;
use crate::request::MARK;

/// What was read of a request, for an upstream.
///
/// Only that request uses it, at that upstream. [`MARK`] in its context says that it has been read,
/// for nginx empties a request's contexts when it makes it, and when it redirects it; the address
/// says that no other has been read since (a request may have to wait, for its body or for the name
/// of its upstream). Until both are seen, nothing here is looked at: it may point to what is gone.
struct Expected {
    request: *const ngx_http_request_t,
    affinity: *const Affinity,
    carried: Carried,
}

/// The last one of this worker.
struct Last(UnsafeCell<Expected>);

// SAFETY: nginx runs its event loop, and all that is called from it, in one thread.
unsafe impl Sync for Last {}

static LAST: Last = Last(UnsafeCell::new(Expected {
    request: ptr::null(),
    affinity: ptr::null(),
    carried: Carried::NOTHING,
}));

/// Has each request looked at, if any upstream can profit.
///
/// Handlers of a phase run in the reverse order of modules, and nearly all stand behind this one:
/// they run before it.
pub unsafe extern "C" fn install(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx has made the phases, and fills them anew for each configuration.
    unsafe {
        let cf = &*cf;
        if !MainConf::of(cf).is_some_and(|main| main.expects) {
            return OK;
        }
        let core = &raw const ngx_http_core_module;
        let Some(core) = nginx::conf::main_conf::<ngx_http_core_main_conf_t>(cf, core) else {
            return ERROR;
        };
        let phase = &mut core.phases[ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE as usize];
        match ngx_array_push(&mut phase.handlers).cast::<ngx_http_handler_pt>().as_mut() {
            Some(handler) => *handler = Some(expect),
            None => return ERROR,
        }
    }
    OK
}

unsafe extern "C" fn expect(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request in a location.
    unsafe {
        if let Some(affinity) = location(r).and_then(|location| location.expected.get()) {
            look_at(r, affinity);
        }
    }
    DECLINED
}

/// # Safety
/// `r` is a live request, `affinity` of its configuration.
#[inline(always)]
unsafe fn look_at(r: *mut ngx_http_request_t, affinity: &Affinity) -> Option<()> {
    // SAFETY: by this function's contract; what reads headers comes back to nothing in this file.
    unsafe {
        let table = &(*affinity.zone).sessions()?.table;
        let last = &mut *LAST.0.get();
        // Nobody's, until it is whole.
        last.request = ptr::null();
        last.carried.read(r, affinity, table, Value::glance).ok()?;
        if let Some(key) = last.carried.key {
            table.prefetch(key);
        }
        if is_settled(r, affinity) {
            (last.request, last.affinity) = (r, affinity);
            *nginx::context(r, &nginx::MODULE) = MARK;
        }
    }
    Some(())
}

/// Whether the request's headers stay as they are until `peer.init`.
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
///
/// # Safety
/// `r` is a live request at this module's handler of PRECONTENT.
#[inline(always)]
unsafe fn is_settled(r: *mut ngx_http_request_t, affinity: &Affinity) -> bool {
    // SAFETY: by this function's contract.
    unsafe { (*r).phase_handler == affinity.last_handler.get() && bits::holders(r) == 1 }
}

/// Notes for each upstream which handler is the last one of PRECONTENT. None is where a filter of
/// request bodies stands behind nginx's own, which may change headers while it reads a body.
///
/// # Safety
/// Called when a worker starts with this cycle.
pub unsafe fn begin_worker(cycle: *const ngx_cycle_t) {
    // SAFETY: by this function's contract; nginx ends its list of handlers with an empty one.
    unsafe {
        let nginx_alone = ngx_http_top_request_body_filter.is_some_and(|filter| {
            ptr::fn_addr_eq(filter, ngx_http_request_body_save_filter as BodyFilter)
        });
        let core = &raw const ngx_http_core_module;
        let core = nginx::conf::cycle_main_conf::<ngx_http_core_main_conf_t>(cycle, core);
        let Some(core) = core.filter(|_| nginx_alone) else { return };
        let mut handler = core.phase_engine.handlers;
        let mut last = NO_HANDLER;
        while let Some(checker) = (*handler).checker {
            if ptr::fn_addr_eq(checker, ngx_http_core_content_phase as Checker) {
                conf::each_affinity(cycle, |affinity| affinity.last_handler.set(last));
                return;
            }
            last += 1;
            handler = handler.add(1);
        }
    }
}

type BodyFilter = unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_chain_t) -> ngx_int_t;
type Checker =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_http_phase_handler_t) -> ngx_int_t;

/// Reads what a request carries, for an upstream that has not been expected. If another request is
/// waiting, nothing is expected of that any more.
///
/// # Safety
/// As for `carried`; `affinity` belongs to an upstream whose sessions are in `table`.
#[cold]
pub unsafe fn read<'a>(
    r: *mut ngx_http_request_t,
    affinity: &Affinity,
    table: &Table,
) -> Result<&'a Carried, OutOfMemory> {
    let mut carried = Carried::NOTHING;
    // SAFETY: by this function's contract. Whatever a variable's handler does, it is done before what
    // is expected is looked at.
    unsafe {
        carried.read(r, affinity, table, Value::eval)?;
        if let Some(key) = carried.key {
            table.prefetch(key);
        }
        let last = &mut *LAST.0.get();
        // Nobody's.
        last.request = ptr::null();
        last.carried = carried;
        Ok(&last.carried)
    }
}

/// What was read of a request for its upstream, if it was.
///
/// # Safety
/// `r` is a live request; the reference must go before any is expected.
#[inline(always)]
pub unsafe fn carried<'a>(
    r: *const ngx_http_request_t,
    affinity: &Affinity,
) -> Option<&'a Carried> {
    // SAFETY: by this function's contract; see `Expected`.
    unsafe {
        let last = &*LAST.0.get();
        let is_marked = *nginx::context(r, &nginx::MODULE) == MARK;
        let is_it = is_marked && ptr::eq(last.request, r) && ptr::eq(last.affinity, affinity);
        is_it.then_some(&last.carried)
    }
}

/// Has the next request of the location expected in this upstream.
///
/// # Safety
/// `r` is a live request, `affinity` of its configuration.
pub unsafe fn note(r: *const ngx_http_request_t, affinity: &'static Affinity) {
    // SAFETY: by this function's contract.
    if let Some(location) = unsafe { location(r) } {
        location.expected.set(Some(affinity));
    }
}

unsafe fn location<'a>(r: *const ngx_http_request_t) -> Option<&'a LocationConf> {
    // SAFETY: by the callers.
    unsafe { LocationConf::of(r) }
}
