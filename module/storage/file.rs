//! The file of a zone: found, made, locked, and put in its place.
//!
//! A new file has another name at first. It gets its own when the configuration is complete.

use core::ffi::c_int;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use affinity::file::{Description, Header, Inode, Lives};
use affinity::table::Table;

use super::folder;
use super::locks::{accepting, flock};
use super::message::{self, owned_by_another, user};

/// Device and inode: the same for all names and descriptors of a file.
pub type Identity = (u64, u64);

/// The path of a zone's file, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(PathBuf);

/// A file that was found at the path of a zone.
pub struct Found {
    pub file: File,
    pub lives: Lives,
    /// As the file describes itself; `None` if that is damaged.
    pub description: Option<Description>,
}

impl Found {
    /// Whether its table has the format of this version.
    pub fn has_our_format(&self) -> bool {
        self.description.is_some_and(|found| found.table_format == Table::FORMAT)
    }
}

/// What a master finds at the path of a file that it uses, when that is not its own file any more.
pub enum Claim {
    Missing,
    /// Nobody uses this file; it is locked.
    Free(File),
    /// Another nginx uses it.
    InUse,
}

pub(super) const OPEN_FLAGS: c_int = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;

impl FilePath {
    pub fn new(path: &[u8]) -> FilePath {
        FilePath(Path::new(OsStr::from_bytes(path)).to_owned())
    }

    pub fn as_path(&self) -> &Path {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_os_str().as_bytes()
    }

    /// For messages.
    pub fn as_text(&self) -> impl core::fmt::Display + '_ {
        self.0.display()
    }

    fn with_suffix(&self, suffix: &str) -> FilePath {
        let mut path = self.0.clone().into_os_string();
        path.push(suffix);
        FilePath(path.into())
    }

    pub(super) fn folder(&self) -> Result<&Path, String> {
        self.0.parent().ok_or_else(|| self.refused("is no regular file"))
    }

    /// What the path leads to.
    pub fn identity(&self) -> Option<Identity> {
        self.find().ok().flatten()
    }

    /// The same. An error if this user may not know.
    pub fn find(&self) -> io::Result<Option<Identity>> {
        match fs::symlink_metadata(&self.0) {
            Ok(found) => Ok(Some(identity(&found))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether both are one file: also by symbolic links or mounts of folders, and by hard links.
    pub fn is_same_file(&self, other: &FilePath) -> bool {
        let folder =
            |path: &FilePath| fs::metadata(path.0.parent()?).ok().map(|found| identity(&found));
        let is_same = |one: Option<Identity>, other| one.is_some() && one == other;
        self == other
            || is_same(self.identity(), other.identity())
            || (self.0.file_name() == other.0.file_name() && is_same(folder(self), folder(other)))
    }

    /// A new file's name until it is complete.
    pub(super) fn temporary(&self) -> FilePath {
        self.with_suffix(".new")
    }

    /// The second name of the old binary's file in an upgrade that has replaced it: for a rollback.
    pub(super) fn of_old_binary(&self) -> FilePath {
        self.with_suffix(".oldbin")
    }

    /// The name that a damaged file gets. Ten of them are kept.
    pub(super) fn damaged(&self) -> FilePath {
        let names = (0..10).map(|number| match number {
            0 => self.with_suffix(".damaged"),
            _ => self.with_suffix(&format!(".damaged.{number}")),
        });
        let mut last = self.with_suffix(".damaged");
        for name in names {
            last = name;
            if last.identity().is_none() {
                break;
            }
        }
        last
    }

    /// Opens and locks the file, if there is one. Processes of this nginx may use the files of `family`.
    pub fn open(&self, family: &[Identity]) -> Result<Option<Found>, String> {
        folder::prepare(self.folder()?)?;
        let open =
            || OpenOptions::new().read(true).write(true).custom_flags(OPEN_FLAGS).open(&self.0);
        let (file, lives) = loop {
            let file = match open() {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.not_opened(&error)),
            };
            let found = self.check(&file)?;
            let lives = self.lock(&file, family.contains(&identity(&found)))?;
            // Another nginx may have put a new file here before the lock was taken.
            match fs::symlink_metadata(&self.0) {
                Ok(now) if identity(&now) == identity(&found) => break (file, lives),
                _ => continue,
            }
        };
        let description = self.describe(&file)?;
        Ok(Some(Found { file, lives, description }))
    }

    /// Why the file cannot be opened.
    pub(super) fn not_opened(&self, error: &io::Error) -> String {
        match fs::symlink_metadata(&self.0).map(|found| found.file_type()) {
            Ok(kind) if kind.is_symlink() => {
                self.refused("is a symbolic link, name the file that it leads to")
            }
            Ok(kind) if kind.is_dir() || kind.is_socket() => self.refused("is no regular file"),
            _ => self.failed("cannot be opened", error),
        }
    }

    /// The type and the owner of a file.
    pub(super) fn check_owner(&self, file: &File) -> Result<Metadata, String> {
        let found = file.metadata().map_err(|error| self.failed("cannot be read", &error))?;
        if !found.is_file() {
            return Err(self.refused("is no regular file"));
        }
        if found.uid() != user() {
            return Err(owned_by_another(&self.0, &found));
        }
        Ok(found)
    }

    /// The type, the owner and the mode of a file.
    fn check(&self, file: &File) -> Result<Metadata, String> {
        let found = self.check_owner(file)?;
        if found.mode() & 0o077 != 0 {
            let mode = fs::Permissions::from_mode(0o600);
            file.set_permissions(mode)
                .map_err(|error| self.failed("may be read by others", &error))?;
        }
        Ok(found)
    }

    pub(super) fn describe(&self, file: &File) -> Result<Option<Description>, String> {
        let mut start = [0; Header::READ];
        let mut len = 0;
        while let Some(rest) = start.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) => return Err(self.failed("cannot be read", &error)),
            }
        }
        Description::read(start.get(..len).unwrap_or_default())
            .map_err(|refusal| self.refused(&refusal.to_string()))
    }

    fn lock(&self, file: &File, is_family: bool) -> Result<Lives, String> {
        let take =
            |kind| flock(file, kind).map_err(|error| self.failed("cannot be locked", &error));
        if take(libc::LOCK_EX)? {
            return Ok(Lives::Nobody);
        }
        let holder = match is_family {
            true => None,
            false => accepting(file),
        };
        match holder {
            None if take(libc::LOCK_SH)? => Ok(Lives::Family),
            None => Err(self.in_use(0)),
            Some(process) => Err(self.in_use(process)),
        }
    }

    fn in_use(&self, process: u32) -> String {
        let process = match process {
            0 => String::new(),
            _ => format!(" (process {process})"),
        };
        self.refused(&format!(
            "is in use by another nginx{process}, stop it, or give this nginx another file"
        ))
    }

    /// What is at the path, for a master whose file was there.
    pub fn claim(&self) -> Result<Claim, String> {
        let file = match OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Claim::Missing),
            Err(error) => return Err(self.not_opened(&error)),
        };
        self.check_owner(&file)?;
        self.describe(&file)?;
        match flock(&file, libc::LOCK_EX) {
            Ok(true) => Ok(Claim::Free(file)),
            Ok(false) => Ok(Claim::InUse),
            Err(error) => Err(self.failed("cannot be locked", &error)),
        }
    }

    /// Makes a new file of `len` bytes, all zero, locked for this nginx. `beside`: the old file stays until
    /// the new one is complete.
    pub fn create(&self, len: usize, beside: bool) -> Result<File, String> {
        folder::prepare(self.folder()?)?;
        let temporary = self.temporary();
        let failed = |error: io::Error| temporary.failed("cannot be made", &error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OPEN_FLAGS)
            .open(&temporary.0)
            .map_err(failed)?;
        let found = temporary.check(&file)?;
        if found.nlink() > 1 {
            // Another name of the file in use: an nginx was killed when it put that in its place.
            fs::remove_file(&temporary.0).map_err(failed)?;
            return self.create(len, beside);
        }
        if found.len() > 0 {
            temporary.check_left(&file)?;
        }
        for kind in [libc::LOCK_EX, libc::LOCK_SH] {
            if !flock(&file, kind).map_err(failed)? {
                return Err(temporary.in_use(0));
            }
        }
        // What an nginx has left that was killed in the middle of this.
        file.set_len(0).map_err(failed)?;
        if let Err(error) = allocate(&file, len) {
            temporary.remove();
            return Err(match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    temporary.no_room(len, beside, &message::reason(&error))
                }
                _ => temporary.failed(&format!("cannot have {len} bytes"), &error),
            });
        }
        Ok(file)
    }

    pub(super) fn no_room(&self, len: usize, beside: bool, why: &str) -> String {
        self.refused(&match beside {
            true => format!(
                "has no room for {len} bytes beside the old file, {why}; free so many bytes, or remove the \
                 old file to begin without sessions"
            ),
            false => format!("has no room for {len} bytes, {why}"),
        })
    }

    /// Refuses a file that is not what an nginx has left that was killed before it was complete.
    pub(super) fn check_left(&self, file: &File) -> Result<(), String> {
        let mut start = [0; 8];
        let read =
            file.read_at(&mut start, 0).map_err(|error| self.failed("cannot be read", &error))?;
        match start.iter().take(read).all(|&byte| byte == 0) || Header::is_begun(&start) {
            true => Ok(()),
            false => Err(self.refused("is no file of sticky_learn, remove or rename it")),
        }
    }

    /// Removes a new file whose configuration has failed.
    pub fn remove_temporary(&self) {
        self.temporary().remove();
    }

    pub(super) fn remove(&self) {
        // Nothing else can be done if that fails.
        let _ = fs::remove_file(&self.0);
    }

    /// Gives a new file its name. `replaces` is the file that has it, if any; `keep` another name that this
    /// one gets then.
    pub fn put_in_place(
        &self,
        file: &File,
        replaces: Option<Identity>,
        keep: Option<&FilePath>,
    ) -> Result<(), String> {
        let failed = |error: io::Error| self.failed("cannot be put in its place", &error);
        // The header is on the disk before the name is: after a crash of the machine the file is known.
        file.sync_all().map_err(failed)?;
        let there = self.identity();
        if there.is_some() && there != replaces {
            return Err(self.in_use(0));
        }
        let temporary = self.temporary();
        match there {
            Some(_) => {
                if let Some(keep) = keep {
                    keep.remove();
                    fs::hard_link(&self.0, &keep.0).map_err(failed)?;
                }
                fs::rename(&temporary.0, &self.0).map_err(failed)?;
            }
            // Fails if another nginx was faster.
            None => {
                fs::hard_link(&temporary.0, &self.0).map_err(failed)?;
                temporary.remove();
            }
        }
        self.sync_folder().map_err(failed)
    }

    /// Gives a file of another name this one.
    pub(super) fn take_name(&self, other: &FilePath) -> Result<(), String> {
        fs::rename(&other.0, &self.0)
            .and_then(|()| self.sync_folder())
            .map_err(|error| self.failed("cannot be put in its place", &error))
    }

    fn sync_folder(&self) -> io::Result<()> {
        match self.0.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    pub fn refused(&self, why: &str) -> String {
        message::refused(&self.0, why)
    }

    pub fn failed(&self, what: &str, error: &io::Error) -> String {
        message::failed(&self.0, what, error)
    }
}

pub fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

/// What a copy of the file has otherwise.
pub fn inode(file: &Metadata) -> Inode {
    let born = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or(0, |since| since.as_nanos() as u64);
    Inode { device: file.dev(), number: file.ino(), born }
}

/// The identity of an open file; that of memory without a file is of no use.
pub fn identity_of(fd: BorrowedFd<'_>) -> Option<Identity> {
    let file = File::from(fd.try_clone_to_owned().ok()?);
    Some(identity(&file.metadata().ok()?))
}

/// Reserves the blocks of a file, so that a full disk is found now and not by a signal later.
fn allocate(file: &File, len: usize) -> io::Result<()> {
    let Ok(len) = libc::off_t::try_from(len) else { return Err(ErrorKind::InvalidInput.into()) };
    // SAFETY: the descriptor is open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Keeps a descriptor open in the binary of an upgrade.
pub fn keep_over_exec(file: &File, keep: bool) {
    // SAFETY: the descriptor is open.
    unsafe {
        libc::fcntl(file.as_raw_fd(), libc::F_SETFD, if keep { 0 } else { libc::FD_CLOEXEC })
    };
}
