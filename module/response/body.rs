//! MCP mode: reads the body of a response in the body filter, and learns the id in it.

use core::cell::{Cell, RefCell};
use core::ptr;

use affinity::mcp::{Effects, Progress, Reader, ResponseHead};

use crate::nginx;
use crate::nginx::request::Request;
use crate::nginx::send::Buffers;
use crate::request::PeerData;

/// A response whose body is read: the filter module's context of the request. The reader refers to the
/// request's URI, which lives as long.
struct Watched {
    reader: RefCell<Reader<'static>>,
    data: &'static PeerData,
    /// Whether the rest of the body is not read.
    done: Cell<bool>,
    /// Whether the body is in memory only because this module has requested it.
    requested: Cell<bool>,
}

/// Begins to read the body of a response, if it may contain an id; returns whether it does. Then
/// [`need_body`] must follow. To be called by the header filter; `data` belongs to the request.
// Out of line: inlined, its large stack frame would be taken for every response.
#[inline(never)]
pub fn watch(r: Request<'static>, effects: Effects, data: &'static PeerData) -> bool {
    let response = ResponseHead {
        status: r.response_status(),
        content_type: r.response_content_type(),
        encoding: r.response_encoding(),
    };
    let Some(reader) = Reader::new(effects.watch(&response), r.unparsed_uri()) else {
        return false;
    };
    let watched = || Watched {
        reader: RefCell::new(reader),
        data,
        done: Cell::new(false),
        requested: Cell::new(false),
    };
    // If memory is short, nothing is learned.
    let Some(watched) = r.pool().make(watched) else {
        return false;
    };
    r.set_context(&nginx::FILTER_MODULE, ptr::from_mut(watched).cast());
    data.set_watching(true);
    true
}

/// The filter module's context; `None` if no body is read, or an internal redirect has cleared the contexts.
fn watched<'r>(r: Request<'r>) -> Option<&'r Watched> {
    // SAFETY: the context is null or was set by `watch`, to a value in the request's pool.
    unsafe { r.context(&nginx::FILTER_MODULE).cast::<Watched>().as_ref() }
}

/// Requests the body of a watched response in memory. To be called by the header filter after all other ones.
pub fn need_body(r: Request<'_>) {
    if let Some(watched) = watched(r) {
        watched.requested.set(r.need_body_in_memory());
    }
}

/// Reads a part of a body before it is sent. To be called by the body filter.
#[inline(always)]
pub fn read(r: Request<'_>, buffers: Buffers<'_>) {
    let Some(watched) = watched(r) else { return };
    let Ok(mut reader) = watched.reader.try_borrow_mut() else { return };
    for buffer in buffers {
        if watched.done.get() {
            break;
        }
        match reader.feed(buffer.in_memory()) {
            Progress::More => continue,
            Progress::Nothing => (),
            Progress::Faulty(why) => watched.data.body_refused(why),
            Progress::Found(learned) => watched.data.learn_from_body(&learned),
        }
        watched.done.set(true);
    }
    if watched.done.get() {
        watched.data.set_watching(false);
        if !watched.requested.get() || r.release_body() {
            r.set_context(&nginx::FILTER_MODULE, ptr::null_mut());
        }
    }
}
