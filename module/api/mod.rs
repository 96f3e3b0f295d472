//! `sticky_api`: the directive.

mod answer;
mod later;
pub mod report;
mod steer;
mod task;

use core::ffi::{c_char, c_void};

use affinity::status::MAX_BODY;
use nginx_sys::{ngx_command_t, ngx_conf_t, ngx_http_core_loc_conf_t, ngx_http_core_module};

use crate::conf::{Api, LocationConf};
use crate::nginx::conf::{conf_result, fail, Conf, Logged};

/// `sticky_api [write];`
pub unsafe extern "C" fn sticky_api(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads and what `create_location` made; no other
    // reference to either lives during this call.
    let (mut cf, conf) = unsafe { (Conf::new(cf), &mut *conf.cast::<LocationConf>()) };
    conf_result(read(&mut cf, conf))
}

fn read(cf: &mut Conf<'_>, conf: &mut LocationConf) -> Result<(), Logged> {
    if conf.api.is_some() {
        fail!(cf, "\"sticky_api\" directive is duplicate");
    }
    let write = match cf.args().get(1).copied() {
        None => false,
        Some(word) if word.as_bytes() == b"write" => true,
        Some(word) => fail!(cf, "invalid parameter \"{word}\", only \"write\" is known"),
    };
    let Some(core) = core_location(cf) else { return Err(Logged) };
    // The resource is the part of the path behind the location's name; a regular expression has none.
    #[cfg(ngx_feature = "pcre")]
    if !core.regex.is_null() {
        fail!(cf, "\"sticky_api\" needs a location without a regular expression");
    }
    core.handler = Some(task::handler);
    conf.api = Some(Api { write });
    Ok(())
}

/// The core module's configuration of the location that is read or merged.
fn core_location<'c>(cf: &'c mut Conf<'_>) -> Option<&'c mut ngx_http_core_loc_conf_t> {
    // SAFETY: `ngx_http_core_module` makes this type for a location, and `cf` stays borrowed.
    unsafe { cf.loc_conf(&raw const ngx_http_core_module) }
}

/// Sets the limits of request bodies for a location with our handler: the handler checks the size itself and
/// answers in JSON. To be called when the location is merged.
pub fn limit_bodies(cf: &mut Conf<'_>, conf: &LocationConf) {
    // nginx has merged the core module's configuration of this location before.
    if conf.api.is_some() {
        if let Some(core) = core_location(cf) {
            core.client_max_body_size = 0;
            core.client_body_buffer_size = core.client_body_buffer_size.max(MAX_BODY as usize);
            core.client_body_in_file_only = 0;
        }
    }
}
