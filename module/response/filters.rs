//! Header and body filter. `sticky_learn` learns a session before the first byte of the response is sent,
//! `sticky learn` before the last.

use nginx_sys::{
    ngx_chain_t, ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt,
    ngx_http_request_t, ngx_http_top_body_filter, ngx_http_top_header_filter, ngx_int_t,
};

use super::body;
use crate::conf::{Filters, MainConf};
use crate::hold;
use crate::nginx::conf::Conf;
use crate::nginx::request::Request;
use crate::nginx::send::{Buffer, Buffers};
use crate::nginx::OK;
use crate::request::PeerData;
use crate::revive::rename;

static mut NEXT_HEADER: ngx_http_output_header_filter_pt = None;
static mut NEXT_BODY: ngx_http_output_body_filter_pt = None;
/// The filters that any configuration of this process has needed. A configuration that fails late leaves its
/// filter chains in the process, and later workers of the former configuration run them.
static mut NEEDED: Filters =
    Filters { header: false, body: false, request_body: false, hold: false };

/// Puts the filters that the upstreams need into nginx's chains. Those of `hold/` and `revive/` have no place of their
/// own there: the filters of this file call them, which takes fewer instructions.
pub fn install(cf: &mut Conf<'_>) {
    let filters = MainConf::of(cf).map(|main| main.filters).unwrap_or_default();
    // SAFETY: nginx reads its configuration in one thread, while no request runs, and builds the chains again
    // for each configuration.
    unsafe {
        NEEDED.header |= filters.header;
        NEEDED.body |= filters.body;
        NEEDED.hold |= filters.hold;
        let (next_header, next_body) = (ngx_http_top_header_filter, ngx_http_top_body_filter);
        if NEEDED.hold && next_header.is_some() && next_body.is_some() {
            hold::set_next(next_header, next_body);
            ngx_http_top_header_filter = Some(header_filter::<true>);
            ngx_http_top_body_filter = Some(body_filter::<true>);
            return;
        }
        if NEEDED.header {
            NEXT_HEADER = next_header;
            ngx_http_top_header_filter = Some(header_filter::<false>);
        }
        if NEEDED.body {
            NEXT_BODY = next_body;
            ngx_http_top_body_filter = Some(body_filter::<false>);
        }
    }
}

/// `HOLDS`: whether answers may be held, and sessions revived.
unsafe extern "C" fn header_filter<const HOLDS: bool>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request. All that keeps it is in its pool and is dropped with that.
    let r = unsafe { Request::<'static>::new(r) };
    if HOLDS && rename::concerns(r) {
        // Before anything else reads the answer's headers.
        rename::restore(r);
    }
    if let Some(data) = PeerData::current(r) {
        if let Some(effects) = data.answered() {
            if body::watch(r, effects, data) {
                return pass_watched::<HOLDS>(r);
            }
        }
    }
    pass_header::<HOLDS>(r)
}

#[inline(always)]
fn pass_header<const HOLDS: bool>(r: Request<'static>) -> ngx_int_t {
    if HOLDS {
        return hold::filters::header(r);
    }
    // SAFETY: `install` has set the next filter, which is called with the arguments of ours; the static
    // changes only while a configuration is read.
    unsafe {
        match NEXT_HEADER {
            Some(next) => next(r.raw()),
            None => OK,
        }
    }
}

/// Passes the header of a watched response. The other filters request the body in memory in their header
/// filters, so ours is the last to do so.
#[cold]
fn pass_watched<const HOLDS: bool>(r: Request<'static>) -> ngx_int_t {
    let rc = pass_header::<HOLDS>(r);
    body::need_body(r);
    rc
}

unsafe extern "C" fn body_filter<const HOLDS: bool>(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request, and a chain of live buffers or null; the chain does not change
    // before it is passed on below.
    let (request, buffers) = unsafe { (Request::new(r), Buffers::new(chain)) };
    body::read(request, buffers);
    if let Some(data) = PeerData::current(request) {
        data.leaves(|| buffers.into_iter().any(Buffer::is_last));
    }
    if HOLDS {
        return hold::filters::body(request, chain);
    }
    // SAFETY: `install` has set the next filter, which is called with the arguments of ours; the static
    // changes only while a configuration is read.
    unsafe {
        match NEXT_BODY {
            Some(next) => next(r, chain),
            None => OK,
        }
    }
}
