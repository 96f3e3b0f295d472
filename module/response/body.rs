//! MCP mode: what nginx holds of a request and of its response, for `affinity::mcp` to read.

use crate::nginx::pool;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr;
use core::slice;

use affinity::mcp::{Id, Lines, Outlook, Progress, Reader, Request, Response, Verb};
use affinity::table::Kind;
use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_http_request_t, ngx_list_part_t, ngx_table_elt_t, NGX_HTTP_DELETE,
    NGX_HTTP_GET,
};

use crate::nginx;
use crate::nginx::bits;
use crate::request::PeerData;

/// What a request says to MCP servers. Of a header that comes twice the first counts; lines of
/// `Mcp-Session-Id` that differ make the request ambiguous.
///
/// # Safety
/// `r` is a live request; the result must not outlive it.
pub unsafe fn request<'a>(r: *const ngx_http_request_t) -> Request<'a> {
    // SAFETY: by this function's contract; nginx's list of headers holds `nelts` elements in each
    // part, and their strings live as long as the request.
    unsafe {
        let mut request = Request {
            verb: match (*r).method as u32 {
                NGX_HTTP_GET => Verb::Get,
                NGX_HTTP_DELETE => Verb::Delete,
                _ => Verb::Other,
            },
            session: &[],
            lines: Lines::None,
            version: &[],
            method: &[],
            name: &[],
            query: nginx::bytes(&(*r).args),
            target: nginx::bytes(&(*r).unparsed_uri),
        };
        let mut part: *const ngx_list_part_t = &raw const (*r).headers_in.headers.part;
        while let Some(list) = part.as_ref() {
            let mut header = list.elts.cast::<ngx_table_elt_t>().cast_const();
            let end = header.add(list.nelts);
            while header < end {
                // All that matter begin alike.
                if !(*header).lowcase_key.is_null() && *(*header).lowcase_key == b'm' {
                    note(&mut request, &*header);
                }
                header = header.add(1);
            }
            part = list.next;
        }
        request
    }
}

/// # Safety
/// The header is one of a live request, with its name in lower case.
unsafe fn note<'a>(request: &mut Request<'a>, header: &ngx_table_elt_t) {
    // SAFETY: by this function's contract; the name in lower case is as long as the name.
    unsafe {
        let name = slice::from_raw_parts(header.lowcase_key, header.key.len);
        request.add_header(name, nginx::bytes(&header.value));
    }
}

/// Room for ids that must be decoded, one at a time.
struct Scratch(UnsafeCell<Id>);

// SAFETY: nginx runs its event loop, and all that is called from it, in one thread.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch(UnsafeCell::new(Id::new()));

/// Calls `f` with the id that a request carries, if any, and what it names. `f` must not do so again.
pub fn with_id<T>(request: &Request<'_>, f: impl FnOnce(Kind, &[u8]) -> T) -> Option<T> {
    // SAFETY: nobody else uses it until this returns.
    let scratch = unsafe { &mut *SCRATCH.0.get() };
    request.id(scratch).map(|(kind, id)| f(kind, id))
}

/// The same with the id that is asked for where the first one is unknown.
pub fn with_second_id<T>(request: &Request<'_>, f: impl FnOnce(Kind, &[u8]) -> T) -> Option<T> {
    // SAFETY: as above.
    let scratch = unsafe { &mut *SCRATCH.0.get() };
    request.second_id(scratch).map(|(kind, id)| f(kind, id))
}

/// A response whose body is read as it passes; the filter module's context of its request, whose URI
/// lives as long.
struct Watched {
    reader: Reader<'static>,
    data: *mut PeerData,
    /// The rest of the body is not read.
    done: bool,
    /// Nobody else needs the body in memory.
    asked: bool,
}

/// Has the body of a response read, if it can teach; [`need_body`] must follow.
///
/// # Safety
/// `r` is a live request at its header filter, and `data` its own.
// Out of line: it needs much of the stack, which the filter would take for every response.
#[inline(never)]
pub unsafe fn watch(r: *mut ngx_http_request_t, outlook: Outlook, data: *mut PeerData) -> bool {
    // SAFETY: by this function's contract; strings of the response live as long as the request.
    unsafe {
        let headers = &(*r).headers_out;
        let encoding = headers.content_encoding.as_ref();
        let response = Response {
            status: headers.status as u16,
            content_type: nginx::bytes(&headers.content_type),
            encoding: encoding.map_or(&[], |header| nginx::bytes(&header.value)),
        };
        let uri = nginx::bytes(&(*r).unparsed_uri);
        let Some(reader) = Reader::new(outlook.teaches(&response), uri) else {
            return false;
        };
        let watched = || Watched { reader, data, done: false, asked: false };
        // Without memory for it nothing is learned.
        let Some(watched) = pool::pool_box((*r).pool, watched) else {
            return false;
        };
        *context(r) = ptr::from_mut(watched).cast();
        (*data).watching = true;
        true
    }
}

/// Asks for the body of a watched response in memory.
///
/// # Safety
/// `r` is a live request at its header filter, behind those of all other filters.
pub unsafe fn need_body(r: *mut ngx_http_request_t) {
    // SAFETY: by this function's contract; a filter may have emptied the contexts.
    unsafe {
        if let Some(watched) = (*context(r)).cast::<Watched>().as_mut() {
            watched.asked = bits::ask_for_body(r);
        }
    }
}

/// Reads a part of a body before it leaves.
///
/// # Safety
/// Called by the body filter of a live request, with buffers that live until the next filter has them.
pub unsafe fn read(r: *mut ngx_http_request_t, chain: *const ngx_chain_t) {
    // SAFETY: by this function's contract; only `watch` sets the context, and the data, of the same
    // request, live as long.
    unsafe {
        let context = context(r);
        let Some(watched) = (*context).cast::<Watched>().as_mut() else { return };
        let mut link = chain;
        while let (false, Some(part)) = (watched.done, link.as_ref()) {
            match watched.reader.feed(in_memory(&*part.buf)) {
                Progress::More => (),
                Progress::Nothing => watched.done = true,
                Progress::Refused(why) => {
                    (*watched.data).body_refused(why);
                    watched.done = true;
                }
                Progress::Found(learned) => {
                    (*watched.data).learn_from_body(&learned);
                    watched.done = true;
                }
            }
            link = part.next;
        }
        (*watched.data).watching = !watched.done;
        if watched.done && (!watched.asked || bits::release_body(r)) {
            *context = ptr::null_mut();
        }
    }
}

/// The bytes of a buffer, as far as they are in memory, which the copy filter has seen to.
///
/// # Safety
/// The buffer is live.
unsafe fn in_memory<'a>(buffer: &ngx_buf_t) -> &'a [u8] {
    if buffer.temporary() == 0 && buffer.memory() == 0 && buffer.mmap() == 0 {
        return &[];
    }
    // SAFETY: a buffer in memory has its bytes between these two.
    unsafe { slice::from_raw_parts(buffer.pos, buffer.last.offset_from(buffer.pos) as usize) }
}

/// The filter module's place among the request's module contexts.
///
/// # Safety
/// `r` is a live request.
unsafe fn context(r: *mut ngx_http_request_t) -> *mut *mut c_void {
    // SAFETY: by this function's contract.
    unsafe { nginx::context(r, &nginx::FILTER_MODULE) }
}
