//! The list of directives, and `sticky_learn`: from the words of the configuration to [`Affinity`].

use core::cell::Cell;
use core::ffi::{c_char, c_void, CStr};
use core::ptr;

use affinity::policy::{Moment, Policy, Rules, Unavailable, Unknown};
use affinity::table::{Limits, Span};
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_parse_size, ngx_parse_time, ngx_str_t, ngx_uint_t, NGX_CONF_ANY,
    NGX_CONF_BLOCK, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET,
    NGX_HTTP_SRV_CONF_OFFSET, NGX_HTTP_UPS_CONF,
};

use crate::api;
use crate::conf::{Affinity, Lookup, MainConf, UpstreamConf, NO_HANDLER};
use crate::foreign::balancer_by_lua;
use crate::keepalive::keepalive;
use crate::nginx::{self, fail, Logged};
use crate::values::Value;
use crate::versions;
use crate::zone;

/// Idle time after which a session is forgotten, if the configuration does not say
/// (milliseconds): that of NGINX Plus.
const DEFAULT_TIMEOUT: u64 = 10 * 60 * 1000;
/// The same in MCP mode, whose SDKs keep a session for half an hour to two.
const DEFAULT_MCP_TIMEOUT: u64 = 60 * 60 * 1000;
/// How long a server may be unavailable before it is gone, if the configuration does not say
/// (milliseconds).
const DEFAULT_GONE_AFTER: u64 = 30 * 1000;
/// Longest time that the zone can tell from the past (milliseconds): four years.
pub const MAX_TIME: u64 = 4 * 365 * 24 * 3600 * 1000;

/// Those of every version, and one without a name that ends the list.
const COMMANDS_LEN: usize = 6 + versions::COMMANDS_LEN;

pub static mut COMMANDS: [ngx_command_t; COMMANDS_LEN] = {
    let mut commands = [const { empty() }; COMMANDS_LEN];
    commands[0] = command(c"sticky_learn", NGX_CONF_ANY, sticky_learn);
    commands[1] = command(c"keepalive", NGX_CONF_ANY, keepalive);
    commands[2] = ngx_command_t {
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1) as ngx_uint_t,
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        ..command(c"sticky_api", 0, api::sticky_api)
    };
    commands[3] = command(c"balancer_by_lua_block", NGX_CONF_BLOCK | NGX_CONF_ANY, balancer_by_lua);
    commands[4] = command(c"balancer_by_lua_file", NGX_CONF_ANY, balancer_by_lua);
    versions::add_commands(commands, 5)
};

pub type Handler =
    unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// A directive of `upstream {}`; nginx wants its name to end with a null.
pub const fn command(name: &'static CStr, arguments: u32, set: Handler) -> ngx_command_t {
    ngx_command_t {
        name: ngx_str_t { len: name.count_bytes(), data: name.as_ptr().cast_mut().cast() },
        type_: (NGX_HTTP_UPS_CONF | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_SRV_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

const fn empty() -> ngx_command_t {
    ngx_command_t {
        name: ngx_str_t::empty(),
        type_: 0,
        set: None,
        conf: 0,
        offset: 0,
        post: ptr::null_mut(),
    }
}

unsafe extern "C" fn sticky_learn(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes itself and the configuration that `create_upstream` made.
    nginx::conf_result(unsafe { read_sticky_learn(&mut *cf, &mut *conf.cast()) })
}

/// # Safety
/// `cf` is being read, at the directive.
unsafe fn read_sticky_learn(cf: &mut ngx_conf_t, conf: &mut UpstreamConf) -> Result<(), Logged> {
    refuse_second(cf, conf, "sticky_learn")?;

    let mut parameters = Parameters::default();
    // SAFETY: by this function's contract.
    unsafe {
        for &word in &nginx::args(cf)[1..] {
            parameters.read(cf, word)?;
        }
        // Without ids of its own, the directive follows those of MCP.
        let mcp = parameters.create.is_empty() && parameters.lookup.is_empty();
        conf.affinity = Some(parameters.finish(cf, Rules::Affinity, mcp)?);
    }
    Ok(())
}

/// Refuses all but the first directive that asks for sessions.
pub fn refuse_second(
    cf: &mut ngx_conf_t,
    conf: &mut UpstreamConf,
    name: &'static str,
) -> Result<(), Logged> {
    match conf.directive.replace(name) {
        None => Ok(()),
        Some(first) if first == name => fail!(cf, "\"{name}\" directive is duplicate"),
        Some(first) => {
            fail!(cf, "\"{name}\" conflicts with \"{first}\" in the same upstream, keep one")
        }
    }
}

/// What the words of a directive have said so far.
#[derive(Default)]
pub struct Parameters {
    /// Name and size; a size of zero stands for none.
    pub zone: Option<(ngx_str_t, usize)>,
    pub create: Vec<Value>,
    pub lookup: Vec<Value>,
    pub timeout: Option<Span>,
    bind: Option<Value>,
    lifetime: Option<Span>,
    gone_after: Option<Span>,
    unknown: Option<Unknown>,
    unavailable: Option<Unavailable>,
    /// A response teaches with its headers, also by the rules of NGINX Plus.
    pub header: bool,
}

impl Parameters {
    /// Reads a word of `sticky_learn`.
    ///
    /// # Safety
    /// `word` is a word of the directive that `cf` is at.
    unsafe fn read(&mut self, cf: &mut ngx_conf_t, word: ngx_str_t) -> Result<(), Logged> {
        let Some((name, text)) = split(&word) else {
            fail!(cf, "invalid parameter \"{word}\"");
        };
        match name {
            "zone" => once(cf, name, &mut self.zone, |cf| read_zone(cf, text))?,
            "timeout" => once(cf, name, &mut self.timeout, |cf| read_time(cf, name, text))?,
            // SAFETY: by this function's contract, `text` lies in the configuration's pool.
            "create" => self.create.push(unsafe { Value::compile(cf, name, text)? }),
            // SAFETY: as above.
            "lookup" => self.lookup.push(unsafe { Value::compile(cf, name, text)? }),
            "lifetime" => once(cf, name, &mut self.lifetime, |cf| read_time(cf, name, text))?,
            "gone_after" => once(cf, name, &mut self.gone_after, |cf| read_time(cf, name, text))?,
            "unknown" => once(cf, name, &mut self.unknown, |cf| {
                choose(
                    cf,
                    name,
                    text,
                    &[("balance", Unknown::Balance), ("reject", Unknown::Reject)],
                )
            })?,
            "unavailable" => once(cf, name, &mut self.unavailable, |cf| {
                choose(
                    cf,
                    name,
                    text,
                    &[
                        ("balance", Unavailable::Balance),
                        ("rebind", Unavailable::Rebind),
                        ("reject", Unavailable::Reject),
                    ],
                )
            })?,
            "bind" => once(cf, name, &mut self.bind, |cf| {
                // SAFETY: by this function's contract, `text` lies in the configuration's pool.
                unsafe { Value::compile(cf, name, text) }
            })?,
            _ => fail!(
                cf,
                "invalid parameter \"{word}\", only \"zone\", \"create\", \"lookup\", \"timeout\", \"lifetime\", \
                 \"unknown\", \"unavailable\", \"gone_after\" and \"bind\" are known"
            ),
        }
        Ok(())
    }

    /// Checks that all is there, fills in defaults and joins the zone.
    ///
    /// # Safety
    /// `cf` is being read, at the directive.
    pub unsafe fn finish(
        self,
        cf: &mut ngx_conf_t,
        rules: Rules,
        mcp: bool,
    ) -> Result<Affinity, Logged> {
        for (name, values) in [("create", &self.create), ("lookup", &self.lookup)] {
            if values.is_empty() && !mcp {
                fail!(cf, "\"{name}\" parameter is not specified");
            }
        }
        let Some((name, size)) = self.zone else {
            fail!(cf, "\"zone\" parameter is not specified");
        };
        let limits = Limits {
            timeout: self.timeout.unwrap_or(Span::from_millis(match mcp {
                true => DEFAULT_MCP_TIMEOUT,
                false => DEFAULT_TIMEOUT,
            })),
            lifetime: self.lifetime,
        };
        let policy = Policy {
            rules,
            learn: if rules == Rules::Affinity || self.header {
                Moment::Header
            } else {
                Moment::End
            },
            unknown: self.unknown.unwrap_or(if mcp { Unknown::Reject } else { Unknown::Balance }),
            unavailable: self.unavailable.unwrap_or(match (mcp, rules) {
                (true, _) => Unavailable::Reject,
                (false, Rules::Affinity) => Unavailable::Rebind,
                (false, Rules::Plus) => Unavailable::Balance,
            }),
            gone_after: self.gone_after.unwrap_or(Span::from_millis(DEFAULT_GONE_AFTER)),
            mcp,
        };
        // SAFETY: by this function's contract.
        let (zone, main) = unsafe {
            let module = &raw const crate::ngx_http_sticky_learn_module;
            (
                zone::join(cf, name, size, &limits, policy.gone_after)?,
                nginx::main_conf::<MainConf>(cf, module),
            )
        };
        let Some(main) = main else { return Err(Logged) };
        main.filters.header = true;
        main.filters.body |= mcp || policy.learn == Moment::End;
        let (mut create, mut lookup) = (self.create, Lookup::Values(self.lookup));
        if mcp {
            let header = "$sent_http_mcp_session_id";
            let text = ngx_str_t { len: header.len(), data: header.as_ptr().cast_mut() };
            // SAFETY: the text is never changed, and lives for ever.
            create.push(unsafe { Value::compile(cf, "create", text)? });
            lookup = Lookup::Mcp;
        }
        main.expects |= match &lookup {
            Lookup::Values(values) => values.first().is_some_and(Value::is_request_header),
            Lookup::Mcp => true,
        };
        let last_handler = Cell::new(NO_HANDLER);
        Ok(Affinity { zone, create, lookup, bind: self.bind, limits, policy, last_handler })
    }
}

/// Name and value of a `name=value` word.
pub fn split(word: &ngx_str_t) -> Option<(&str, ngx_str_t)> {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=')?;
    let name = core::str::from_utf8(&bytes[..at]).ok()?;
    let (_, text) = word.split_at(at + 1)?;
    Some((name, text))
}

fn once<T>(
    cf: &mut ngx_conf_t,
    name: &str,
    slot: &mut Option<T>,
    read: impl FnOnce(&mut ngx_conf_t) -> Result<T, Logged>,
) -> Result<(), Logged> {
    if slot.is_some() {
        fail!(cf, "duplicate \"{name}\" parameter");
    }
    *slot = Some(read(cf)?);
    Ok(())
}

/// `NAME[:SIZE]`; a size of zero stands for none.
fn read_zone(cf: &mut ngx_conf_t, text: ngx_str_t) -> Result<(ngx_str_t, usize), Logged> {
    let bytes = text.as_bytes();
    let colon = bytes.iter().position(|&byte| byte == b':');
    let name = match text.split_at(colon.unwrap_or(text.len)) {
        Some((name, _)) if !name.is_empty() => name,
        _ => fail!(cf, "invalid zone name \"{text}\""),
    };
    let Some((_, mut size)) = colon.and_then(|at| text.split_at(at + 1)) else {
        return Ok((name, 0));
    };
    // SAFETY: nginx reads the string only.
    let parsed = unsafe { ngx_parse_size(&mut size) };
    match usize::try_from(parsed) {
        Ok(bytes) if bytes >= zone::min_size() => Ok((name, bytes)),
        Ok(_) => {
            fail!(cf, "zone \"{name}\" is too small, it needs {}k or more", zone::min_size() / 1024)
        }
        Err(_) => fail!(cf, "invalid zone size \"{text}\""),
    }
}

fn read_time(cf: &mut ngx_conf_t, name: &str, mut text: ngx_str_t) -> Result<Span, Logged> {
    // SAFETY: nginx reads the string only.
    let milliseconds = unsafe { ngx_parse_time(&mut text, 0) };
    match u64::try_from(milliseconds) {
        Ok(0) => fail!(cf, "\"{name}\" must be longer than zero"),
        Ok(ms) if ms <= MAX_TIME => Ok(Span::from_millis(ms)),
        Ok(_) => fail!(cf, "\"{name}={text}\" is too long, at most 4 years are possible"),
        Err(_) => fail!(cf, "invalid time \"{name}={text}\""),
    }
}

fn choose<T: Copy>(
    cf: &mut ngx_conf_t,
    name: &str,
    text: ngx_str_t,
    choices: &[(&str, T)],
) -> Result<T, Logged> {
    for (word, value) in choices {
        if text.as_bytes() == word.as_bytes() {
            return Ok(*value);
        }
    }
    let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    fail!(cf, "invalid value \"{name}={text}\", it must be {}", words.join(" or "));
}
