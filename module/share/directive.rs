//! `sticky_share`: a store that several machines share their sessions by.

use core::cell::{Cell, RefCell};
use core::ffi::{c_char, c_void};
use core::str;
use std::fs;
use std::path::Path;

use affinity::share::link::Options;
use affinity::share::secret::Root;
use affinity::table::Span;
use nginx_sys::{ngx_command_t, ngx_conf_t};

use crate::conf::fleet::{standing, Fleet};
use crate::conf::words::{once, read_time};
use crate::conf::MainConf;
use crate::net::target::Target;
use crate::net::trust::Trust;
use crate::nginx::conf::{conf_result, fail, Conf, Logged, Word};

/// Default of `timeout` (milliseconds).
const DEFAULT_TIMEOUT: Span = Span::from_millis(200);

const DEFAULT_PREFIX: &str = "sticky:";

/// The longest prefix of keys, in bytes.
const MAX_PREFIX: usize = 64;

const DEFAULT_PORT: u16 = 6379;

pub unsafe extern "C" fn sticky_share(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    _conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes the configuration that it reads; no other reference to it lives during this call.
    conf_result(read(&mut unsafe { Conf::new(cf) }))
}

#[derive(Default)]
struct Parameters {
    user: Option<Word>,
    password: Option<Vec<u8>>,
    ca: Option<Word>,
    cert: Option<Word>,
    key: Option<Word>,
    secret: Option<Root>,
    prefix: Option<Word>,
    timeout: Option<Span>,
}

fn read(cf: &mut Conf<'_>) -> Result<(), Logged> {
    let words = cf.args().to_vec();
    let (Some(&name), Some(&url)) = (words.get(1), words.get(2)) else { return Err(Logged) };
    let has_name = |fleet: &Fleet| fleet.name.as_bytes() == name.as_bytes();
    if MainConf::of(cf).is_some_and(|main| main.fleets.iter().any(has_name)) {
        fail!(cf, "duplicate sticky_share \"{name}\"");
    }
    let url = Url::read(cf, url)?;
    let mut given = Parameters::default();
    for word in words.into_iter().skip(3) {
        given.read(cf, word)?;
    }
    let mut target = Target::parse(cf, url.server, DEFAULT_PORT)?;
    match (given.ca, given.cert, given.key) {
        (Some(ca), cert, key) if url.uses_tls && cert.is_some() == key.is_some() => {
            let (trusted_certificate, certificate) = (Some(ca), cert.zip(key));
            target.use_tls(cf, &Trust { trusted_certificate, certificate, ..Trust::default() })?;
        }
        (None, _, _) if url.uses_tls => {
            fail!(cf, "\"rediss://\" needs \"ca=FILE\", the CA of the store's certificate");
        }
        (_, _, _) if url.uses_tls => fail!(cf, "\"cert\" and \"key\" need each other"),
        (None, None, None) => (),
        _ => fail!(cf, "\"ca\", \"cert\" and \"key\" are for \"rediss://\""),
    }
    if given.user.is_some() && given.password.is_none() {
        fail!(cf, "\"user\" needs \"password_file\"");
    }
    let prefix = given.prefix.as_ref().map_or(DEFAULT_PREFIX.as_bytes(), Word::as_bytes);
    if prefix.len() > MAX_PREFIX {
        fail!(cf, "\"prefix\" is too long, at most {MAX_PREFIX} bytes are possible");
    }
    let options = Options {
        prefix: prefix.to_vec(),
        user: given.user.as_ref().map_or(&[][..], Word::as_bytes).to_vec(),
        password: given.password,
        database: url.database,
        timeout: given.timeout.unwrap_or(DEFAULT_TIMEOUT).as_millis(),
        zones: Vec::new(),
        has_file: given.secret.is_some(),
    };
    let Some(standing) = standing(&[name.as_bytes(), b" ", target.text.as_bytes()].concat()) else {
        fail!(cf, "no memory for sticky_share \"{name}\"");
    };
    let fleet = Fleet {
        name,
        target,
        options,
        root: given.secret,
        standing,
        zones: RefCell::default(),
        gone_after: Cell::new(0),
    };
    let Some(main) = MainConf::of(cf) else { return Err(Logged) };
    main.fleets.push(fleet);
    Ok(())
}

impl Parameters {
    fn read(&mut self, cf: &mut Conf<'_>, word: Word) -> Result<(), Logged> {
        match word.split() {
            Some(("user", text)) => once(cf, "user", &mut self.user, |cf| some(cf, "user", text)),
            Some(("password_file", text)) => {
                once(cf, "password_file", &mut self.password, |cf| read_password(cf, text))
            }
            Some(("ca", text)) => once(cf, "ca", &mut self.ca, |cf| some(cf, "ca", text)),
            Some(("cert", text)) => once(cf, "cert", &mut self.cert, |cf| some(cf, "cert", text)),
            Some(("key", text)) => once(cf, "key", &mut self.key, |cf| some(cf, "key", text)),
            Some(("secret", text)) => {
                once(cf, "secret", &mut self.secret, |cf| read_secret(cf, text))
            }
            Some(("prefix", text)) => {
                once(cf, "prefix", &mut self.prefix, |cf| some(cf, "prefix", text))
            }
            Some(("timeout", text)) => {
                once(cf, "timeout", &mut self.timeout, |cf| read_time(cf, "timeout", text))
            }
            Some(("password", _)) => fail!(
                cf,
                "\"nginx -T\" would show the password, write it to a file and \"password_file=FILE\""
            ),
            _ => fail!(
                cf,
                "invalid parameter \"{word}\", only \"user\", \"password_file\", \"ca\", \"cert\", \"key\", \
                 \"secret\", \"prefix\" and \"timeout\" are known"
            ),
        }
    }
}

fn some(cf: &mut Conf<'_>, name: &str, text: Word) -> Result<Word, Logged> {
    match text.is_empty() {
        true => fail!(cf, "\"{name}\" is empty"),
        false => Ok(text),
    }
}

struct Url {
    server: Word,
    database: u32,
    uses_tls: bool,
}

impl Url {
    /// `redis://HOST[:PORT][/NUMBER]`, the same with `rediss://`, or `unix:PATH`.
    fn read(cf: &mut Conf<'_>, text: Word) -> Result<Url, Logged> {
        let bytes = text.as_bytes();
        if bytes.starts_with(b"unix:") {
            return Ok(Url { server: text, database: 0, uses_tls: false });
        }
        let schemes = [("redis://", false), ("rediss://", true)];
        let scheme = schemes.iter().find(|(scheme, _)| bytes.starts_with(scheme.as_bytes()));
        let Some(&(scheme, uses_tls)) = scheme else {
            // Not the text: a password may be in it.
            fail!(cf, "invalid URL, it must begin with \"redis://\", \"rediss://\" or \"unix:\"");
        };
        if bytes.contains(&b'@') {
            fail!(
                cf,
                "\"nginx -T\" would show the password of a URL, write \"user=NAME\" and \
                 \"password_file=FILE\" instead"
            );
        }
        let Some((_, rest)) = text.split_at(scheme.len()) else { return Err(Logged) };
        let slash = rest.as_bytes().iter().position(|byte| *byte == b'/');
        let (server, database) = match slash.and_then(|at| rest.split_at(at)) {
            None => (rest, 0),
            Some((server, path)) => {
                let number = str::from_utf8(path.as_bytes()).unwrap_or_default();
                match number.trim_start_matches('/') {
                    "" => (server, 0),
                    number => match number.parse() {
                        Ok(number) => (server, number),
                        Err(_) => fail!(cf, "invalid number of a database in \"{text}\""),
                    },
                }
            }
        };
        Ok(Url { server, database, uses_tls })
    }
}

fn read_file(cf: &mut Conf<'_>, text: Word) -> Result<Vec<u8>, Logged> {
    let path = cf.full_name(text)?;
    let name = str::from_utf8(path.as_bytes()).unwrap_or_default();
    match fs::read(Path::new(name)) {
        Ok(bytes) => Ok(bytes),
        Err(error) => fail!(cf, "cannot read \"{path}\": {error}"),
    }
}

/// The first line of a file.
fn read_password(cf: &mut Conf<'_>, text: Word) -> Result<Vec<u8>, Logged> {
    let mut bytes = read_file(cf, text)?;
    let end = bytes.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(bytes.len());
    bytes.truncate(end);
    match bytes.is_empty() {
        true => fail!(cf, "no password in the first line of \"{text}\""),
        false => Ok(bytes),
    }
}

fn read_secret(cf: &mut Conf<'_>, text: Word) -> Result<Root, Logged> {
    match Root::from_file(&read_file(cf, text)?) {
        Some(root) => Ok(root),
        None => {
            fail!(cf, "\"{text}\" must be 48 or 80 bytes, write \"openssl rand 80 > {text}\"")
        }
    }
}
