//! Why a connection has failed.

use core::ffi::{c_int, c_long, CStr};
use core::fmt;
use core::str;

use nginx_sys::{ngx_int_t, ngx_strerror};

/// One reason, in nginx's words.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(ngx_feature = "http_ssl"), expect(dead_code, reason = "three are errors of TLS"))]
pub enum Error {
    /// The name's error of the resolver.
    NotResolved(ngx_int_t, &'static CStr),
    /// The name did not resolve when nginx started, and there is no `resolver`.
    NoAddress,
    /// The system's error of `connect`.
    Connect(c_int),
    /// The deadline has passed, while this was done.
    TimedOut(&'static str),
    /// This machine has no memory, no socket or no connection left.
    Local,
    /// The TLS handshake has failed; nginx has logged why.
    Handshake,
    /// The server's certificate cannot be trusted: the number and the text of OpenSSL.
    Certificate(c_long, &'static CStr),
    /// The server's certificate is for another name.
    Name,
    /// The system's error of an established connection; zero if TLS hides it.
    Lost(c_int),
    /// The server has closed the connection before the exchange was complete.
    Closed,
    /// The server has sent more than the protocol can consume.
    TooLong,
    /// More is to be sent than the connection keeps, or than there is memory for.
    TooMuch,
    /// The protocol's own reason.
    Protocol(&'static str),
}

/// An error of the system as nginx logs it: `(111: Connection refused)`.
struct System(c_int);

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 128];
        // SAFETY: nginx writes at most so many bytes, and returns where they end. The text is nginx's own copy.
        let len = unsafe {
            let start = text.as_mut_ptr();
            ngx_strerror(self.0, start, text.len()).offset_from(start)
        };
        let text = text.get(..len as usize).and_then(|text| str::from_utf8(text).ok());
        write!(f, "({}: {})", self.0, text.unwrap_or_default())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotResolved(code, text) => {
                write!(f, "could not be resolved ({code}: {})", text.to_string_lossy())
            }
            Error::NoAddress => f.write_str("has no address, its name was not found at start"),
            Error::Connect(error) => write!(f, "connect() failed {}", System(*error)),
            Error::TimedOut(action) => write!(f, "timed out while {action}"),
            Error::Local => f.write_str("no connection could be made on this machine"),
            Error::Handshake => f.write_str("SSL handshake failed"),
            Error::Certificate(code, text) => {
                write!(f, "SSL certificate verify error: ({code}:{})", text.to_string_lossy())
            }
            Error::Name => f.write_str("SSL certificate does not match the name"),
            Error::Lost(0) => f.write_str("connection lost"),
            Error::Lost(error) => write!(f, "connection lost {}", System(*error)),
            Error::Closed => f.write_str("server closed the connection too early"),
            Error::TooLong => f.write_str("server sent too long answer"),
            Error::TooMuch => f.write_str("server does not read what is sent"),
            Error::Protocol(reason) => f.write_str(reason),
        }
    }
}
