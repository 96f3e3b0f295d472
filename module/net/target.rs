//! What a connection is to: an address or a name of the configuration.

use core::ffi::CStr;
use core::mem;
use core::ptr::NonNull;

use nginx_sys::{
    in_port_t, ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_msec_t, ngx_parse_url, ngx_url_t,
};

use super::address::Address;
use super::names::Resolver;
use super::tls::Tls;
use super::trust::Trust;
use crate::nginx::conf::{fail, Conf, Logged, Word};
use crate::nginx::OK;

/// A target, in the configuration.
pub struct Target {
    /// As the configuration has it.
    pub text: Word,
    pub(super) host: Word,
    pub(super) port: u16,
    pub(super) place: Place,
    pub(super) tls: Option<Tls>,
}

/// Where a target is.
pub(super) enum Place {
    /// At the first of these that can be connected to.
    Fixed(Vec<Address>),
    /// Where its name leads, each time.
    Name(Resolver),
    /// A name that did not resolve when nginx started.
    Away,
}

impl Target {
    /// Reads `HOST[:PORT]`, `ADDRESS[:PORT]` or `unix:PATH`. [`Target::finish`] follows.
    pub fn parse(cf: &mut Conf<'_>, text: Word, default_port: u16) -> Result<Target, Logged> {
        let url = parse_url(cf, text, default_port, false);
        let url = url.or_else(|reason| fail!(cf, "{reason} in \"{text}\""))?;
        if url.port == 0 && url.family != libc::AF_UNIX {
            fail!(cf, "no port in \"{text}\"");
        }
        let place = Place::Fixed(addresses(&url));
        // SAFETY: the host is a part of the text.
        let host = unsafe { Word::new(url.host) };
        Ok(Target { text, host, port: url.port, place, tls: None })
    }

    /// Gives the connections to this target TLS.
    pub fn use_tls(&mut self, cf: &mut Conf<'_>, trust: &Trust) -> Result<(), Logged> {
        self.tls = Some(Tls::new(cf, self.host, trust)?);
        Ok(())
    }

    /// Finds out where a name leads, when `http {}` is read: `resolver` may stand behind the directive of the
    /// target.
    pub fn finish(&mut self, cf: &mut Conf<'_>) {
        if !matches!(&self.place, Place::Fixed(addresses) if addresses.is_empty()) {
            return;
        }
        let text = self.text;
        self.place = match resolver(cf) {
            Some(resolver) => Place::Name(resolver),
            None => match parse_url(cf, text, self.port, true) {
                Ok(url) => {
                    cf.warn(format_args!(
                        "no resolver defined to resolve \"{text}\", the addresses it has now are used"
                    ));
                    Place::Fixed(addresses(&url))
                }
                Err(reason) => {
                    cf.warn(format_args!("{reason} in \"{text}\", it counts as away"));
                    Place::Away
                }
            },
        };
    }
}

/// Reads an address or a name by nginx's rules. An error is nginx's text.
fn parse_url(
    cf: &mut Conf<'_>,
    text: Word,
    default_port: u16,
    resolve: bool,
) -> Result<ngx_url_t, &'static str> {
    // SAFETY: a URL is valid when zeroed. Its texts live as long as the configuration, and nginx's errors for
    // ever.
    unsafe {
        let mut url: ngx_url_t = mem::zeroed();
        url.url = text.raw();
        url.default_port = default_port as in_port_t;
        url.set_no_resolve(u32::from(!resolve));
        if ngx_parse_url(cf.pool().raw(), &mut url) == OK {
            return Ok(url);
        }
        let reason =
            NonNull::new(url.err).and_then(|err| CStr::from_ptr(err.as_ptr()).to_str().ok());
        Err(reason.unwrap_or("invalid address"))
    }
}

fn addresses(url: &ngx_url_t) -> Vec<Address> {
    let count = if url.addrs.is_null() { 0 } else { url.naddrs };
    // SAFETY: nginx has written `naddrs` addresses to the configuration's pool.
    let copy = |at| unsafe {
        let address = &*url.addrs.add(at);
        Address::copy(address.sockaddr, address.socklen)
    };
    (0..count).filter_map(copy).collect()
}

/// The `resolver` of `http {}`.
fn resolver(cf: &mut Conf<'_>) -> Option<Resolver> {
    /// Default of `resolver_timeout`, in milliseconds.
    const TIMEOUT: ngx_msec_t = 30_000;

    // SAFETY: `ngx_http_core_module` makes this type, and the reference ends with this function. A resolver
    // without name servers stands where the configuration has none.
    unsafe {
        let module = &raw const ngx_http_core_module;
        let core = cf.loc_conf::<ngx_http_core_loc_conf_t>(module)?;
        let raw = NonNull::new(core.resolver)?;
        let timeout = match core.resolver_timeout {
            ngx_msec_t::MAX => TIMEOUT,
            timeout => timeout,
        };
        ((*raw.as_ptr()).connections.nelts > 0).then_some(Resolver { raw, timeout })
    }
}
