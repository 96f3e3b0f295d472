//! `sticky cookie`, `sticky route` and `sticky learn`, refused in the words of nginx 1.29.6.

use core::ffi::{c_char, c_void};

use affinity::policy::Rules;
use affinity::table::Span;
use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_http_get_variable_index, ngx_int_t, ngx_parse_size,
    ngx_parse_time, ngx_str_t, time_t,
};

use super::cookie::is_samesite;
use crate::conf::method::{Cookie, Expires, Method};
use crate::conf::sticky_learn::{self, Parameters};
use crate::conf::value::{has_variables, Value};
use crate::conf::words::{self, split};
use crate::conf::UpstreamConf;
use crate::nginx;
use crate::nginx::conf::{fail, Logged};
use crate::zone;

pub unsafe extern "C" fn sticky(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes itself and the configuration that `create_upstream` made.
    nginx::conf::conf_result(unsafe { read(&mut *cf, &mut *conf.cast()) })
}

/// # Safety
/// `cf` is being read, at the directive.
unsafe fn read(cf: &mut ngx_conf_t, conf: &mut UpstreamConf) -> Result<(), Logged> {
    sticky_learn::refuse_second(cf, conf, "sticky")?;
    // SAFETY: by this function's contract; nginx has counted three words at least.
    unsafe {
        let words = nginx::conf::args(cf);
        let (method, words) = (words[1], &words[2..]);
        match method.as_bytes() {
            b"cookie" => conf.sticky.method = Some(read_cookie(cf, words)?),
            b"route" => conf.sticky.method = Some(read_route(cf, words)?),
            b"learn" => {
                conf.affinity = Some(read_learn(cf, words)?.finish(cf, Rules::Plus, false)?)
            }
            _ => fail!(cf, "unknown parameter \"{method}\""),
        }
    }
    Ok(())
}

/// `cookie NAME [expires=] [domain=] [httponly] [samesite=] [secure] [path=]`.
///
/// # Safety
/// `words` are those of the directive that `cf` is at, behind the method.
unsafe fn read_cookie(cf: &mut ngx_conf_t, words: &[ngx_str_t]) -> Result<Method, Logged> {
    let name = words[0];
    if name.is_empty() {
        fail!(cf, "\"sticky\" directive empty cookie name");
    }
    let (mut expires, mut domain, mut samesite, mut path) = (None, None, None, None);
    let (mut httponly, mut secure) = (None, None);
    for &word in &words[1..] {
        match (word.as_bytes(), split(&word)) {
            (b"httponly", _) => once(cf, "httponly", &mut httponly, |_| Ok(()))?,
            (b"secure", _) => once(cf, "secure", &mut secure, |_| Ok(()))?,
            (_, Some(("expires", text))) => {
                once(cf, "expires", &mut expires, |cf| read_expires(cf, text))?
            }
            (_, Some(("domain", text))) => once(cf, "domain", &mut domain, |cf| {
                not_empty(cf, "domain", text)?;
                // SAFETY: by this function's contract, the text lies in the configuration's pool.
                unsafe { Value::compile_any(cf, text) }
            })?,
            (_, Some(("samesite", text))) => once(cf, "samesite", &mut samesite, |cf| {
                if !has_variables(&text) && !is_samesite(text.as_bytes()) {
                    fail!(cf, "\"sticky\" directive invalid \"samesite\" parameter value");
                }
                // SAFETY: as above.
                unsafe { Value::compile_any(cf, text) }
            })?,
            (_, Some(("path", text))) => once(cf, "path", &mut path, |cf| {
                not_empty(cf, "path", text)?;
                Ok([b"; path=", text.as_bytes()].concat())
            })?,
            _ => fail!(cf, "unknown parameter \"{word}\""),
        }
    }
    let flags = [(httponly, "; httponly"), (secure, "; secure")];
    // SAFETY: by this function's contract.
    let lookup = unsafe { variable(cf, &[b"cookie_", name.as_bytes()].concat())? };
    Ok(Method {
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

fn read_expires(cf: &mut ngx_conf_t, mut text: ngx_str_t) -> Result<Expires, Logged> {
    if text.as_bytes() == b"max" {
        return Ok(Expires::Max);
    }
    // SAFETY: nginx reads the string only.
    let seconds = unsafe { ngx_parse_time(&mut text, 1) };
    if seconds < 0 {
        fail!(cf, "\"sticky\" directive invalid \"expires\" parameter value");
    }
    Ok(Expires::After(seconds as time_t, format!("; max-age={seconds}")))
}

/// `route $VARIABLE ...`.
///
/// # Safety
/// As above.
unsafe fn read_route(cf: &mut ngx_conf_t, words: &[ngx_str_t]) -> Result<Method, Logged> {
    let mut lookup = Vec::new();
    for word in words {
        match word.as_bytes() {
            // SAFETY: by this function's contract.
            [b'$', name @ ..] if !name.is_empty() => lookup.push(unsafe { variable(cf, name)? }),
            _ => fail!(cf, "invalid variable name \"{word}\""),
        }
    }
    Ok(Method { lookup, cookie: None })
}

/// `learn create=$VARIABLE ... lookup=$VARIABLE ... zone=NAME:SIZE [timeout=TIME] [header]`.
///
/// # Safety
/// As above.
unsafe fn read_learn(cf: &mut ngx_conf_t, words: &[ngx_str_t]) -> Result<Parameters, Logged> {
    let mut parameters = Parameters::default();
    for &word in words {
        match (word.as_bytes(), split(&word)) {
            (b"header", _) => parameters.header = true,
            // SAFETY: by this function's contract.
            (_, Some(("create", text))) => unsafe {
                parameters.create.push(read_value(cf, "create", text)?);
            },
            // SAFETY: as above.
            (_, Some(("lookup", text))) => unsafe {
                parameters.lookup.push(read_value(cf, "lookup", text)?);
            },
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

/// # Safety
/// `text` lies in the configuration's pool.
unsafe fn read_value(cf: &mut ngx_conf_t, name: &str, text: ngx_str_t) -> Result<Value, Logged> {
    if !has_variables(&text) {
        fail!(cf, "\"sticky\" directive missing variable in the \"{name}\" parameter");
    }
    // SAFETY: by this function's contract.
    unsafe { Value::compile_any(cf, text) }
}

fn read_zone(cf: &mut ngx_conf_t, text: ngx_str_t) -> Result<(ngx_str_t, usize), Logged> {
    let colon = text.as_bytes().iter().position(|&byte| byte == b':');
    let Some((name, mut size)) = colon.and_then(|at| {
        let (name, _) = text.split_at(at)?;
        let (_, size) = text.split_at(at + 1)?;
        Some((name, size))
    }) else {
        fail!(cf, "\"sticky\" directive zone size is not specified");
    };
    if name.is_empty() {
        fail!(cf, "\"sticky\" directive zone name is not specified");
    }
    // SAFETY: nginx reads the string only.
    match usize::try_from(unsafe { ngx_parse_size(&mut size) }) {
        Ok(bytes) if bytes >= zone::size::min_size() => Ok((name, bytes)),
        Ok(_) => fail!(cf, "\"sticky\" directive zone is too small"),
        Err(_) => fail!(cf, "\"sticky\" directive invalid zone size"),
    }
}

fn read_timeout(cf: &mut ngx_conf_t, mut text: ngx_str_t) -> Result<Span, Logged> {
    // SAFETY: nginx reads the string only.
    match u64::try_from(unsafe { ngx_parse_time(&mut text, 0) }) {
        Ok(ms) if ms > 0 && ms <= words::MAX_TIME => Ok(Span::from_millis(ms)),
        _ => fail!(cf, "\"sticky\" directive invalid timeout"),
    }
}

fn not_empty(cf: &mut ngx_conf_t, name: &str, text: ngx_str_t) -> Result<(), Logged> {
    if text.is_empty() {
        fail!(cf, "\"sticky\" directive no value for \"{name}\"");
    }
    Ok(())
}

fn once<T>(
    cf: &mut ngx_conf_t,
    name: &str,
    slot: &mut Option<T>,
    read: impl FnOnce(&mut ngx_conf_t) -> Result<T, Logged>,
) -> Result<(), Logged> {
    if slot.is_some() {
        fail!(cf, "\"sticky\" directive parameter \"{name}\" is duplicate");
    }
    *slot = Some(read(cf)?);
    Ok(())
}

/// The index of a variable.
///
/// # Safety
/// `cf` is being read.
unsafe fn variable(cf: &mut ngx_conf_t, name: &[u8]) -> Result<ngx_int_t, Logged> {
    let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
    // SAFETY: nginx keeps a copy of the name.
    match unsafe { ngx_http_get_variable_index(cf, &mut name) } {
        index if index >= 0 => Ok(index),
        _ => Err(Logged),
    }
}
