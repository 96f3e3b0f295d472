//! The content handler of `sticky_api`: reads the task of a request, does it, and sends the result.

use affinity::status::{ApiRequest, Format, Method, Refusal, Task, MAX_BODY, NO_LENGTH, TOO_LARGE};
use nginx_sys::{
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_discard_request_body,
    ngx_http_finalize_request, ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t,
    NGX_HTTP_DELETE, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_PATCH, NGX_HTTP_POST,
    NGX_HTTP_SPECIAL_RESPONSE,
};

use super::later::{self, Job, ServerPath};
use super::{answer, steer};
use crate::nginx::request::Request;
use crate::nginx::{self, DONE, OK};

/// The content handler.
pub unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request. All that keeps it is in its pool, and is dropped with that.
    let r = unsafe { Request::<'static>::new(r) };
    let task = match api_request(r).task(answer::may_write(r)) {
        Ok(task) if task.has_body() => match check_length(r) {
            Ok(()) => return read_body(r),
            Err(refusal) => Err(refusal),
        },
        other => other,
    };
    // SAFETY: a live request; nginx reads its body here for the first time.
    let discarded = unsafe { ngx_http_discard_request_body(r.raw()) };
    if discarded != OK {
        return discarded;
    }
    let rc = match task {
        Ok(task) => perform(r, &task, &[]),
        Err(refusal) => answer::refuse(r, refusal),
    };
    if rc == DONE {
        // A timer answers the request later; this reference keeps it until then.
        r.hold();
    }
    rc
}

fn check_length(r: Request<'_>) -> Result<(), Refusal> {
    match r.body_length() {
        // The body is chunked.
        None => Err(NO_LENGTH),
        Some(length) if length > MAX_BODY => Err(TOO_LARGE),
        Some(_) => Ok(()),
    }
}

fn read_body(r: Request<'_>) -> ngx_int_t {
    r.need_body_in_single_buf();
    // SAFETY: a live request; nginx reads its body here for the first time.
    match unsafe { ngx_http_read_client_request_body(r.raw(), Some(on_body)) } {
        rc if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t => rc,
        _ => DONE,
    }
}

/// Called when nginx has read the body; nginx holds a reference to the request for this handler.
unsafe extern "C" fn on_body(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes a live request. All that keeps it is in its pool, and is dropped with that.
    let r = unsafe { Request::<'static>::new(r) };
    let rc = match api_request(r).task(answer::may_write(r)) {
        // `merge_location` has set the buffer so large that the body is in memory.
        Ok(task) => perform(r, &task, r.body_in_memory()),
        Err(refusal) => answer::refuse(r, refusal),
    };
    if rc != DONE {
        // SAFETY: a live request; this gives back the reference that nginx holds for this handler.
        unsafe { ngx_http_finalize_request(r.raw(), rc) };
    }
}

/// Does a task. The result is what the request is finalised with, or `DONE` if a timer answers it later.
fn perform(r: Request<'static>, task: &Task<'static>, body: &[u8]) -> ngx_int_t {
    let json = |text| answer::send(r, Format::Json, text);
    match *task {
        Task::Show(_, Format::Page) => answer::show_page(r),
        Task::Show(resource, format) => answer::send(r, format, answer::show(r, &resource, format)),
        Task::Wait(upstream, server, timeout) => later(r, upstream, server, Job::wait(timeout)),
        Task::ForgetAll(upstream, server) => later(r, upstream, server, Job::forget()),
        Task::Drain(upstream, server) => json(steer::drain(r, upstream, server, body)),
        Task::Find(zone) | Task::FindByBody(zone) => {
            json(steer::with_session(r, zone, body, steer::found))
        }
        Task::Forget(zone) => json(steer::with_session(r, zone, body, steer::forget)),
    }
}

fn later(
    r: Request<'static>,
    upstream: &'static [u8],
    server: &'static [u8],
    job: Job,
) -> ngx_int_t {
    match steer::find_server(r, upstream, server) {
        Ok(zone) => later::start(r, ServerPath { zone, upstream, address: server }, job),
        Err(refusal) => answer::refuse(r, refusal),
    }
}

/// The parts of a request that decide its task. Of several headers of a name the last one counts.
fn api_request(r: Request<'_>) -> ApiRequest<'_> {
    // SAFETY: `ngx_http_core_module` makes this type for a location; its name lives as long as the
    // configuration.
    let location = unsafe {
        let core = r.loc_conf::<ngx_http_core_loc_conf_t>(&raw const ngx_http_core_module);
        core.map_or(&[][..], |core| nginx::bytes(&core.name))
    };
    let uri = r.uri();
    let rest = uri.strip_prefix(location).unwrap_or_default();
    // "/sticky" is a prefix of "/stickyzones", too: only a whole path segment counts.
    let path = if rest.is_empty() || rest.starts_with(b"/") || location.ends_with(b"/") {
        rest
    } else {
        uri
    };
    ApiRequest {
        method: match r.method() {
            NGX_HTTP_GET | NGX_HTTP_HEAD => Method::Get,
            NGX_HTTP_POST => Method::Post,
            NGX_HTTP_PATCH => Method::Patch,
            NGX_HTTP_DELETE => Method::Delete,
            _ => Method::Other,
        },
        path,
        arguments: r.args(),
        accept: r.last_header(b"accept").unwrap_or_default(),
        content_type: r.last_header(b"content-type").unwrap_or_default(),
        host: r.last_header(b"host").unwrap_or_default(),
        origin: r.last_header(b"origin"),
    }
}
