//! Warnings at the start about locations whose settings are wrong for the MCP servers that they lead to.
//!
//! nginx accepts these settings, and most requests work with them: users find out late. Each location is
//! noted when it is merged, and looked at when all are: the modules that pass requests merge after this one.

use core::ffi::c_uint;

use nginx_sys::{
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_upstream_conf_t, ngx_msec_t,
    ngx_uint_t, NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT, NGX_LOG_WARN,
};

use crate::conf::location::passing;
use crate::conf::{MainConf, Passing, UpstreamConf};
use crate::nginx::conf::Conf;
use crate::nginx::pool::string;

/// The longest silence of a stream that is too short (milliseconds): nginx's default. Not all servers send
/// pings.
const SHORT_SILENCE: ngx_msec_t = 60_000;

extern "C" {
    fn sticky_learn_caches(conf: *const ngx_http_upstream_conf_t) -> c_uint;
}

/// Notes the location that is merged, if it leads to an upstream that wants warnings.
pub fn note_location(cf: &mut Conf<'_>) {
    if !MainConf::of(cf).is_some_and(|main| main.warns) {
        return;
    }
    // SAFETY: `ngx_http_core_module` makes this type for a location; the reference is used for two words.
    let core = unsafe { cf.loc_conf::<ngx_http_core_loc_conf_t>(&raw const ngx_http_core_module) };
    let Some(name) = core.filter(|core| core.handler.is_some()).map(|core| core.name) else {
        return;
    };
    let Some(passing) = passing(cf, name) else { return };
    let wanted = UpstreamConf::of(passing.upstream)
        .and_then(UpstreamConf::affinity)
        .is_some_and(|affinity| affinity.warns.get());
    if let (true, Some(main)) = (wanted, MainConf::of(cf)) {
        main.noted.push(passing);
    }
}

/// Writes the warnings: one of a kind for an upstream. What another location of the upstream has right is not
/// warned of: this one may be for something else that its servers have, such as metadata of OAuth.
pub fn warn(cf: &mut Conf<'_>) {
    let noted = MainConf::of(cf).map(|main| core::mem::take(&mut main.noted)).unwrap_or_default();
    for fault in [Fault::Buffers, Fault::IsShort, Fault::Repeats, Fault::Caches] {
        for (at, first) in noted.iter().enumerate() {
            let same = |other: &&Passing| other.upstream.raw() == first.upstream.raw();
            let is_first = !noted[..at].iter().any(|other| same(&other));
            let mut all = noted[at..].iter().filter(same);
            let found = match fault {
                // A tool is run twice wherever its call comes in.
                Fault::Repeats => all.find(|noted| noted.has(fault)),
                _ => all.all(|noted| noted.has(fault)).then_some(first),
            };
            if let (true, Some(noted)) = (is_first, found) {
                noted.tell(cf, fault);
            }
        }
    }
}

/// What is wrong with a location.
#[derive(Clone, Copy)]
enum Fault {
    Buffers,
    IsShort,
    Repeats,
    Caches,
}

impl Passing {
    /// The part of the location's configuration that all these modules have. To be called when it is merged.
    fn settings(&self) -> &ngx_http_upstream_conf_t {
        // SAFETY: the configuration begins with this type and lives as long as `cf` (see `Passing`).
        unsafe { &*self.conf }
    }

    fn has(&self, fault: Fault) -> bool {
        let conf = self.settings();
        match fault {
            Fault::Buffers => conf.buffering != 0,
            Fault::IsShort => conf.read_timeout <= SHORT_SILENCE,
            Fault::Repeats => {
                conf.next_upstream & NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT as ngx_uint_t != 0
            }
            // SAFETY: C reads the configuration.
            Fault::Caches => unsafe { sticky_learn_caches(conf) != 0 },
        }
    }

    fn tell(&self, cf: &Conf<'_>, fault: Fault) {
        let Passing { location, directives: of, upstream, .. } = *self;
        let what = match fault {
            Fault::Buffers => {
                format!("delays events, since it buffers responses: use \"{of}_buffering off\"")
            }
            Fault::IsShort => format!(
                "ends streams and calls of tools that are silent for {}s: use \"{of}_read_timeout 1h\"",
                self.settings().read_timeout as f64 / 1000.0
            ),
            Fault::Repeats => {
                format!("may run a tool twice: remove \"non_idempotent\" from \"{of}_next_upstream\"")
            }
            Fault::Caches => format!(
                "may answer from a cache what is of one session only: use \"{of}_cache off\""
            ),
        };
        let (file, line) = upstream.place();
        ngx::ngx_log_error!(
            NGX_LOG_WARN,
            cf.log(),
            "location \"{location}\" {what} (MCP servers of upstream \"{}\" in {file}:{line})",
            string(upstream.name())
        );
    }
}
