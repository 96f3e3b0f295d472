//! The meaning of the errors of `connect` for a server.

use core::ffi::c_int;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use affinity::servers::Reason;

/// Why a server cannot be reached, if another `connect` fails at once; `None` if it does not, or fails for a
/// reason on this machine.
pub fn connect_once(address: &[u8]) -> Option<Reason> {
    let family = address.first_chunk().map(|it| libc::sa_family_t::from_ne_bytes(*it))?;
    // SAFETY: the kernel returns a new socket, and reads `len` bytes of the address.
    unsafe {
        let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let socket = match libc::socket(c_int::from(family), flags, 0) {
            -1 => return None,
            number => OwnedFd::from_raw_fd(number),
        };
        let len = address.len() as libc::socklen_t;
        match libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), len) {
            0 => None,
            _ => reason_of(Error::last_os_error().raw_os_error().unwrap_or(0)),
        }
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
