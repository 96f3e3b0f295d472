//! A non-blocking `connect`, and the meaning of its errors.

use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr::NonNull;
use std::io::Error;

use affinity::servers::Reason;
use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_event_handler_pt, ngx_get_connection, ngx_int_t,
    ngx_log_t,
};

use crate::nginx::ERROR;

extern "C" {
    fn sticky_learn_watch_connection(c: *mut ngx_connection_t) -> ngx_int_t;
}

/// The result of a `connect`.
pub(super) enum ConnectResult {
    Done(Result<(), Reason>),
    Begun,
    /// It failed for a reason on this machine.
    Local,
}

pub(super) struct Socket(c_int);

impl Socket {
    /// Begins to connect to a socket address.
    pub(super) fn connect(address: &[u8]) -> (Option<Socket>, ConnectResult) {
        let Some(family) = address.first_chunk().map(|it| libc::sa_family_t::from_ne_bytes(*it))
        else {
            return (None, ConnectResult::Local);
        };
        // SAFETY: the kernel reads `len` bytes of the address.
        unsafe {
            let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let socket = match libc::socket(c_int::from(family), flags, 0) {
                -1 => return (None, ConnectResult::Local),
                number => Socket(number),
            };
            let len = address.len() as libc::socklen_t;
            if libc::connect(socket.0, address.as_ptr().cast(), len) == 0 {
                return (Some(socket), ConnectResult::Done(Ok(())));
            }
            let progress = match Error::last_os_error().raw_os_error().unwrap_or(0) {
                libc::EINPROGRESS => ConnectResult::Begun,
                error => match reason_of(error) {
                    Some(reason) => ConnectResult::Done(Err(reason)),
                    None => ConnectResult::Local,
                },
            };
            (Some(socket), progress)
        }
    }

    /// Makes the socket a connection of nginx, whose events call `handler`; `None` if nginx has no free
    /// connection or cannot add it to the event loop.
    ///
    /// # Safety
    /// `data` lives until the connection is closed.
    pub(super) unsafe fn watch(
        self,
        data: *mut c_void,
        handler: ngx_event_handler_pt,
        log: *mut ngx_log_t,
    ) -> Option<NonNull<ngx_connection_t>> {
        // SAFETY: nginx returns a connection or null; a connection owns the socket from then on.
        unsafe {
            let connection = NonNull::new(ngx_get_connection(self.0, log))?;
            let c = connection.as_ptr();
            mem::forget(self);
            (*c).data = data;
            (*c).log = log;
            for event in [(*c).read, (*c).write] {
                (*event).handler = handler;
                (*event).log = log;
            }
            if sticky_learn_watch_connection(c) == ERROR {
                ngx_close_connection(c);
                return None;
            }
            Some(connection)
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: this value owns the socket.
        unsafe { libc::close(self.0) };
    }
}

/// Why a server cannot be reached, if another `connect` fails at once; `None` if it does not, or fails for a
/// reason on this machine.
pub fn connect_once(address: &[u8]) -> Option<Reason> {
    match Socket::connect(address) {
        (_, ConnectResult::Done(Err(reason))) => Some(reason),
        _ => None,
    }
}

/// The error of a `connect` that has ended, or zero.
pub(super) fn error_of(socket: c_int) -> c_int {
    let mut error: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `error`, and the length to `len`.
    let result = unsafe {
        let at = (&raw mut error).cast();
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_ERROR, at, &mut len)
    };
    match result {
        0 => error,
        _ => Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
    }
}

/// The meaning of an error of `connect` for the server; `None` if the cause is on this machine
/// (`EADDRNOTAVAIL`, `ENETUNREACH`, `EMFILE` and others).
pub(super) fn reason_of(error: c_int) -> Option<Reason> {
    match error {
        // `ENOENT`: the file of a Unix socket is missing.
        libc::ECONNREFUSED | libc::ENOENT => Some(Reason::Refused),
        libc::ECONNRESET | libc::ECONNABORTED => Some(Reason::Reset),
        // `EAGAIN`: the queue of a Unix socket is full.
        libc::ETIMEDOUT | libc::EAGAIN => Some(Reason::TimedOut),
        libc::EHOSTUNREACH | libc::EHOSTDOWN => Some(Reason::NoRoute),
        _ => None,
    }
}
