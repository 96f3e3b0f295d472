//! `sticky_api`: from nginx's request to a task, and from its outcome to nginx's response.

mod answer;
mod later;
pub mod report;

use core::ffi::{c_char, c_void};

use affinity::status::{
    Answer, Document, Drain, Draining, Format, Id, Method, Refusal, Request, Resource, Task, Text,
    FOREIGN, MAX_BODY, NO_LENGTH, NO_ROOM, NO_SERVER, NO_SESSION, NO_UPSTREAM, NO_ZONE, TOO_LARGE,
};
use affinity::table::{Key, Limits, Span, Tick};
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_discard_request_body, ngx_http_finalize_request, ngx_http_read_client_request_body,
    ngx_http_request_t, ngx_int_t, ngx_list_part_t, ngx_table_elt_t, NGX_HTTP_DELETE, NGX_HTTP_GET,
    NGX_HTTP_HEAD, NGX_HTTP_PATCH, NGX_HTTP_POST, NGX_HTTP_SPECIAL_RESPONSE, NGX_LOG_NOTICE,
};

use crate::conf::{self, Api, LocationConf};
use crate::nginx::bits;
use crate::nginx::conf::{fail, Logged};
use crate::nginx::{self, DONE, OK};
use crate::zone::sessions::Sessions;
use crate::zone::Zone;
use later::{Job, Target};

/// `sticky_api [write];`
pub unsafe extern "C" fn sticky_api(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes itself and the configuration that `create_location` made.
    nginx::conf::conf_result(unsafe { read(&mut *cf, &mut *conf.cast()) })
}

/// # Safety
/// `cf` is being read, at the directive.
unsafe fn read(cf: &mut ngx_conf_t, conf: &mut LocationConf) -> Result<(), Logged> {
    if conf.api.is_some() {
        fail!(cf, "\"sticky_api\" directive is duplicate");
    }
    // SAFETY: by this function's contract.
    let (args, core) = unsafe { (nginx::conf::args(cf), core_location(cf)) };
    let write = match args.get(1) {
        None => false,
        Some(word) if word.as_bytes() == b"write" => true,
        Some(word) => fail!(cf, "invalid parameter \"{word}\", only \"write\" is known"),
    };
    let Some(core) = core else { return Err(Logged) };
    // A resource is what stands behind the location's name.
    #[cfg(ngx_feature = "pcre")]
    if !core.regex.is_null() {
        fail!(cf, "\"sticky_api\" needs a location without a regular expression");
    }
    core.handler = Some(handler);
    conf.api = Some(Api { write });
    Ok(())
}

/// # Safety
/// `cf` is being read or merged, in a location.
unsafe fn core_location<'a>(cf: &ngx_conf_t) -> Option<&'a mut ngx_http_core_loc_conf_t> {
    // SAFETY: by this function's contract.
    unsafe { nginx::conf::loc_conf(cf, &raw const ngx_http_core_module) }
}

/// Does what a request asks for, or refuses it.
unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request of a location that has our handler.
    unsafe {
        let task = match read_request(r).task(answer::may_write(r)) {
            Ok(task) if task.has_body() => match check_length(r) {
                Ok(()) => return read_body(r),
                Err(refusal) => Err(refusal),
            },
            other => other,
        };
        let discarded = ngx_http_discard_request_body(r);
        if discarded != OK {
            return discarded;
        }
        match task.map_or_else(|refusal| answer::refuse(r, refusal), |task| perform(r, &task, &[]))
        {
            // It is answered later, and must live until then.
            DONE => {
                let main = &mut *(*r).main;
                main.set_count(main.count() + 1);
                DONE
            }
            rc => rc,
        }
    }
}

/// # Safety
/// `r` is a live request.
unsafe fn check_length(r: *const ngx_http_request_t) -> Result<(), Refusal> {
    // SAFETY: by this function's contract.
    let (length, chunked) =
        unsafe { ((*r).headers_in.content_length_n, (*r).headers_in.chunked() != 0) };
    match u64::try_from(length) {
        _ if chunked => Err(NO_LENGTH),
        Ok(length) if length > MAX_BODY => Err(TOO_LARGE),
        // None, or none that is known.
        _ => Ok(()),
    }
}

/// # Safety
/// `r` is a live request whose body nobody has read.
unsafe fn read_body(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: by this function's contract.
    unsafe {
        bits::need_request_body_in_single_buf(r);
        match ngx_http_read_client_request_body(r, Some(on_body)) {
            rc if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t => rc,
            _ => DONE,
        }
    }
}

/// nginx has read the body, and holds the request for us.
unsafe extern "C" fn on_body(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes the request that it has read for; its body is in one buffer, for
    // `merge_location` keeps it out of files, or there is none.
    unsafe {
        let bufs = (*r).request_body.as_ref().and_then(|body| body.bufs.as_ref());
        let body = bufs.and_then(|chain| chain.buf.as_ref()).map_or(&[][..], |buf| {
            core::slice::from_raw_parts(buf.pos, buf.last.offset_from(buf.pos) as usize)
        });
        let rc = match read_request(r).task(answer::may_write(r)) {
            Ok(task) => perform(r, &task, body),
            Err(refusal) => answer::refuse(r, refusal),
        };
        if rc != DONE {
            ngx_http_finalize_request(r, rc);
        }
    }
}

/// Does a task. The result is what the request is finalised with, or `DONE`: that comes later.
///
/// # Safety
/// `r` is a live request that has not been answered.
unsafe fn perform(r: *mut ngx_http_request_t, task: &Task<'static>, body: &[u8]) -> ngx_int_t {
    // SAFETY: by this function's contract.
    unsafe {
        match *task {
            Task::Show(_, Format::Page) => answer::show_page(r),
            Task::Show(resource, format) => {
                answer::send(r, format, answer::show(r, &resource, format))
            }
            Task::Wait(upstream, server, timeout) => later(r, upstream, server, Job::wait(timeout)),
            Task::ForgetAll(upstream, server) => later(r, upstream, server, Job::forget()),
            Task::Drain(upstream, server) => {
                answer::send(r, Format::Json, drain(r, upstream, server, body))
            }
            Task::Find(zone) | Task::FindByBody(zone) => {
                answer::send(r, Format::Json, with_session(r, zone, body, found))
            }
            Task::Forget(zone) => {
                answer::send(r, Format::Json, with_session(r, zone, body, forget))
            }
        }
    }
}

/// # Safety
/// As above.
unsafe fn later(
    r: *mut ngx_http_request_t,
    upstream: &'static [u8],
    server: &'static [u8],
    job: Job,
) -> ngx_int_t {
    // SAFETY: by this function's contract; names live as long as the request.
    unsafe {
        match find_server(r, upstream, server) {
            Ok(zone) => later::start(r, Target { zone, upstream, server }, job),
            Err(refusal) => answer::refuse(r, refusal),
        }
    }
}

/// The zone of an upstream that has, or had, a server of that address.
///
/// # Safety
/// `r` is a live request, and outlives the result.
unsafe fn find_server(
    r: *const ngx_http_request_t,
    upstream: &[u8],
    server: &[u8],
) -> Result<&'static Zone, Refusal> {
    // SAFETY: by this function's contract, the configuration lives as long.
    unsafe {
        let named = conf::upstreams(r).find(|(us, _)| nginx::bytes(&(**us).host) == upstream);
        let (us, affinity) = named.ok_or(NO_UPSTREAM)?;
        let zone = &*affinity.zone;
        let known = || {
            let table = zone.sessions().map(|sessions| &sessions.table);
            table.is_some_and(|table| table.find_server(server).is_some())
        };
        match report::has_peer(us, server) || known() {
            true => Ok(zone),
            false => Err(NO_SERVER),
        }
    }
}

/// # Safety
/// `r` is a live request.
unsafe fn drain(
    r: *mut ngx_http_request_t,
    upstream: &[u8],
    server: &[u8],
    body: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let asked = Drain::read(body)?;
    let now = nginx::now();
    let draining = match asked {
        Drain { drain: false, .. } => Draining::NO,
        Drain { deadline, .. } => Draining::until(
            deadline.map(|millis| Tick(now.0.wrapping_add(Span::from_millis(millis).0))),
        ),
    };
    // SAFETY: by this function's contract.
    unsafe {
        let zone = find_server(r, upstream, server)?;
        if asked.drain && report::is_foreign(r, upstream) {
            return Err(FOREIGN);
        }
        let sessions = zone.sessions().ok_or(NO_ROOM)?;
        if !sessions.set_draining(server, draining, now) {
            return Err(NO_ROOM);
        }
        ngx::ngx_log_error!(
            NGX_LOG_NOTICE,
            (*(*r).connection).log,
            "server \"{}\" of zone \"{}\" {}",
            Text(server),
            zone.name(),
            if asked.drain { "drains" } else { "drains no longer" }
        );
        answer::show(r, &Resource::Server(upstream, server), Format::Json)
    }
}

type WithSession = fn(&Sessions, Key, &Limits) -> Result<Vec<u8>, Refusal>;

/// Does something with the session that the body names, or else the header.
///
/// # Safety
/// `r` is a live request.
unsafe fn with_session(
    r: *const ngx_http_request_t,
    zone: &[u8],
    body: &[u8],
    f: WithSession,
) -> Result<Vec<u8>, Refusal> {
    // SAFETY: by this function's contract.
    let (header, named) = unsafe {
        let named = report::zones(r).find(|known| nginx::bytes(&known.name()) == zone);
        (header(r, b"mcp-session-id"), named)
    };
    let zone = named.ok_or(NO_ZONE)?;
    let id = Id::read(body, header)?;
    let sessions = zone.sessions().ok_or(NO_SESSION)?;
    f(sessions, sessions.table.key(id.kind, &id.id, &id.bind), zone.limits())
}

fn found(sessions: &Sessions, key: Key, limits: &Limits) -> Result<Vec<u8>, Refusal> {
    let now = nginx::now();
    let session = sessions.lookup(key, now, limits).ok_or(NO_SESSION)?;
    let shown = sessions.with_address(session.server, |address| {
        let answer = Answer::Session {
            server: Text(address),
            age_ms: now.since(session.created).as_millis(),
            idle_ms: now.since(session.used).as_millis(),
        };
        Document::Answer(answer).to_json()
    });
    Ok(shown.ok_or(NO_SESSION)??)
}

fn forget(sessions: &Sessions, key: Key, limits: &Limits) -> Result<Vec<u8>, Refusal> {
    sessions.lookup(key, nginx::now(), limits).ok_or(NO_SESSION)?;
    sessions.forget(key);
    Ok(Document::Answer(Answer::Forgotten { forgotten: 1 }).to_json()?)
}

/// # Safety
/// `r` is a live request; the result must not outlive it.
unsafe fn read_request<'a>(r: *const ngx_http_request_t) -> Request<'a> {
    // SAFETY: by this function's contract, its strings live as long.
    unsafe {
        let core = nginx::conf::request_loc_conf::<ngx_http_core_loc_conf_t>(
            r,
            &raw const ngx_http_core_module,
        );
        let location = core.map_or(&[][..], |core| nginx::bytes(&core.name));
        let uri = nginx::bytes(&(*r).uri);
        let rest = uri.strip_prefix(location).unwrap_or_default();
        // "/sticky" is the prefix of "/stickyzones", too.
        let path = if rest.is_empty() || rest.starts_with(b"/") || location.ends_with(b"/") {
            rest
        } else {
            uri
        };
        Request {
            method: match (*r).method as u32 {
                NGX_HTTP_GET | NGX_HTTP_HEAD => Method::Get,
                NGX_HTTP_POST => Method::Post,
                NGX_HTTP_PATCH => Method::Patch,
                NGX_HTTP_DELETE => Method::Delete,
                _ => Method::Other,
            },
            path,
            arguments: nginx::bytes(&(*r).args),
            accept: header(r, b"accept").unwrap_or_default(),
            content_type: header(r, b"content-type").unwrap_or_default(),
            host: header(r, b"host").unwrap_or_default(),
            origin: header(r, b"origin"),
        }
    }
}

/// The value of a request's header: the last one, for a change needs all of them to be right.
///
/// # Safety
/// As above.
unsafe fn header<'a>(r: *const ngx_http_request_t, name: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    // SAFETY: nginx's lists of headers hold `nelts` elements in each part.
    unsafe {
        let mut part: *const ngx_list_part_t = &raw const (*r).headers_in.headers.part;
        while let Some(list) = part.as_ref() {
            for i in 0..list.nelts {
                let header = &*list.elts.cast::<ngx_table_elt_t>().add(i);
                if nginx::bytes(&header.key).eq_ignore_ascii_case(name) {
                    found = Some(nginx::bytes(&header.value));
                }
            }
            part = list.next;
        }
    }
    found
}

/// Lets a location with our handler take bodies as the handler wants them, whatever holds for
/// others: their size is checked there, and told of in JSON.
pub unsafe extern "C" fn merge_location(
    cf: *mut ngx_conf_t,
    _parent: *mut c_void,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes what `create_location` made, and has merged its core module's
    // configuration of the same location already.
    unsafe {
        if (*conf.cast::<LocationConf>()).api.is_some() {
            if let Some(core) = core_location(&*cf) {
                core.client_max_body_size = 0;
                core.client_body_buffer_size = core.client_body_buffer_size.max(MAX_BODY as usize);
                core.client_body_in_file_only = 0;
            }
        }
    }
    nginx::conf::conf_result(Ok(()))
}
