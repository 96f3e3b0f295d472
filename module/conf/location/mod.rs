//! Which upstream a location leads to, where its directive names it (`proxy_pass http://NAME`).

pub mod advice;

use core::ffi::{c_uint, CStr};
use core::mem::offset_of;
use core::ptr;

use nginx_sys::{
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_upstream_conf_t,
    ngx_http_upstream_srv_conf_t, ngx_module_t, ngx_str_t,
};

use crate::conf::{LocationConf, MainConf, Passing};
use crate::nginx::conf::Conf;
use crate::nginx::upstream::Block;

/// nginx's modules whose configuration of a location begins with an `ngx_http_upstream_conf_t`. Its
/// `upstream` is null if a variable names the upstream.
/// With it, what the names of the module's directives begin with.
const MODULES: [(&CStr, &str); 5] = [
    (c"ngx_http_proxy_module", "proxy"),
    (c"ngx_http_fastcgi_module", "fastcgi"),
    (c"ngx_http_uwsgi_module", "uwsgi"),
    (c"ngx_http_scgi_module", "scgi"),
    (c"ngx_http_grpc_module", "grpc"),
];

/// What such a configuration begins with.
type FirstField = *mut ngx_http_upstream_srv_conf_t;

const _: () = assert!(offset_of!(ngx_http_upstream_conf_t, upstream) == 0);

// The bit fields of a location begin with a word, so bindgen places them right.
const _: () =
    assert!(offset_of!(ngx_http_core_loc_conf_t, _bitfield_1) % align_of::<c_uint>() == 0);

/// Stores the upstream that a location leads to. To be called when the location is merged. The modules of
/// [`MODULES`] are behind this one and have not merged yet: an upstream is set only if a directive of this
/// location names it, and the content handler is that directive's.
pub fn note_upstream(cf: &mut Conf<'_>, parent: &LocationConf, conf: &LocationConf) {
    if !MainConf::of(cf).is_some_and(|main| main.asks) {
        return;
    }
    // SAFETY: `ngx_http_core_module` makes this type for a location; the reference is used for two words.
    let core = unsafe { cf.loc_conf::<ngx_http_core_loc_conf_t>(&raw const ngx_http_core_module) };
    let Some((name, is_nameless, has_handler)) =
        core.map(|core| (core.name, core.noname() != 0, core.handler.is_some()))
    else {
        return;
    };
    conf.upstream.set(match (has_handler, is_nameless) {
        (true, _) => passing(cf, name).map(|passing| passing.upstream),
        // `if` and `limit_except` without a handler take over that of the location around them.
        (false, true) => parent.upstream.get(),
        (false, false) => None,
    });
}

/// The directive that names an upstream in the location that is merged; `None` if there is none or several.
pub(super) fn passing(cf: &mut Conf<'_>, location: ngx_str_t) -> Option<Passing> {
    let mut named = None;
    for module in cf.modules() {
        let name = module_name(module);
        let Some((_, directives)) = MODULES.iter().find(|known| known.0 == name) else { continue };
        // SAFETY: the first field of what the module makes for a location (see `FirstField`).
        let first = unsafe { cf.loc_conf::<FirstField>(module) };
        let Some((upstream, conf)) = first.map(|first| (*first, ptr::from_ref(first).cast()))
        else {
            continue;
        };
        if upstream.is_null() {
            continue;
        }
        // A module whose configuration begins differently does not have one of nginx's upstreams there.
        if named.is_some() || !cf.upstreams().any(|block| block.raw() == upstream) {
            return None;
        }
        // SAFETY: one of nginx's upstreams; the configuration outlives its requests.
        let upstream = unsafe { Block::new(upstream) };
        named = Some(Passing { location, directives, conf, upstream });
    }
    named
}

fn module_name(module: &ngx_module_t) -> &CStr {
    // SAFETY: nginx has set the name of each module in its list.
    unsafe { CStr::from_ptr(module.name) }
}
