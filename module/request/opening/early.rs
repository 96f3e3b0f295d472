//! A request body filter: of a long body it reads the beginning, and ends a request that will be rejected.
//! Without it nginx would read the whole body first.
//!
//! nginx keeps the body in memory or in a file while it reads it. When the first [`MAX_READ`] bytes are there,
//! the filter reads them once; so it keeps no state of its own.

use core::ptr;

use affinity::mcp::{InitializeReader, MAX_READ};
use affinity::policy::{Presented, Rejection, Route, Unknown};
use affinity::table::Kind;
use nginx_sys::{
    ngx_chain_t, ngx_http_finalize_request, ngx_http_request_body_filter_pt, ngx_http_request_t,
    ngx_http_top_request_body_filter, ngx_http_upstream_init, ngx_int_t,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_FOUND, NGX_HTTP_POST,
    NGX_HTTP_SERVICE_UNAVAILABLE,
};

use crate::conf::value::Value;
use crate::conf::{Affinity, MainConf, UpstreamConf};
use crate::nginx::conf::Conf;
use crate::nginx::request::body::{consume, size, RequestBody};
use crate::nginx::request::Request;
use crate::nginx::send::Buffers;
use crate::nginx::upstream::{Block, Upstream};
use crate::nginx::{self, OK};
use crate::request::id::RequestId;
use crate::request::{message, reject, PeerData};

type BodyFilter = unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_chain_t) -> ngx_int_t;
type BodyHandler = unsafe extern "C" fn(*mut ngx_http_request_t);

/// What [`reject_unread`] may answer by. 503: nobody has said which server has the session, or it was made in
/// this moment. 500: memory is short.
const ANSWERS: [u32; 3] =
    [NGX_HTTP_NOT_FOUND, NGX_HTTP_SERVICE_UNAVAILABLE, NGX_HTTP_INTERNAL_SERVER_ERROR];

/// The next filter. It is never null: a filter that only passes a body on costs four instructions.
static mut NEXT: BodyFilter = no_filter;
/// Whether any configuration of this process has needed the filter. A configuration that fails late leaves
/// its filter chain in the process, and later workers of the former configuration run it.
static mut NEEDED: bool = false;

/// Puts the filter into nginx's chain, if an upstream needs it.
pub fn install(cf: &mut Conf<'_>) {
    let is_needed = MainConf::of(cf).is_some_and(|main| main.filters.request_body);
    // SAFETY: nginx reads its configuration in one thread, while no request runs, and builds the chain again
    // for each configuration.
    unsafe {
        NEEDED |= is_needed;
        if let Some(next) = ngx_http_top_request_body_filter.filter(|_| NEEDED) {
            NEXT = next;
            ngx_http_top_request_body_filter = Some(filter);
        }
    }
}

/// The first of nginx's request body filters that is not this one.
pub fn beneath() -> ngx_http_request_body_filter_pt {
    // SAFETY: the statics change only while a configuration is read.
    unsafe {
        let top = ngx_http_top_request_body_filter?;
        if ptr::fn_addr_eq(top, filter as BodyFilter) {
            Some(NEXT)
        } else {
            Some(top)
        }
    }
}

unsafe extern "C" fn no_filter(_r: *mut ngx_http_request_t, _chain: *mut ngx_chain_t) -> ngx_int_t {
    OK
}

unsafe extern "C" fn filter(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request. All that keeps it is in its pool and is dropped with that.
    let request = unsafe { Request::<'static>::new(r) };
    // SAFETY: nginx passes a chain of live buffers or null.
    if request.body_bound() >= MAX_READ as u64 && unsafe { stops(request, chain) } {
        return OK;
    }
    // SAFETY: `install` has set the next filter, which is called with the arguments of ours; the static
    // changes only while a configuration is read.
    unsafe { NEXT(r, chain) }
}

/// Whether the body of a request is not read on. Then `chain` is used up.
///
/// # Safety
/// The arguments of a request body filter.
#[inline(never)]
unsafe fn stops(r: Request<'static>, chain: *mut ngx_chain_t) -> bool {
    let Some(body) = r.body() else { return false };
    // nginx may pass the rest of what it has received.
    let is_stopped = continues_with(body, reject_unread);
    // SAFETY: nginx passes a chain of live buffers in memory, or null; it does not change before `consume`.
    unsafe {
        if !is_stopped {
            // The rest of the body is not passed on. So only where nothing but the upstream waits for it.
            if body.is_complete()
                || body.is_unbuffered()
                || !continues_with(body, ngx_http_upstream_init)
            {
                return false;
            }
            let (kept, here) = (body.kept(), size(chain));
            let is_now = kept < MAX_READ as u64 && kept + here >= MAX_READ as u64;
            if !is_now || !is_rejected(r, body, Buffers::new(chain)) {
                return false;
            }
            body.stop(Some(reject_unread));
        }
        consume(chain);
    }
    true
}

fn continues_with(body: RequestBody<'_>, handler: BodyHandler) -> bool {
    body.then().is_some_and(|then| ptr::fn_addr_eq(then, handler))
}

/// Whether the request will be rejected with 404, by its id and the beginning of its body.
fn is_rejected(r: Request<'static>, body: RequestBody<'_>, rest: Buffers<'_>) -> bool {
    let rejects =
        rejecting(r).is_some_and(|(_, affinity)| has_unknown_id(r, affinity) == Some(true));
    if !rejects || may_need_body(r) {
        return false;
    }
    let mut reader = InitializeReader::new();
    let mut is_open = body.each_part(|part| reader.feed(part));
    for buffer in rest {
        is_open = is_open && reader.feed(buffer.in_memory());
    }
    !reader.is_initialize()
}

/// The upstream of a request, if it rejects unknown ids of MCP.
fn rejecting(r: Request<'static>) -> Option<(Block<'static>, &'static Affinity)> {
    let block = r.upstream()?.fixed_block()?;
    let conf = UpstreamConf::of(block)?;
    let affinity = conf.affinity()?;
    let policy = &affinity.policy;
    let is_rejecting = policy.mcp && policy.unknown == Unknown::Reject;
    // A foreign balancer has no sessions.
    let keeps_list = !conf.foreign.get() && conf.balancer.list(block).is_some();
    (is_rejecting && keeps_list && r.is_main() && r.method() == NGX_HTTP_POST)
        .then_some((block, affinity))
}

/// Whether the request has an `Mcp-Session-Id` without a session.
fn has_unknown_id(r: Request<'static>, affinity: &Affinity) -> Option<bool> {
    let sessions = affinity.zone.sessions()?;
    let mut id = RequestId::NONE;
    id.read(r, affinity, &sessions.table, Value::eval).ok()?;
    let presented = message::of(r).unknown();
    let is_unknown = presented == Presented::Unknown(Kind::Session)
        && sessions.lookup(id.key?, nginx::now(), &affinity.limits).is_none();
    Some(is_unknown)
}

/// Whether something else than the upstream's server may get the body, or an answer without the server.
fn may_need_body(r: Request<'_>) -> bool {
    ANSWERS.iter().any(|status| reject::has_error_page(r, *status as ngx_int_t))
        || reject::has_post_action(r)
        || r.upstream().is_none_or(Upstream::may_be_cached)
}

/// Rejects a request whose body was not read on. nginx calls it in the place of `ngx_http_upstream_init`.
unsafe extern "C" fn reject_unread(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes a live request. All that keeps it is in its pool and is dropped with that.
    let request = unsafe { Request::<'static>::new(r) };
    let rc = match rejecting(request).and_then(|(block, affinity)| begin(request, block, affinity))
    {
        Some(data) => data.answer_unread(),
        None => NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t,
    };
    // SAFETY: a handler of the body gives back the reference of its reader; the request is not used any more.
    unsafe { ngx_http_finalize_request(r, rc) };
}

/// The data of the request, as `peer.init` makes them.
fn begin(
    r: Request<'static>,
    block: Block<'static>,
    affinity: &'static Affinity,
) -> Option<&'static PeerData> {
    let sessions = affinity.zone.sessions()?;
    let mut id = RequestId::NONE;
    id.read(r, affinity, &sessions.table, Value::eval).ok()?;
    r.upstream()?.set_block(block);
    PeerData::create(r, affinity, sessions, || id)
}

impl PeerData {
    /// Answers in the place of `peer.init`, and returns what finalises the request.
    fn answer_unread(&self) -> ngx_int_t {
        let why = match self.look_up() {
            Route::Reject(why) => why,
            // The session was made in this moment: the client may repeat the request.
            _ => Rejection::Unavailable,
        };
        self.answer(why)
    }
}
