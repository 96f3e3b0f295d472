//! A `connect` that does not wait, and what its errors say of the server.

use crate::nginx::ERROR;
use crate::servers::attempt::on_event;
use crate::servers::attempt::Attempt;
use affinity::servers::Reason;
use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr;
use nginx_sys::{
    ngx_close_connection, ngx_connection_t, ngx_get_connection, ngx_int_t, ngx_log_t, sockaddr,
    socklen_t,
};
use std::io::Error;

extern "C" {
    fn sticky_learn_watch_connection(c: *mut ngx_connection_t) -> ngx_int_t;
}

/// What became of a `connect`.
pub(super) enum Progress {
    Done(Result<(), Reason>),
    Begun,
    /// It failed for want of something here.
    Local,
}

pub(super) struct Socket(c_int);

impl Socket {
    /// # Safety
    /// `address` is the start of a socket address of `len` bytes.
    pub(super) unsafe fn connect(
        address: *const sockaddr,
        len: socklen_t,
    ) -> (Option<Socket>, Progress) {
        // SAFETY: by this function's contract.
        unsafe {
            let family = c_int::from((*address).sa_family);
            let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let socket = match libc::socket(family, flags, 0) {
                -1 => return (None, Progress::Local),
                number => Socket(number),
            };
            if libc::connect(socket.0, address.cast(), len) == 0 {
                return (Some(socket), Progress::Done(Ok(())));
            }
            let progress = match Error::last_os_error().raw_os_error().unwrap_or(0) {
                libc::EINPROGRESS => Progress::Begun,
                error => match reason_of(error) {
                    Some(reason) => Progress::Done(Err(reason)),
                    None => Progress::Local,
                },
            };
            (Some(socket), progress)
        }
    }

    /// Has nginx tell what becomes of it; null if that cannot be.
    ///
    /// # Safety
    /// Called in the event loop; `attempt` lives as long as the connection.
    pub(super) unsafe fn watch(
        self,
        attempt: *mut Attempt,
        log: *mut ngx_log_t,
    ) -> *mut ngx_connection_t {
        // SAFETY: by this function's contract. A connection takes the socket over.
        unsafe {
            let connection = ngx_get_connection(self.0, log);
            let Some(c) = connection.as_mut() else { return ptr::null_mut() };
            mem::forget(self);
            c.data = attempt.cast::<c_void>();
            c.log = log;
            for event in [c.read, c.write] {
                (*event).handler = Some(on_event);
                (*event).log = log;
            }
            let added = sticky_learn_watch_connection(connection);
            if added == ERROR {
                ngx_close_connection(connection);
                return ptr::null_mut();
            }
            connection
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: the socket is nobody else's.
        unsafe { libc::close(self.0) };
    }
}

/// Why a server cannot be reached, if one more `connect` says so at once; `None` if it does not, or if
/// the reason is on this machine.
///
/// # Safety
/// As for [`Socket::connect`].
pub unsafe fn connect_once(address: *const sockaddr, len: socklen_t) -> Option<Reason> {
    if address.is_null() {
        return None;
    }
    // SAFETY: by this function's contract.
    match unsafe { Socket::connect(address, len) } {
        (_, Progress::Done(Err(reason))) => Some(reason),
        _ => None,
    }
}

pub(super) fn socket_error(socket: c_int) -> c_int {
    let mut error: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: both are writable, and as large as is said.
    let result = unsafe {
        let at = (&raw mut error).cast();
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_ERROR, at, &mut len)
    };
    match result {
        0 => error,
        _ => Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
    }
}

/// What an error of `connect` says of the server; `None` if it is about this machine (`EADDRNOTAVAIL`,
/// `ENETUNREACH`, `EMFILE` and the like).
pub(super) fn reason_of(error: c_int) -> Option<Reason> {
    match error {
        // A missing file is a Unix socket that nobody listens at.
        libc::ECONNREFUSED | libc::ENOENT => Some(Reason::Refused),
        libc::ECONNRESET | libc::ECONNABORTED => Some(Reason::Reset),
        // Of a Unix socket whose queue is full.
        libc::ETIMEDOUT | libc::EAGAIN => Some(Reason::TimedOut),
        libc::EHOSTUNREACH | libc::EHOSTDOWN => Some(Reason::NoRoute),
        _ => None,
    }
}
