//! The folder of a zone's file: made and checked, and the room that it has.

use std::ffi::CString;
use std::fs::{self, DirBuilder, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::message::{failed, owned_by_another, refused, user};

/// Makes the folder if it is missing, and checks that nobody else can put files there.
pub fn prepare(folder: &Path) -> Result<(), String> {
    check(folder)?;
    // Not by nginx's `ngx_create_paths`, which would give it to the user of the workers.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| failed(folder, "cannot be made", &error))?;
    check(folder)
}

/// The same without making it: whether it can be made.
pub fn check(folder: &Path) -> Result<(), String> {
    let (nearest, found) = nearest(folder)?;
    if !found.is_dir() {
        return Err(refused(nearest, "is no folder"));
    }
    if nearest != folder {
        return check_writable(folder);
    }
    if found.uid() != user() && found.uid() != 0 {
        return Err(owned_by_another(folder, &found));
    }
    // The sticky bit: only a file's owner may rename it.
    if found.mode() & 0o1002 == 0o0002 {
        let why =
            "may be written by everybody: chmod o-w it, or name a folder in it, which nginx makes";
        return Err(refused(folder, why));
    }
    Ok(())
}

/// Whether a file can be made in the folder, or in the folder that it is made in.
pub fn check_writable(folder: &Path) -> Result<(), String> {
    let (nearest, _) = nearest(folder)?;
    access(nearest, libc::W_OK | libc::X_OK)
        .map_err(|error| failed(nearest, "cannot be written", &error))
}

/// Bytes that are free on the file system of the folder; `None` if that has no limit, or does not say.
pub fn room(folder: &Path) -> Option<u64> {
    let path = CString::new(nearest(folder).ok()?.0.as_os_str().as_bytes()).ok()?;
    // SAFETY: numbers, for which zero is valid; the kernel reads a C string, and writes to this value only.
    let room = unsafe {
        let mut room: libc::statvfs = core::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut room) == 0).then_some(room)?
    };
    // A part of a disk is for root.
    let free = if user() == 0 { room.f_bfree } else { room.f_bavail };
    (room.f_blocks > 0).then(|| free.saturating_mul(room.f_frsize))
}

/// Whether the user that this process acts for may do that.
pub fn access(path: &Path, mode: libc::c_int) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the kernel reads a C string.
    match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The folder, or the last one on the way to it that there is.
fn nearest(folder: &Path) -> Result<(&Path, Metadata), String> {
    let mut at = folder;
    loop {
        match fs::metadata(at) {
            Ok(found) => return Ok((at, found)),
            Err(error) => {
                let is_missing =
                    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
                if is_missing && fs::symlink_metadata(at).is_ok() {
                    return Err(refused(at, "is a symbolic link that leads nowhere"));
                }
                match at.parent().filter(|_| is_missing) {
                    Some(parent) => at = parent,
                    None => return Err(failed(at, "cannot be read", &error)),
                }
            }
        }
    }
}
