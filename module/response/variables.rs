//! `$upstream_sticky_status` and `$upstream_sticky_server`.

use nginx_sys::{
    ngx_conf_t, ngx_http_add_variable, ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t,
    ngx_uint_t, NGX_HTTP_VAR_NOCACHEABLE,
};

use crate::nginx::pool::string;
use crate::nginx::request::Request;
use crate::nginx::{ERROR, OK};
use crate::request::PeerData;
use crate::sticky;

type GetHandler = unsafe extern "C" fn(
    *mut ngx_http_request_t,
    *mut ngx_http_variable_value_t,
    usize,
) -> ngx_int_t;

const VARIABLES: [(&str, GetHandler); 2] =
    [("upstream_sticky_status", status), ("upstream_sticky_server", server)];

pub unsafe extern "C" fn add(cf: *mut ngx_conf_t) -> ngx_int_t {
    for (name, handler) in VARIABLES {
        let mut name = string(name.as_bytes());
        // SAFETY: nginx passes the configuration that it reads, and copies the name into its pool.
        unsafe {
            let variable =
                ngx_http_add_variable(cf, &mut name, NGX_HTTP_VAR_NOCACHEABLE as ngx_uint_t);
            let Some(variable) = variable.as_mut() else {
                return ERROR;
            };
            variable.get_handler = Some(handler);
        }
    }
    OK
}

unsafe extern "C" fn status(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request, and a value of it that only this call writes.
    let (r, v) = unsafe { (Request::new(r), &mut *v) };
    let shown = sticky::shown(r).map(|(status, _)| status);
    let status = shown.or_else(|| PeerData::last(r).map(PeerData::status));
    set(v, status.map(|status| status.as_str().as_bytes()));
    OK
}

unsafe extern "C" fn server(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request, and a value of it that only this call writes.
    let (r, v) = unsafe { (Request::new(r), &mut *v) };
    let copy = |address: &[u8]| r.pool().concat(&[address]);
    let bound = match sticky::shown(r) {
        Some((_, bound)) => bound.map(copy),
        None => PeerData::last(r).and_then(|data| data.with_bound_address(copy)),
    };
    match bound {
        Some(Some(address)) => set(v, Some(address)),
        Some(None) => return ERROR,
        None => set(v, None),
    }
    OK
}

/// Sets a variable's value; the text must live as long as the request.
fn set(v: &mut ngx_http_variable_value_t, text: Option<&[u8]>) {
    let Some(text) = text else { return v.set_not_found(1) };
    v.set_len(text.len() as _);
    v.data = text.as_ptr().cast_mut();
    v.set_valid(1);
    v.set_no_cacheable(1);
    v.set_not_found(0);
}
