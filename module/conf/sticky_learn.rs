//! `sticky_learn`: reads the parameters of the directive into [`Affinity`].

use core::cell::Cell;
use core::ffi::{c_char, c_void};

use affinity::policy::{Moment, Policy, Rules, Unavailable, Unknown};
use affinity::table::{Limits, Span};
use nginx_sys::{ngx_command_t, ngx_conf_t, ngx_parse_size};

use crate::conf::value::Value;
use crate::conf::words::{choose, once, read_time};
use crate::conf::{Affinity, Asked, Lookup, MainConf, UpstreamConf, NO_HANDLER};
use crate::nginx::conf::{conf_result, fail, Conf, Logged, Word};
use crate::zone;

/// Default of `timeout`, the idle time after which a session expires (milliseconds): that of NGINX Plus.
const DEFAULT_TIMEOUT: u64 = 10 * 60 * 1000;

/// Default of `timeout` in MCP mode (milliseconds): the SDKs keep a session for 30 minutes to 2 hours.
const DEFAULT_MCP_TIMEOUT: u64 = 60 * 60 * 1000;

/// Default of `gone_after`, the time for which a server is unreachable before it counts as gone
/// (milliseconds).
const DEFAULT_GONE_AFTER: u64 = 30 * 1000;

/// The name of the directive.
const NAME: &str = "sticky_learn";

pub unsafe extern "C" fn sticky_learn(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads and what `create_upstream` made; no other
    // reference to either lives during this call.
    let (mut cf, conf) = unsafe { (Conf::new(cf), &mut *conf.cast::<UpstreamConf>()) };
    conf_result(read(&mut cf, conf))
}

fn read(cf: &mut Conf<'_>, conf: &mut UpstreamConf) -> Result<(), Logged> {
    refuse_second(cf, conf, NAME)?;

    let mut parameters = Parameters::default();
    for word in cf.args().to_vec().into_iter().skip(1) {
        parameters.read(cf, word)?;
    }
    // Without `create` and `lookup` the directive is in MCP mode.
    let mcp = parameters.create.is_empty() && parameters.lookup.is_empty();
    conf.asked = Asked::Sessions(NAME, parameters.finish(cf, Rules::Affinity, mcp)?);
    Ok(())
}

/// Rejects a second directive with sessions in the same upstream.
pub fn refuse_second(
    cf: &mut Conf<'_>,
    conf: &UpstreamConf,
    name: &'static str,
) -> Result<(), Logged> {
    match conf.directive() {
        None => Ok(()),
        Some(first) if first == name => fail!(cf, "\"{name}\" directive is duplicate"),
        Some(first) => {
            fail!(cf, "\"{name}\" conflicts with \"{first}\" in the same upstream, keep one")
        }
    }
}

/// The parameters that have been read so far.
#[derive(Default)]
pub struct Parameters {
    /// Name and size; the size is zero if none is given.
    pub zone: Option<(Word, usize)>,
    pub create: Vec<Value>,
    pub lookup: Vec<Value>,
    pub timeout: Option<Span>,
    bind: Option<Value>,
    /// The file of the zone, an absolute path.
    file: Option<Word>,
    /// The name of a `sticky_share`.
    share: Option<Word>,
    lifetime: Option<Span>,
    gone_after: Option<Span>,
    unknown: Option<Unknown>,
    unavailable: Option<Unavailable>,
    /// The parameter `header` of `sticky learn`: sessions are learned from the headers of a response.
    pub header: bool,
}

impl Parameters {
    /// Reads a parameter of `sticky_learn`.
    fn read(&mut self, cf: &mut Conf<'_>, word: Word) -> Result<(), Logged> {
        let Some((name, text)) = word.split() else {
            fail!(cf, "invalid parameter \"{word}\"");
        };
        match name {
            "zone" => once(cf, name, &mut self.zone, |cf| read_zone(cf, text))?,
            "timeout" => once(cf, name, &mut self.timeout, |cf| read_time(cf, name, text))?,
            "create" => self.create.push(Value::compile(cf, name, text)?),
            "lookup" => self.lookup.push(Value::compile(cf, name, text)?),
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
            "file" => once(cf, name, &mut self.file, |cf| read_file(cf, text))?,
            "share" => once(cf, name, &mut self.share, |cf| match text.is_empty() {
                true => fail!(cf, "\"share\" is empty, it must be the name of a \"sticky_share\""),
                false => Ok(text),
            })?,
            "bind" => once(cf, name, &mut self.bind, |cf| Value::compile(cf, name, text))?,
            _ => fail!(
                cf,
                "invalid parameter \"{word}\", only \"zone\", \"file\", \"share\", \"create\", \"lookup\", \"timeout\", \"lifetime\", \
                 \"unknown\", \"unavailable\", \"gone_after\" and \"bind\" are known"
            ),
        }
        Ok(())
    }

    /// Checks that no parameter is missing, sets the defaults and joins the zone.
    pub fn finish(self, cf: &mut Conf<'_>, rules: Rules, mcp: bool) -> Result<Affinity, Logged> {
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
        let (zone, is_new) = zone::join(cf, name, size, self.file, &limits, policy.gone_after)?;
        let (mut create, mut lookup) = (self.create, Lookup::Values(self.lookup));
        if mcp {
            let text = Word::fixed("$sent_http_mcp_session_id");
            create.push(Value::compile(cf, "create", text)?);
            lookup = Lookup::Mcp;
        }
        let Some(main) = MainConf::of(cf) else { return Err(Logged) };
        if is_new {
            main.zones.push(zone);
        }
        main.filters.header = true;
        main.filters.body |= mcp || policy.learn == Moment::End;
        main.filters.request_body |= mcp && policy.unknown == Unknown::Reject;
        main.prefetches |= match &lookup {
            Lookup::Values(values) => values.first().is_some_and(Value::is_request_header),
            Lookup::Mcp => true,
        };
        let last_handler = Cell::new(NO_HANDLER);
        let (bind, share) = (self.bind, self.share);
        Ok(Affinity {
            zone,
            create,
            lookup,
            bind,
            limits,
            policy,
            last_handler,
            source: None,
            share,
        })
    }
}

/// Reads the path of a file; a relative one begins at nginx's prefix.
fn read_file(cf: &mut Conf<'_>, text: Word) -> Result<Word, Logged> {
    match text.as_bytes() {
        [] | [.., b'/'] => fail!(cf, "invalid file \"{text}\""),
        _ => cf.full_name(text),
    }
}

/// Reads `NAME[:SIZE]`; the size is zero if none is given.
fn read_zone(cf: &mut Conf<'_>, text: Word) -> Result<(Word, usize), Logged> {
    let bytes = text.as_bytes();
    let colon = bytes.iter().position(|&byte| byte == b':');
    let name = match text.split_at(colon.unwrap_or(bytes.len())) {
        Some((name, _)) if !name.is_empty() => name,
        _ => fail!(cf, "invalid zone name \"{text}\""),
    };
    let Some((_, size)) = colon.and_then(|at| text.split_at(at + 1)) else {
        return Ok((name, 0));
    };
    // SAFETY: nginx only reads the string, which lives as long as the configuration.
    let parsed = unsafe { ngx_parse_size(&mut size.raw()) };
    match usize::try_from(parsed) {
        Ok(bytes) if bytes >= zone::size::min_size() => Ok((name, bytes)),
        Ok(_) => {
            fail!(
                cf,
                "zone \"{name}\" is too small, it needs {}k or more",
                zone::size::min_size() / 1024
            )
        }
        Err(_) => fail!(cf, "invalid zone size \"{text}\""),
    }
}
