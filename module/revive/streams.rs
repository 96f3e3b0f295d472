//! The stream of a session ends for its client as a stream that the server has ended, also if the server dies. The client
//! opens it again in either case; but the SDK for Python does that only twice if the stream is broken off.

use nginx_sys::{
    ngx_http_request_t, ngx_http_send_special, ngx_int_t, ngx_uint_t,
    NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_GET, NGX_HTTP_LAST, NGX_HTTP_OK,
    NGX_HTTP_REQUEST_TIME_OUT, NGX_HTTP_SPECIAL_RESPONSE,
};

use super::session::OwnSession;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::request::Request;

/// Ends the upstream of a request: `ngx_http_upstream_t::finalize_request`.
type Finalize = unsafe extern "C" fn(*mut ngx_http_request_t, ngx_int_t);

/// A stream of a session that can be revived.
struct Watched {
    request: Request<'static>,
    /// The handler of the module that talks to the server.
    finalize: Finalize,
}

impl Recycled for Watched {
    fn spare() -> &'static Spare<Watched> {
        static SPARE: Spare<Watched> = Spare::new();
        &SPARE
    }
}

/// Watches the stream whose header passes, if the client will be able to open it again when its server is gone.
#[cold]
pub(super) fn watch(r: Request<'static>) {
    let is_stream = r.is_main()
        && r.method() == NGX_HTTP_GET
        && u32::from(r.response_status()) == NGX_HTTP_OK
        && r.response_content_type().starts_with(b"text/event-stream");
    if !is_stream || !OwnSession::of(r).is_some_and(|session| session.is_owner()) {
        return;
    }
    let Some(upstream) = r.upstream() else { return };
    // SAFETY: the upstream of a live request. nginx calls the handler with this request, once.
    unsafe {
        let handler = &raw mut (*upstream.raw()).finalize_request;
        let Some(finalize) = *handler else { return };
        if recycled::make(r.pool(), || Watched { request: r, finalize }).is_some() {
            *handler = Some(end);
        }
    }
}

/// Called by nginx when the upstream of a watched stream ends; `rc` says why.
unsafe extern "C" fn end(r: *mut ngx_http_request_t, rc: ngx_int_t) {
    const OF_THE_CLIENT: [u32; 2] = [NGX_HTTP_REQUEST_TIME_OUT, NGX_HTTP_CLIENT_CLOSED_REQUEST];

    // SAFETY: nginx passes a live request.
    let request = unsafe { Request::<'static>::new(r) };
    let watched = recycled::find::<Watched>(request.pool(), |it| it.request == request);
    if let Some(watched) = watched {
        // SAFETY: the handler that this one has replaced, with its arguments.
        unsafe { (watched.finalize)(r, rc) };
    }
    let code = u32::try_from(rc).unwrap_or_default();
    if code >= NGX_HTTP_SPECIAL_RESPONSE && !OF_THE_CLIENT.contains(&code) {
        // nginx would flush what it has, and close the connection without the end of the body.
        // SAFETY: the header is sent, and nothing of the body follows.
        unsafe { ngx_http_send_special(r, NGX_HTTP_LAST as ngx_uint_t) };
    }
}
