//! MCP mode: reads the body of a response as it passes, for the ids that it gives.

use core::cell::{Cell, RefCell};
use core::ptr;

use affinity::mcp::{Effects, Progress, Reader, Response};

use crate::nginx;
use crate::nginx::request::Request;
use crate::nginx::send::Buffers;
use crate::request::PeerData;

/// A response whose body is read as it passes; the filter module's context of its request, whose URI
/// lives as long.
struct Watched {
    reader: RefCell<Reader<'static>>,
    data: &'static PeerData,
    /// The rest of the body is not read.
    done: Cell<bool>,
    /// Nobody else needs the body in memory.
    asked: Cell<bool>,
}

/// Has the body of a response read, if it may give an id; [`need_body`] must follow. It is to be called by the
/// header filter; `data` is the request's own.
// Out of line: it needs much of the stack, which the filter would take for every response.
#[inline(never)]
pub fn watch(r: Request<'static>, effects: Effects, data: &'static PeerData) -> bool {
    let response = Response {
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
        asked: Cell::new(false),
    };
    // Without memory for it nothing is learned.
    let Some(watched) = r.pool().make(watched) else {
        return false;
    };
    r.set_context(&nginx::FILTER_MODULE, ptr::from_mut(watched).cast());
    data.set_watching(true);
    true
}

/// The filter module's context; `None` if no body is read, or another filter has emptied the contexts.
fn watched<'r>(r: Request<'r>) -> Option<&'r Watched> {
    // SAFETY: only `watch` sets the context, to what lives as long as the request.
    unsafe { r.context(&nginx::FILTER_MODULE).cast::<Watched>().as_ref() }
}

/// Asks for the body of a watched response in memory. It is to be called by the header filter, behind those of
/// all other filters.
pub fn need_body(r: Request<'_>) {
    if let Some(watched) = watched(r) {
        watched.asked.set(r.need_body_in_memory());
    }
}

/// Reads a part of a body before it leaves. It is to be called by the body filter.
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
        if !watched.asked.get() || r.release_body() {
            r.set_context(&nginx::FILTER_MODULE, ptr::null_mut());
        }
    }
}
