//! The place of a handler in its phase.

use core::slice;

use nginx_sys::{ngx_http_core_main_conf_t, ngx_http_core_module};

use crate::nginx::request::Request;

/// Moves the running handler behind all others of its phase. Returns false if it is there already. After true
/// the handler must decline at once: those that were behind it run next, and then itself.
///
/// The handlers of a phase are side by side, and `next` of each is the index behind the last. Requests that
/// wait in a handler keep its index, so a handler that lets requests wait must be moved before the first of
/// them: ngx_lua moves its handler of PRECONTENT when that runs first, and every request that comes to ours
/// has been there.
pub fn move_behind_others(r: Request<'_>) -> bool {
    // SAFETY: `ngx_http_core_module` makes this type. The running handler is in the array of its phase
    // engine, of which this process has its own copy, and so are those up to `next`. nginx reads an element
    // only to call it.
    unsafe {
        let core = r.main_conf::<ngx_http_core_main_conf_t>(&raw const ngx_http_core_module);
        let Some(core) = core else { return false };
        let Ok(place) = usize::try_from(r.phase_handler()) else { return false };
        let own = core.phase_engine.handlers.add(place);
        let behind = (*own).next.saturating_sub(place + 1);
        if behind == 0 {
            return false;
        }
        slice::from_raw_parts_mut(own, behind + 1).rotate_left(1);
        // nginx adds one after a handler that declines.
        (*r.raw()).phase_handler -= 1;
    }
    true
}
