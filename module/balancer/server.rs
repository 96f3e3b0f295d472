//! `server` of an upstream, with `route=` and `drain`.
//!
//! nginx's own handler refuses both. So we read the directive first, take out what is ours, and
//! let nginx read the rest. A draining server is down for every balancer, with a value of its own
//! that nginx passes on wherever peers are copied or resolved: only a bound request may take it.

use core::ffi::{c_char, c_void};

use nginx_sys::{ngx_command_t, ngx_conf_t, ngx_http_upstream_server_t, ngx_str_t, ngx_uint_t};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};

use crate::conf::UpstreamConf;
use crate::nginx;
use crate::nginx::conf::{fail, Logged};
use crate::nginx::native::{self, Native};
use crate::peers::list::DRAINING;

/// Longest route that nginx takes.
const MAX_ROUTE: usize = 32;

/// What the words of the directive say that nginx shall not see.
#[derive(Default)]
struct Words {
    route: ngx_str_t,
    /// What a server is that says both, `drain` and `down`, decides the last word.
    down: Option<ngx_uint_t>,
}

/// nginx's own `server`, with our parameters.
pub unsafe extern "C" fn server(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx is reading an `upstream {}`; `conf` is our configuration of it.
    unsafe {
        let cf = &mut *cf;
        let conf = &mut *conf.cast::<UpstreamConf>();
        let Ok(native) = Native::find(cf, c"ngx_http_upstream_module") else {
            return NGX_CONF_ERROR;
        };
        let Ok(words) = take_out(cf) else {
            return NGX_CONF_ERROR;
        };
        let result = native.read(cf);
        if result == NGX_CONF_OK {
            let servers = &*native::upstream(cf).servers;
            let last = servers.elts.cast::<ngx_http_upstream_server_t>().add(servers.nelts - 1);
            if let Some(down) = words.down {
                (*last).down = down;
            }
            conf.sticky.ids.set_route(servers.nelts - 1, words.route);
        }
        result
    }
}

/// # Safety
/// `cf` is being read, at the directive.
unsafe fn take_out(cf: &mut ngx_conf_t) -> Result<Words, Logged> {
    const ROUTE: &[u8] = b"route=";

    let mut words = Words::default();
    let mut kept = Vec::new();
    // SAFETY: nginx reads the array of words anew for each directive; it only gets shorter here.
    unsafe {
        for (place, &word) in nginx::conf::args(cf).iter().enumerate() {
            match word.as_bytes() {
                b"drain" if place > 1 => words.down = Some(DRAINING),
                text if place > 1 && text.starts_with(ROUTE) => {
                    words.route = read_route(cf, &text[ROUTE.len()..])?;
                }
                text => {
                    if place > 1 && text == b"down" {
                        words.down = Some(1);
                    }
                    kept.push(word);
                }
            }
        }
        let args = &mut *cf.args;
        args.elts.cast::<ngx_str_t>().copy_from_nonoverlapping(kept.as_ptr(), kept.len());
        args.nelts = kept.len();
    }
    Ok(words)
}

fn read_route(cf: &mut ngx_conf_t, text: &[u8]) -> Result<ngx_str_t, Logged> {
    if text.is_empty() {
        fail!(cf, "route is empty");
    }
    if text.len() > MAX_ROUTE {
        fail!(cf, "route is longer than {MAX_ROUTE}");
    }
    Ok(ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() })
}
