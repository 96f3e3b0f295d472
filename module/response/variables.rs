//! `$upstream_sticky_status` and `$upstream_sticky_server`.

use nginx_sys::{
    ngx_conf_t, ngx_http_add_variable, ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t,
    ngx_str_t, ngx_uint_t, NGX_HTTP_VAR_NOCACHEABLE,
};

use crate::nginx::{self, ERROR, OK};
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
        let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        // SAFETY: nginx copies the name into the pool of its configuration.
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
    // SAFETY: nginx passes a live request and the value to fill in.
    unsafe {
        let shown = sticky::shown(r).map(|(status, _)| status);
        match shown.or_else(|| PeerData::last(r).map(PeerData::status)) {
            Some(status) => set(v, status.as_str().as_bytes()),
            None => set_not_found(v),
        }
    }
    OK
}

unsafe extern "C" fn server(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    _data: usize,
) -> ngx_int_t {
    // SAFETY: as above; the text is copied into the request's pool.
    unsafe {
        let copy = |address: &[u8]| ngx_str_t::from_bytes((*r).pool, address);
        let bound = match sticky::shown(r) {
            Some((_, bound)) => bound.map(copy),
            None => PeerData::last(r).and_then(|data| data.with_bound_address(copy)),
        };
        match bound {
            Some(Some(address)) => set(v, nginx::bytes(&address)),
            Some(None) => return ERROR,
            None => set_not_found(v),
        }
    }
    OK
}

/// # Safety
/// `v` is nginx's; `text` outlives the request.
unsafe fn set(v: *mut ngx_http_variable_value_t, text: &[u8]) {
    // SAFETY: by this function's contract.
    let v = unsafe { &mut *v };
    v.set_len(text.len() as _);
    v.data = text.as_ptr().cast_mut();
    v.set_valid(1);
    v.set_no_cacheable(1);
    v.set_not_found(0);
}

/// # Safety
/// `v` is nginx's.
unsafe fn set_not_found(v: *mut ngx_http_variable_value_t) {
    // SAFETY: by this function's contract.
    unsafe { (*v).set_not_found(1) };
}
