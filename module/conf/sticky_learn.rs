//! `sticky_learn`: reads the parameters of the directive into [`Affinity`].

use core::cell::Cell;
use core::ffi::{c_char, c_void};

use affinity::policy::{Moment, Policy, Rules, Unavailable, Unknown};
use affinity::revive::Store;
use affinity::table::{Limits, Span};
use nginx_sys::{ngx_command_t, ngx_conf_t, ngx_parse_size};

use crate::conf::revive::Revive;
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

/// What happens to a session whose server is gone.
#[derive(Clone, Copy)]
enum Gone {
    Reject,
    Revive,
}

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
    warnings: Option<bool>,
    gone: Option<Gone>,
    /// Bytes.
    revive_zone: Option<usize>,
    credentials: Vec<Vec<u8>>,
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
            "gone" => once(cf, name, &mut self.gone, |cf| {
                choose(cf, name, text, &[("reject", Gone::Reject), ("revive", Gone::Revive)])
            })?,
            "revive_zone" => once(cf, name, &mut self.revive_zone, |cf| read_records(cf, text))?,
            "credential" => self.credentials.push(read_header_name(cf, text)?),
            "file" => once(cf, name, &mut self.file, |cf| read_file(cf, text))?,
            "share" => once(cf, name, &mut self.share, |cf| match text.is_empty() {
                true => fail!(cf, "\"share\" is empty, it must be the name of a \"sticky_share\""),
                false => Ok(text),
            })?,
            "bind" => once(cf, name, &mut self.bind, |cf| Value::compile(cf, name, text))?,
            "warnings" => once(cf, name, &mut self.warnings, |cf| {
                choose(cf, name, text, &[("on", true), ("off", false)])
            })?,
            _ => fail!(
                cf,
                "invalid parameter \"{word}\", only \"zone\", \"file\", \"share\", \"create\", \"lookup\", \"timeout\", \"lifetime\", \
                 \"unknown\", \"unavailable\", \"gone_after\", \"bind\", \"gone\", \"revive_zone\", \"credential\" \
                 and \"warnings\" are known"
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
        let revive = self.read_revive(cf, mcp, &policy)?;
        let (gone_after, revives) = (policy.gone_after, revive.is_some());
        let (zone, is_new) = zone::join(cf, name, size, self.file, &limits, gone_after, revives)?;
        if revive.is_some() {
            zone.keep_records(cf, self.revive_zone)?;
        }
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
        let warns = mcp && self.warnings.unwrap_or(true);
        main.warns |= warns;
        main.filters.header = true;
        main.filters.hold |= revive.is_some();
        main.filters.body |= mcp || policy.learn == Moment::End;
        main.filters.request_body |= mcp && policy.unknown == Unknown::Reject;
        main.prefetches |= match &lookup {
            Lookup::Values(values) => values.first().is_some_and(Value::is_request_header),
            Lookup::Mcp => true,
        };
        let last_handler = Cell::new(NO_HANDLER);
        let (bind, share, warns) = (self.bind, self.share, Cell::new(warns));
        let (source, judge) = (None, None);
        Ok(Affinity {
            zone,
            create,
            lookup,
            bind,
            limits,
            policy,
            last_handler,
            source,
            judge,
            revive,
            warns,
            share,
        })
    }

    fn read_revive(
        &self,
        cf: &mut Conf<'_>,
        mcp: bool,
        policy: &Policy,
    ) -> Result<Option<Revive>, Logged> {
        match self.gone {
            Some(_) if !mcp => {
                fail!(cf, "\"gone\" is for MCP mode, without \"create\" and \"lookup\"")
            }
            Some(Gone::Revive) if policy.unavailable != Unavailable::Reject => {
                fail!(cf, "\"gone=revive\" needs \"unavailable=reject\", the default")
            }
            Some(Gone::Revive) => {}
            None | Some(Gone::Reject) => {
                for (name, is_given) in [
                    ("revive_zone", self.revive_zone.is_some()),
                    ("credential", !self.credentials.is_empty()),
                ] {
                    if is_given {
                        fail!(cf, "\"{name}\" has no effect without \"gone=revive\"");
                    }
                }
                return Ok(None);
            }
        }
        if self.bind.is_none() {
            cf.warn(format_args!(
                "\"gone=revive\" without \"bind\" knows the owner of a session by its credentials, \
                 a client with a new token is another one"
            ));
        }
        #[cfg(ngx_feature = "http_ssl")]
        let certificate = {
            let text = Word::fixed("$ssl_client_fingerprint");
            Some(Value::compile(cf, "gone", text)?)
        };
        #[cfg(not(ngx_feature = "http_ssl"))]
        let certificate = None;
        Ok(Some(Revive { credentials: self.credentials.clone(), certificate }))
    }
}

/// Reads the size of the records' memory.
fn read_records(cf: &mut Conf<'_>, text: Word) -> Result<usize, Logged> {
    // SAFETY: nginx only reads the string, which lives as long as the configuration.
    match usize::try_from(unsafe { ngx_parse_size(&mut text.raw()) }) {
        Ok(bytes) if bytes >= Store::MIN_SIZE => Ok(bytes),
        Ok(_) => {
            fail!(cf, "\"revive_zone\" is too small, it needs {}k or more", Store::MIN_SIZE / 1024)
        }
        Err(_) => fail!(cf, "invalid size \"revive_zone={text}\""),
    }
}

/// Reads the name of a header, into lower case.
fn read_header_name(cf: &mut Conf<'_>, text: Word) -> Result<Vec<u8>, Logged> {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match text.as_bytes() {
        name if !name.is_empty() && name.iter().all(is_of_name) => Ok(name.to_ascii_lowercase()),
        _ => fail!(cf, "invalid header name \"credential={text}\""),
    }
}

/// Reads the path of a file; a relative one begins at nginx's prefix.
fn read_file(cf: &mut Conf<'_>, text: Word) -> Result<Word, Logged> {
    match text.as_bytes() {
        [] | [.., b'/'] => fail!(cf, "invalid file \"{text}\""),
        path if path.contains(&b'$') => fail!(cf, "no variables are allowed in \"file={text}\""),
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
