//! The directive `sticky`: `cookie`, `route` and `learn`. The error messages are those of nginx 1.29.6.

use core::ffi::{c_char, c_void};

use affinity::policy::Rules;
use affinity::table::Span;
use nginx_sys::{ngx_command_t, ngx_conf_t, ngx_parse_size, ngx_parse_time, time_t};

use super::cookie::is_samesite;
use crate::conf::method::{Cookie, Expires, StickyMethod};
use crate::conf::sticky_learn::{self, Parameters};
use crate::conf::value::{has_variables, Value};
use crate::conf::{words, Asked, UpstreamConf};
use crate::nginx::conf::{conf_result, fail, Conf, Logged, Word};
use crate::zone;

pub unsafe extern "C" fn sticky(
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
    sticky_learn::refuse_second(cf, conf, "sticky")?;
    let words = cf.args().to_vec();
    // nginx has checked that there are at least three words (NGX_CONF_2MORE).
    if let [_, method, words @ ..] = &words[..] {
        match method.as_bytes() {
            b"cookie" => conf.asked = Asked::Method(read_cookie(cf, words)?),
            b"route" => conf.asked = Asked::Method(read_route(cf, words)?),
            b"learn" => {
                let affinity = read_learn(cf, words)?.finish(cf, Rules::Plus, false)?;
                conf.asked = Asked::Sessions("sticky", affinity)
            }
            _ => fail!(cf, "unknown parameter \"{method}\""),
        }
    }
    Ok(())
}

/// `cookie NAME [expires=] [domain=] [httponly] [samesite=] [secure] [path=]`.
fn read_cookie(cf: &mut Conf<'_>, words: &[Word]) -> Result<StickyMethod, Logged> {
    let name = words[0];
    if name.is_empty() {
        fail!(cf, "\"sticky\" directive empty cookie name");
    }
    let (mut expires, mut domain, mut samesite, mut path) = (None, None, None, None);
    let (mut httponly, mut secure) = (None, None);
    for &word in &words[1..] {
        match (word.as_bytes(), word.split()) {
            (b"httponly", _) => once(cf, "httponly", &mut httponly, |_| Ok(()))?,
            (b"secure", _) => once(cf, "secure", &mut secure, |_| Ok(()))?,
            (_, Some(("expires", text))) => {
                once(cf, "expires", &mut expires, |cf| read_expires(cf, text))?
            }
            (_, Some(("domain", text))) => once(cf, "domain", &mut domain, |cf| {
                not_empty(cf, "domain", text)?;
                Value::compile_any(cf, text)
            })?,
            (_, Some(("samesite", text))) => once(cf, "samesite", &mut samesite, |cf| {
                if !has_variables(&text) && !is_samesite(text.as_bytes()) {
                    fail!(cf, "\"sticky\" directive invalid \"samesite\" parameter value");
                }
                Value::compile_any(cf, text)
            })?,
            (_, Some(("path", text))) => once(cf, "path", &mut path, |cf| {
                not_empty(cf, "path", text)?;
                Ok([b"; path=", text.as_bytes()].concat())
            })?,
            _ => fail!(cf, "unknown parameter \"{word}\""),
        }
    }
    let flags = [(httponly, "; httponly"), (secure, "; secure")];
    let lookup = cf.variable(&[b"cookie_", name.as_bytes()].concat())?;
    Ok(StickyMethod {
        lookup: vec![lookup],
        cookie: Some(Cookie {
            name: [name.as_bytes(), b"="].concat(),
            expires: expires.unwrap_or(Expires::Session),
            domain,
            samesite,
            flags: flags
                .iter()
                .filter_map(|(set, text)| set.map(|()| *text))
                .collect::<String>()
                .into(),
            path: path.unwrap_or_default(),
        }),
    })
}

fn read_expires(cf: &mut Conf<'_>, text: Word) -> Result<Expires, Logged> {
    if text.as_bytes() == b"max" {
        return Ok(Expires::Max);
    }
    // SAFETY: nginx only reads the string, which lives as long as the configuration.
    let seconds = unsafe { ngx_parse_time(&mut text.raw(), 1) };
    if seconds < 0 {
        fail!(cf, "\"sticky\" directive invalid \"expires\" parameter value");
    }
    Ok(Expires::After(seconds as time_t, format!("; max-age={seconds}")))
}

/// `route $VARIABLE ...`.
fn read_route(cf: &mut Conf<'_>, words: &[Word]) -> Result<StickyMethod, Logged> {
    let mut lookup = Vec::new();
    for word in words {
        match word.as_bytes() {
            [b'$', name @ ..] if !name.is_empty() => lookup.push(cf.variable(name)?),
            _ => fail!(cf, "invalid variable name \"{word}\""),
        }
    }
    Ok(StickyMethod { lookup, cookie: None })
}

/// `learn create=$VARIABLE ... lookup=$VARIABLE ... zone=NAME:SIZE [timeout=TIME] [header]`.
fn read_learn(cf: &mut Conf<'_>, words: &[Word]) -> Result<Parameters, Logged> {
    let mut parameters = Parameters::default();
    for &word in words {
        match (word.as_bytes(), word.split()) {
            (b"header", _) => parameters.header = true,
            (_, Some(("create", text))) => {
                parameters.create.push(read_value(cf, "create", text)?);
            }
            (_, Some(("lookup", text))) => {
                parameters.lookup.push(read_value(cf, "lookup", text)?);
            }
            (_, Some(("zone", text))) => {
                if parameters.zone.is_some() {
                    fail!(cf, "\"sticky\" directive duplicate zone");
                }
                parameters.zone = Some(read_zone(cf, text)?);
            }
            (_, Some(("timeout", text))) => {
                if parameters.timeout.is_some() {
                    fail!(cf, "\"sticky\" directive duplicate timeout");
                }
                parameters.timeout = Some(read_timeout(cf, text)?);
            }
            (_, Some(("share", _))) => fail!(
                cf,
                "\"sticky learn\" learns when a response has ended, too late for other machines; \
                 \"share\" is a parameter of \"sticky_learn\""
            ),
            _ => fail!(cf, "unknown parameter \"{word}\""),
        }
    }
    let missing = [
        ("lookup", parameters.lookup.is_empty()),
        ("create", parameters.create.is_empty()),
        ("zone", parameters.zone.is_none()),
    ];
    if let Some((name, _)) = missing.iter().find(|(_, missing)| *missing) {
        fail!(cf, "\"sticky\" directive \"{name}\" parameter is not specified");
    }
    Ok(parameters)
}

fn read_value(cf: &mut Conf<'_>, name: &str, text: Word) -> Result<Value, Logged> {
    if !has_variables(&text) {
        fail!(cf, "\"sticky\" directive missing variable in the \"{name}\" parameter");
    }
    Value::compile_any(cf, text)
}

fn read_zone(cf: &mut Conf<'_>, text: Word) -> Result<(Word, usize), Logged> {
    let colon = text.as_bytes().iter().position(|&byte| byte == b':');
    let Some((name, size)) = colon.and_then(|at| {
        let (name, _) = text.split_at(at)?;
        let (_, size) = text.split_at(at + 1)?;
        Some((name, size))
    }) else {
        fail!(cf, "\"sticky\" directive zone size is not specified");
    };
    if name.is_empty() {
        fail!(cf, "\"sticky\" directive zone name is not specified");
    }
    // SAFETY: nginx only reads the string, which lives as long as the configuration.
    match usize::try_from(unsafe { ngx_parse_size(&mut size.raw()) }) {
        Ok(bytes) if bytes >= zone::size::min_size() => Ok((name, bytes)),
        Ok(_) => fail!(cf, "\"sticky\" directive zone is too small"),
        Err(_) => fail!(cf, "\"sticky\" directive invalid zone size"),
    }
}

fn read_timeout(cf: &mut Conf<'_>, text: Word) -> Result<Span, Logged> {
    // SAFETY: nginx only reads the string, which lives as long as the configuration.
    match u64::try_from(unsafe { ngx_parse_time(&mut text.raw(), 0) }) {
        Ok(ms) if ms > 0 && ms <= words::MAX_TIME => Ok(Span::from_millis(ms)),
        _ => fail!(cf, "\"sticky\" directive invalid timeout"),
    }
}

fn not_empty(cf: &mut Conf<'_>, name: &str, text: Word) -> Result<(), Logged> {
    if text.is_empty() {
        fail!(cf, "\"sticky\" directive no value for \"{name}\"");
    }
    Ok(())
}

fn once<T>(
    cf: &mut Conf<'_>,
    name: &str,
    slot: &mut Option<T>,
    read: impl FnOnce(&mut Conf<'_>) -> Result<T, Logged>,
) -> Result<(), Logged> {
    if slot.is_some() {
        fail!(cf, "\"sticky\" directive parameter \"{name}\" is duplicate");
    }
    *slot = Some(read(cf)?);
    Ok(())
}
