//! `server` of an upstream, with `route=` and `drain`.
//!
//! nginx's own handler rejects both parameters. This handler runs before nginx's, removes them from the
//! directive, and calls nginx's for the rest. A draining server is down for every balancer. Its value of
//! `down` is a special one, which nginx keeps where peers are copied or resolved: only a bound request may
//! take the server.

use core::ffi::{c_char, c_void};

use nginx_sys::{ngx_command_t, ngx_conf_t, ngx_uint_t};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};

use crate::conf::UpstreamConf;
use crate::nginx::conf::{fail, Conf, Logged, Word};
use crate::nginx::native::Native;
use crate::peers::list::DRAINING;

/// Longest route that nginx allows.
const MAX_ROUTE: usize = 32;

/// Our parameters of the directive.
#[derive(Default)]
struct Words {
    route: Word,
    /// If a server has both `drain` and `down`, the last one counts.
    down: Option<ngx_uint_t>,
}

/// nginx's own `server`, with our parameters.
pub unsafe extern "C" fn server(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads and what `create_upstream` made; no other
    // reference to either lives during this call.
    let (mut cf, conf) = unsafe { (Conf::new(cf), &mut *conf.cast::<UpstreamConf>()) };
    let Ok(native) = Native::find(&mut cf, c"ngx_http_upstream_module") else {
        return NGX_CONF_ERROR;
    };
    let Ok(words) = take_out(&mut cf) else {
        return NGX_CONF_ERROR;
    };
    let result = native.read(&mut cf);
    if result == NGX_CONF_OK {
        let Some(block) = cf.block() else { return NGX_CONF_ERROR };
        let last = block.servers().len() - 1;
        if let Some(down) = words.down {
            block.set_server_down(last, down);
        }
        conf.ids.set_route(last, words.route);
    }
    result
}

/// Removes our parameters from the directive.
fn take_out(cf: &mut Conf<'_>) -> Result<Words, Logged> {
    const ROUTE: usize = "route=".len();

    let mut words = Words::default();
    let mut kept = Vec::new();
    for (place, word) in cf.args().to_vec().into_iter().enumerate() {
        match word.as_bytes() {
            b"drain" if place > 1 => words.down = Some(DRAINING),
            text if place > 1 && text.starts_with(b"route=") => {
                let route = word.split_at(ROUTE).map(|(_, route)| route).unwrap_or_default();
                words.route = read_route(cf, route)?;
            }
            text => {
                if place > 1 && text == b"down" {
                    words.down = Some(1);
                }
                kept.push(word);
            }
        }
    }
    cf.set_args(&kept);
    Ok(words)
}

fn read_route(cf: &mut Conf<'_>, route: Word) -> Result<Word, Logged> {
    if route.is_empty() {
        fail!(cf, "route is empty");
    }
    if route.as_bytes().len() > MAX_ROUTE {
        fail!(cf, "route is longer than {MAX_ROUTE}");
    }
    Ok(route)
}
