//! What `sticky_api` answers: a document, the page, or a refusal.

use affinity::status::{Document, Format, OutOfMemory, Refusal, Resource};
use nginx_sys::{ngx_http_request_t, ngx_int_t, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_OK};

use crate::api::report;
use crate::conf::LocationConf;
use crate::nginx::send::{self as response, Head};

/// # Safety
/// `r` is a live request that has not been answered.
pub unsafe fn send(
    r: *mut ngx_http_request_t,
    format: Format,
    text: Result<Vec<u8>, Refusal>,
) -> ngx_int_t {
    let head = Head {
        status: NGX_HTTP_OK as u16,
        content_type: format.content_type(),
        headers: &[NO_STORE],
    };
    match text {
        // SAFETY: by this function's contract.
        Ok(text) => unsafe { response::send(r, &head, text.into()) },
        // SAFETY: as above.
        Err(refusal) => unsafe { refuse(r, refusal) },
    }
}

const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");

/// # Safety
/// As above.
pub unsafe fn show_page(r: *mut ngx_http_request_t) -> ngx_int_t {
    let head = Head {
        status: NGX_HTTP_OK as u16,
        content_type: Format::Page.content_type(),
        headers: &[
            NO_STORE,
            ("Content-Security-Policy", env!("PAGE_POLICY")),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
        ],
    };
    // SAFETY: by this function's contract.
    unsafe { response::send(r, &head, include_bytes!("page.html")[..].into()) }
}

/// # Safety
/// As above.
pub unsafe fn refuse(r: *mut ngx_http_request_t, refusal: Refusal) -> ngx_int_t {
    let header = match refusal {
        Refusal { allow: Some(methods), .. } => Some(("Allow", methods)),
        // Those that ask again find it over.
        Refusal { status: 503, .. } => Some(("Retry-After", "1")),
        _ => None,
    };
    let head = Head {
        status: refusal.status,
        content_type: Format::Json.content_type(),
        headers: match &header {
            Some(header) => &[NO_STORE, *header],
            None => &[NO_STORE],
        },
    };
    match Document::Refusal(refusal).to_json() {
        // SAFETY: by this function's contract.
        Ok(text) => unsafe { response::send(r, &head, text.into()) },
        Err(OutOfMemory) => NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t,
    }
}

/// # Safety
/// As above.
pub unsafe fn show(
    r: *mut ngx_http_request_t,
    resource: &Resource<'_>,
    format: Format,
) -> Result<Vec<u8>, Refusal> {
    // SAFETY: by this function's contract.
    let report = unsafe { report::collect(r, may_write(r))? };
    match format {
        Format::Prometheus => Ok(report.to_prometheus()?),
        _ => Ok(Document::of(&report, resource)?.to_json()?),
    }
}

/// # Safety
/// `r` is a live request of a location with our handler.
pub unsafe fn may_write(r: *const ngx_http_request_t) -> bool {
    // SAFETY: by this function's contract.
    let conf = unsafe { LocationConf::of(r) };
    conf.and_then(|conf| conf.api).is_some_and(|api| api.write)
}
