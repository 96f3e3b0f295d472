//! The locks of a zone's file.
//!
//! Every nginx that uses a file holds a shared `flock`, which ends with its last process, also if its master
//! has been killed: workers inherit the descriptor. The workers that accept connections hold a record lock
//! besides, each its own, until they quit. So a starting nginx knows whether nobody uses the file, an nginx
//! that quits, or one that serves clients.

use core::ffi::c_int;
use core::mem::zeroed;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;

use affinity::file::Header;

/// Takes a lock of the whole file at once, in place of one that this descriptor has. False if another
/// process has one that is in the way.
pub fn flock(file: &File, kind: c_int) -> io::Result<bool> {
    // SAFETY: the descriptor is open.
    if unsafe { libc::flock(file.as_raw_fd(), kind | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.kind() == ErrorKind::WouldBlock => Ok(false),
        error => Err(error),
    }
}

/// The byte that workers lock while they accept connections.
fn record(kind: c_int) -> libc::flock {
    // SAFETY: numbers, for which zero is valid.
    let mut record: libc::flock = unsafe { zeroed() };
    record.l_type = kind as _;
    record.l_whence = libc::SEEK_SET as _;
    record.l_len = 1;
    record
}

/// A process that serves clients with a file: its master, if that lives.
pub fn accepting(file: &File) -> Option<u32> {
    let mut record = record(libc::F_WRLCK);
    // SAFETY: the descriptor is open, and the kernel writes to this record only.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut record) };
    let is_held = result == 0 && c_int::from(record.l_type) != libc::F_UNLCK;
    is_held.then(|| master_in(file).unwrap_or_else(|| u32::try_from(record.l_pid).unwrap_or(0)))
}

/// Notes that this process serves clients with a file, or does so no more.
pub fn accept(fd: RawFd, accepts: bool) {
    let record = record(if accepts { libc::F_RDLCK } else { libc::F_UNLCK });
    // SAFETY: the kernel only reads the record; it checks the descriptor.
    unsafe { libc::fcntl(fd, libc::F_SETLK, &record) };
}

/// The process id of the master in a file's header, if that process lives.
fn master_in(file: &File) -> Option<u32> {
    let mut word = [0; 4];
    file.read_exact_at(&mut word, Header::MASTER_AT).ok()?;
    let process = u32::from_ne_bytes(word);
    let pid = libc::pid_t::try_from(process).ok().filter(|&pid| pid > 1)?;
    // SAFETY: signal 0 is not sent.
    let lives = unsafe { libc::kill(pid, 0) == 0 }
        || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
    lives.then_some(process)
}
