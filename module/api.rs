//! `sticky_api`: from nginx's request to a task, and from its outcome to nginx's response.

use core::ffi::{c_char, c_void};

use affinity::status::{
    Document, Format, Method, OutOfMemory, Refusal, Request, Resource, Task, NO_MEMORY, NO_RESOURCE,
};
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_discard_request_body, ngx_http_request_t, ngx_int_t, ngx_list_part_t, ngx_table_elt_t,
    NGX_HTTP_DELETE, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_OK, NGX_HTTP_PATCH, NGX_HTTP_POST,
};

use crate::conf::{Api, LocationConf};
use crate::nginx::{self, fail, Logged, OK};
use crate::report;
use crate::response::{self, Head};

/// `sticky_api [write];`
pub unsafe extern "C" fn sticky_api(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes itself and the configuration that `create_location` made.
    nginx::conf_result(unsafe { read(&mut *cf, &mut *conf.cast()) })
}

/// # Safety
/// `cf` is being read, at the directive.
unsafe fn read(cf: &mut ngx_conf_t, conf: &mut LocationConf) -> Result<(), Logged> {
    if conf.api.is_some() {
        fail!(cf, "\"sticky_api\" directive is duplicate");
    }
    // SAFETY: by this function's contract.
    let (args, core) = unsafe { (nginx::args(cf), core_location(cf)) };
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
    unsafe { nginx::loc_conf(cf, &raw const ngx_http_core_module) }
}

/// Does what a request asks for, or refuses it.
unsafe extern "C" fn handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request of a location that has our handler.
    unsafe {
        let write = may_write(r);
        let discarded = ngx_http_discard_request_body(r);
        if discarded != OK {
            return discarded;
        }
        match read_request(r).task(write) {
            Ok(Task::Show(resource, format)) => show(r, resource, format, write),
            Ok(_) => refuse(r, NO_RESOURCE),
            Err(refusal) => refuse(r, refusal),
        }
    }
}

/// # Safety
/// `r` is a live request of a location with our handler.
unsafe fn may_write(r: *const ngx_http_request_t) -> bool {
    // SAFETY: by this function's contract.
    let conf = unsafe {
        nginx::request_loc_conf::<LocationConf>(r, &raw const crate::ngx_http_sticky_learn_module)
    };
    conf.and_then(|conf| conf.api).is_some_and(|api| api.write)
}

/// # Safety
/// `r` is a live request; the result must not outlive it.
unsafe fn read_request<'a>(r: *const ngx_http_request_t) -> Request<'a> {
    // SAFETY: by this function's contract, its strings live as long.
    unsafe {
        let core =
            nginx::request_loc_conf::<ngx_http_core_loc_conf_t>(r, &raw const ngx_http_core_module);
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

/// # Safety
/// `r` is a live request that has not been answered.
unsafe fn show(
    r: *mut ngx_http_request_t,
    resource: Resource<'_>,
    format: Format,
    write: bool,
) -> ngx_int_t {
    // SAFETY: by this function's contract.
    unsafe {
        let Ok(report) = report::collect(r, write) else {
            return refuse(r, NO_MEMORY);
        };
        let text = match format {
            Format::Prometheus => report.to_prometheus(),
            _ => match Document::of(&report, &resource) {
                Ok(document) => document.to_json(),
                Err(refusal) => return refuse(r, refusal),
            },
        };
        answer(r, format, text)
    }
}

/// # Safety
/// As above.
unsafe fn answer(
    r: *mut ngx_http_request_t,
    format: Format,
    text: Result<Vec<u8>, OutOfMemory>,
) -> ngx_int_t {
    let head = Head {
        status: NGX_HTTP_OK as u16,
        content_type: format.content_type(),
        headers: &[NO_STORE],
    };
    // SAFETY: by this function's contract.
    match text {
        Ok(text) => unsafe { response::send(r, &head, text) },
        Err(OutOfMemory) => unsafe { refuse(r, NO_MEMORY) },
    }
}

const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");

/// # Safety
/// As above.
unsafe fn refuse(r: *mut ngx_http_request_t, refusal: Refusal) -> ngx_int_t {
    let allow = refusal.allow.map(|methods| ("Allow", methods));
    let head = Head {
        status: refusal.status,
        content_type: Format::Json.content_type(),
        headers: match &allow {
            Some(allow) => &[NO_STORE, *allow],
            None => &[NO_STORE],
        },
    };
    match Document::Refusal(refusal).to_json() {
        // SAFETY: by this function's contract.
        Ok(text) => unsafe { response::send(r, &head, text) },
        Err(OutOfMemory) => nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t,
    }
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
                core.client_body_buffer_size =
                    core.client_body_buffer_size.max(affinity::status::MAX_BODY as usize);
                core.client_body_in_file_only = 0;
            }
        }
    }
    nginx::conf_result(Ok(()))
}
