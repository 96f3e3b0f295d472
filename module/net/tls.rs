//! TLS of a connection, by nginx's `ngx_ssl_*`.

use core::ffi::{c_char, c_long, c_uint, CStr};
use std::ffi::CString;

use nginx_sys::{
    ngx_connection_handler_pt, ngx_connection_t, ngx_create_pool, ngx_int_t, ngx_ssl_certificate,
    ngx_ssl_check_host, ngx_ssl_cleanup_ctx, ngx_ssl_create, ngx_ssl_create_connection,
    ngx_ssl_handshake, ngx_ssl_t, ngx_ssl_trusted_certificate, ngx_uint_t, NGX_SSL_TLSv1_2,
    NGX_SSL_TLSv1_3, NGX_SSL_BUFFER, NGX_SSL_CLIENT,
};

use super::error::Error;
use super::stream::Stream;
use super::trust::Trust;
use crate::nginx::conf::{fail, Conf, Logged, Word};
use crate::nginx::{AGAIN, OK};

extern "C" {
    fn sticky_learn_ask_for_name(c: *mut ngx_connection_t, name: *const c_char) -> ngx_int_t;
    fn sticky_learn_certificate_error(c: *mut ngx_connection_t, text: *mut *const c_char)
        -> c_long;
    fn sticky_learn_is_handshaked(c: *mut ngx_connection_t) -> c_uint;
}

/// TLS to one target, in the configuration.
pub struct Tls {
    ssl: Box<ngx_ssl_t>,
    /// What the certificate must be for, and what the handshake asks for.
    name: Word,
    server_name: CString,
    verify: bool,
}

impl Tls {
    /// TLS to a server of this name.
    pub(super) fn new(cf: &mut Conf<'_>, host: Word, trust: &Trust) -> Result<Tls, Logged> {
        /// As nginx's `proxy_ssl_verify_depth`, with an intermediate CA.
        const DEPTH: isize = 2;

        let name = trust.name.unwrap_or(host);
        let Ok(server_name) = CString::new(name.as_bytes()) else {
            fail!(cf, "invalid server name \"{name}\"");
        };
        // SAFETY: nginx's structure is valid when zeroed.
        let ssl = Box::new(unsafe { core::mem::zeroed() });
        let mut tls = Tls { ssl, name, server_name, verify: trust.verify };
        tls.ssl.log = cf.log();
        let protocols = (NGX_SSL_TLSv1_2 | NGX_SSL_TLSv1_3) as ngx_uint_t;
        // SAFETY: nginx makes a context, which dropping `tls` frees, also after an error.
        if unsafe { ngx_ssl_create(&mut *tls.ssl, protocols, core::ptr::null_mut()) } != OK {
            return Err(Logged);
        }
        match trust.trusted_certificate {
            Some(file) => {
                // SAFETY: nginx reads the file during the call, and may complete the string's path.
                let rc = unsafe {
                    let mut file = file.raw();
                    ngx_ssl_trusted_certificate(cf.raw(), &mut *tls.ssl, &mut file, DEPTH)
                };
                if rc != OK {
                    return Err(Logged);
                }
            }
            None if trust.verify => {
                fail!(cf, "no trusted certificate to verify \"{name}\" with")
            }
            None => {}
        }
        if let Some((certificate, key)) = trust.certificate {
            // SAFETY: nginx reads the files during the call, and may complete the strings' paths.
            let rc = unsafe {
                let (mut certificate, mut key) = (certificate.raw(), key.raw());
                let passwords = core::ptr::null_mut();
                ngx_ssl_certificate(cf.raw(), &mut *tls.ssl, &mut certificate, &mut key, passwords)
            };
            if rc != OK {
                return Err(Logged);
            }
        }
        Ok(tls)
    }

    /// Begins the handshake. True if it is done at once; else `handler` is called when it has ended.
    ///
    /// # Safety
    /// `handler` takes the connection of this stream.
    pub(super) unsafe fn shake_hands(
        &self,
        stream: &Stream,
        handler: ngx_connection_handler_pt,
    ) -> Result<bool, Error> {
        const POOL: usize = 512;

        let c = stream.raw();
        // SAFETY: a live connection without TLS. Its log outlives it, and so its pool, which is destroyed with
        // it. nginx only reads the context, and OpenSSL counts its references.
        unsafe {
            (*c).pool = ngx_create_pool(POOL, (*c).log);
            if (*c).pool.is_null() {
                return Err(Error::Local);
            }
            let ssl = (&raw const *self.ssl).cast_mut();
            let flags = (NGX_SSL_BUFFER | NGX_SSL_CLIENT) as ngx_uint_t;
            if ngx_ssl_create_connection(ssl, c, flags) != OK {
                return Err(Error::Local);
            }
            if let Some(name) = self.server_name() {
                if sticky_learn_ask_for_name(c, name.as_ptr()) != OK {
                    return Err(Error::Local);
                }
            }
            match ngx_ssl_handshake(c) {
                AGAIN => {
                    (*(*c).ssl).handler = handler;
                    Ok(false)
                }
                _ => self.verify(stream).map(|()| true),
            }
        }
    }

    /// The name to send with the handshake (SNI): an address is none.
    fn server_name(&self) -> Option<&CStr> {
        let name = self.name.as_bytes();
        let is_address =
            name.contains(&b':') || name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.'));
        (!is_address).then_some(&self.server_name)
    }

    /// Checks the handshake when it is done.
    pub(super) fn verify(&self, stream: &Stream) -> Result<(), Error> {
        let c = stream.raw();
        // SAFETY: the connection has TLS: its handshake has begun. OpenSSL's text is static, and nginx only
        // reads the name.
        unsafe {
            if sticky_learn_is_handshaked(c) == 0 {
                return Err(Error::Handshake);
            }
            if !self.verify {
                return Ok(());
            }
            let mut text = c"".as_ptr();
            let code = sticky_learn_certificate_error(c, &mut text);
            if code != 0 {
                return Err(Error::Certificate(code, CStr::from_ptr(text)));
            }
            match ngx_ssl_check_host(c, &mut self.name.raw()) {
                OK => Ok(()),
                _ => Err(Error::Name),
            }
        }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        if !self.ssl.ctx.is_null() {
            // SAFETY: the context is this value's own.
            unsafe { ngx_ssl_cleanup_ctx((&raw mut *self.ssl).cast()) };
        }
    }
}
