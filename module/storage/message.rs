//! Why a file or a folder cannot be used, as texts for the log.

use core::ffi::CStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `"/path" is no regular file`.
pub fn refused(path: &Path, why: &str) -> String {
    format!("\"{}\" {why}", path.display())
}

/// `"/path" cannot be opened (2: No such file or directory)`.
pub fn failed(path: &Path, what: &str, error: &io::Error) -> String {
    refused(path, &format!("{what} {}", reason(error)))
}

/// An error of the system as nginx writes it: `(28: No space left on device)`.
pub fn reason(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else { return format!("({error})") };
    // SAFETY: the C library returns a text that stays until the next call; nginx has one thread here.
    let text = unsafe { CStr::from_ptr(libc::strerror(code)) };
    format!("({code}: {})", text.to_string_lossy())
}

/// The owner of a file or folder is not this user.
pub fn owned_by_another(path: &Path, found: &Metadata) -> String {
    let (owner, user) = (found.uid(), user());
    refused(
        path,
        &format!("belongs to user {owner}, it must belong to user {user}, who starts nginx"),
    )
}

/// The user of this process: at a start, who has started nginx.
pub fn user() -> u32 {
    // SAFETY: reads a number of this process.
    unsafe { libc::geteuid() }
}
