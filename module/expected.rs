//! Looks at requests before their upstream does, to have their sessions on the way from memory by
//! then.
//!
//! Of a million sessions hardly any is in the processor's cache, and to wait for one costs more than
//! all else that is done for it. Between its last phase before the content and the choice of a server
//! nginx has enough to do: it makes the upstream's request. Nothing of its own changes the headers of
//! a request then.
//!
//! Where a request will go to is not known yet: a location expects what its last request has got. A
//! wrong guess costs a little time, nothing else.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr;

use affinity::table::Table;
use nginx_sys::{
    ngx_array_push, ngx_conf_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_handler_pt, ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE, ngx_http_request_t, ngx_int_t,
};

use crate::carried::Carried;
use crate::conf::{Affinity, LocationConf, MainConf};
use crate::nginx::{self, DECLINED, ERROR, OK};
use crate::values::{OutOfMemory, Value};

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

/// In place of our context of a request: it was expected. No pointer is as low as that, but null.
const MARK: *mut c_void = ptr::without_provenance_mut(1);

/// Has each request looked at, if any upstream can profit.
///
/// Handlers of a phase run in the reverse order of modules, and nearly all stand behind this one:
/// what changes a request, or leads it elsewhere, has had its turn before.
pub unsafe extern "C" fn install(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx has made the phases, and fills them anew for each configuration.
    unsafe {
        let (cf, module) = (&*cf, &raw const crate::ngx_http_sticky_learn_module);
        if !nginx::main_conf::<MainConf>(cf, module).is_some_and(|main| main.expects) {
            return OK;
        }
        let core = &raw const ngx_http_core_module;
        let Some(core) = nginx::main_conf::<ngx_http_core_main_conf_t>(cf, core) else {
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
        (last.request, last.affinity) = (r, affinity);
        *nginx::context(r, &raw const crate::ngx_http_sticky_learn_module) = MARK;
    }
    Some(())
}

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
        let is_marked = *nginx::context(r, &raw const crate::ngx_http_sticky_learn_module) == MARK;
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

/// Our context of a request; `None` if all that is there is our mark.
///
/// # Safety
/// `r` is a live request, `T` is what its context was set to.
pub unsafe fn context<'a, T>(r: *const ngx_http_request_t) -> Option<&'a mut T> {
    // SAFETY: by this function's contract.
    unsafe {
        let context = *nginx::context(r, &raw const crate::ngx_http_sticky_learn_module);
        // One comparison, for the mark and for null.
        if context > MARK {
            Some(&mut *context.cast())
        } else {
            None
        }
    }
}

unsafe fn location<'a>(r: *const ngx_http_request_t) -> Option<&'a LocationConf> {
    // SAFETY: by the callers.
    unsafe { nginx::request_loc_conf(r, &raw const crate::ngx_http_sticky_learn_module) }
}
