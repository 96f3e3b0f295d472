//! The responses of `sticky_api`: a document, the page, or an error.

use affinity::status::{Document, Format, OutOfMemory, Refusal, Resource};
use nginx_sys::{ngx_int_t, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_OK};

use super::report;
use crate::conf::LocationConf;
use crate::nginx::request::Request;
use crate::nginx::send::{response, Head};

/// Sends a text in a format, or the error.
pub fn send(r: Request<'_>, format: Format, text: Result<Vec<u8>, Refusal>) -> ngx_int_t {
    let head = Head {
        status: NGX_HTTP_OK as u16,
        content_type: format.content_type(),
        headers: &[NO_STORE],
    };
    match text {
        Ok(text) => response(r, &head, text.into()),
        Err(refusal) => refuse(r, refusal),
    }
}

const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");

/// Sends the page.
pub fn show_page(r: Request<'_>) -> ngx_int_t {
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
    response(r, &head, include_bytes!("page.html")[..].into())
}

/// Sends an error in JSON.
pub fn refuse(r: Request<'_>, refusal: Refusal) -> ngx_int_t {
    let header = match refusal {
        Refusal { allow: Some(methods), .. } => Some(("Allow", methods)),
        // 503 is temporary here: a repeated request may succeed.
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
        Ok(text) => response(r, &head, text.into()),
        Err(OutOfMemory) => NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t,
    }
}

/// The text of a resource in a format.
pub fn show(r: Request<'_>, resource: &Resource<'_>, format: Format) -> Result<Vec<u8>, Refusal> {
    let report = report::collect(r, may_write(r))?;
    match format {
        Format::Prometheus => Ok(report.to_prometheus()?),
        _ => Ok(Document::of(&report, resource)?.to_json()?),
    }
}

/// Whether the location allows requests that change something.
pub fn may_write(r: Request<'_>) -> bool {
    let conf = LocationConf::of(r);
    conf.and_then(|conf| conf.api).is_some_and(|api| api.write)
}
