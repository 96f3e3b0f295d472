//! The file of a zone: found, made, locked, and put in its place.
//!
//! Two locks say who uses a file. Every nginx that uses it holds a shared `flock`, which ends with its last
//! process, also if its master has been killed: workers inherit the descriptor. The workers that accept
//! connections hold a record lock besides, each its own, until they quit. So a starting nginx knows whether
//! nobody uses the file, an nginx that quits, or one that serves clients.
//!
//! A new file has another name at first. It gets its own when the configuration is complete.

use core::ffi::{c_int, CStr};
use core::mem::zeroed;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use affinity::file::{Description, Header, Lives};
use affinity::table::Table;

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

impl FilePath {
    pub fn new(path: &[u8]) -> FilePath {
        FilePath(Path::new(OsStr::from_bytes(path)).to_owned())
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

    /// What the path leads to.
    pub fn identity(&self) -> Option<Identity> {
        fs::symlink_metadata(&self.0).ok().map(|found| identity(&found))
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
    fn temporary(&self) -> FilePath {
        self.with_suffix(".new")
    }

    /// The name that a damaged file gets.
    pub fn damaged(&self) -> FilePath {
        self.with_suffix(".damaged")
    }

    /// Opens and locks the file, if there is one. Processes of this nginx may use the files of `family`.
    pub fn open(&self, family: &[Identity]) -> Result<Option<Found>, String> {
        self.prepare_folder()?;
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let open = || OpenOptions::new().read(true).write(true).custom_flags(flags).open(&self.0);
        let (file, lives) = loop {
            let file = match open() {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.failed("cannot be opened", &error)),
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

    /// The type, the owner and the mode of a file.
    fn check(&self, file: &File) -> Result<Metadata, String> {
        let found = file.metadata().map_err(|error| self.failed("cannot be read", &error))?;
        if !found.is_file() {
            return Err(self.refused("is no regular file"));
        }
        if found.uid() != user() {
            return Err(self.refused("belongs to another user"));
        }
        if found.mode() & 0o077 != 0 {
            let mode = fs::Permissions::from_mode(0o600);
            file.set_permissions(mode)
                .map_err(|error| self.failed("may be read by others", &error))?;
        }
        Ok(found)
    }

    fn describe(&self, file: &File) -> Result<Option<Description>, String> {
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
            Some(process) => Err(self.in_use(master_in(file).unwrap_or(process))),
        }
    }

    fn in_use(&self, process: u32) -> String {
        match process {
            0 => self.refused("is in use by another nginx"),
            _ => self.refused(&format!("is in use by another nginx (process {process})")),
        }
    }

    /// Makes a new file of `len` bytes, all zero, locked for this nginx.
    pub fn create(&self, len: usize) -> Result<File, String> {
        let temporary = self.temporary();
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let failed = |error: io::Error| temporary.failed("cannot be made", &error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(&temporary.0)
            .map_err(failed)?;
        let found = temporary.check(&file)?;
        if found.nlink() > 1 {
            // Another name of the file in use: an nginx was killed when it put that in its place.
            fs::remove_file(&temporary.0).map_err(failed)?;
            return self.create(len);
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
            return Err(temporary.failed(&format!("has no room for {len} bytes"), &error));
        }
        Ok(file)
    }

    /// Refuses a file that is not what an nginx has left that was killed before it was complete.
    fn check_left(&self, file: &File) -> Result<(), String> {
        let mut start = [0; 8];
        let read =
            file.read_at(&mut start, 0).map_err(|error| self.failed("cannot be read", &error))?;
        match start.iter().take(read).all(|&byte| byte == 0) || Header::is_begun(&start) {
            true => Ok(()),
            false => Err(self.refused("is no file of sticky_learn")),
        }
    }

    /// Removes a new file whose configuration has failed.
    pub fn remove_temporary(&self) {
        self.temporary().remove();
    }

    fn remove(&self) {
        // Nothing else can be done if that fails.
        let _ = fs::remove_file(&self.0);
    }

    /// Gives a new file its name. `replaces` is the file that has it, if any; `keep` the name that this one
    /// gets then.
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
            self.remove_temporary();
            return Err(self.in_use(0));
        }
        if let (Some(keep), true) = (keep, there.is_some()) {
            fs::rename(&self.0, &keep.0).map_err(failed)?;
        }
        let temporary = self.temporary();
        match there.is_some() && keep.is_none() {
            true => fs::rename(&temporary.0, &self.0).map_err(failed)?,
            // Fails if another nginx was faster.
            false => {
                fs::hard_link(&temporary.0, &self.0).map_err(failed)?;
                temporary.remove();
            }
        }
        if let Some(folder) = self.0.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes the folder if it is missing, and checks that nobody else can put files there.
    fn prepare_folder(&self) -> Result<(), String> {
        let Some(folder) = self.0.parent() else {
            return Err(self.refused("is no regular file"));
        };
        // Not by nginx's `ngx_create_paths`, which would give it to the user of the workers.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| FilePath(folder.into()).failed("cannot be made", &error))?;
        let found = fs::metadata(folder)
            .map_err(|error| FilePath(folder.into()).failed("cannot be read", &error))?;
        let folder = FilePath(folder.into());
        if found.uid() != user() && found.uid() != 0 {
            return Err(folder.refused("belongs to another user"));
        }
        // The sticky bit: only a file's owner may rename it.
        if found.mode() & 0o1002 == 0o0002 {
            return Err(folder.refused("may be written by everybody"));
        }
        Ok(())
    }

    /// What `nginx -t` says of the file. It is opened for reading only, and no lock is taken.
    pub fn inspect(&self) -> Result<Inspected, String> {
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Inspected::Missing),
            Err(error) => return Err(self.failed("cannot be opened", &error)),
        };
        let found = file.metadata().map_err(|error| self.failed("cannot be read", &error))?;
        if !found.is_file() {
            return Err(self.refused("is no regular file"));
        }
        if found.uid() != user() {
            return Err(self.refused("belongs to another user"));
        }
        if let Some(process) = accepting(&file) {
            return Ok(Inspected::InUse(master_in(&file).unwrap_or(process)));
        }
        Ok(Inspected::Free(self.describe(&file)?))
    }

    pub fn refused(&self, why: &str) -> String {
        format!("\"{}\" {why}", self.0.display())
    }

    pub fn failed(&self, what: &str, error: &io::Error) -> String {
        self.refused(&format!("{what} {}", Reason(error)))
    }
}

/// What `nginx -t` has found.
pub enum Inspected {
    Missing,
    /// By the nginx of this process.
    InUse(u32),
    /// Nobody serves clients with it.
    Free(Option<Description>),
}

/// An error of the system as nginx writes it: `(28: No space left on device)`.
struct Reason<'e>(&'e io::Error);

impl core::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Some(code) = self.0.raw_os_error() else { return write!(f, "({})", self.0) };
        // SAFETY: the C library returns a text that stays until the next call; nginx has one thread here.
        let text = unsafe { CStr::from_ptr(libc::strerror(code)) };
        write!(f, "({code}: {})", text.to_string_lossy())
    }
}

pub fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

/// The identity of an open file; that of memory without a file is of no use.
pub fn identity_of(fd: BorrowedFd<'_>) -> Option<Identity> {
    let file = File::from(fd.try_clone_to_owned().ok()?);
    Some(identity(&file.metadata().ok()?))
}

/// The user of this process: at a start, who has started nginx.
fn user() -> u32 {
    // SAFETY: reads a number of this process.
    unsafe { libc::geteuid() }
}

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

/// Reserves the blocks of a file, so that a full disk is found now and not by a signal later.
fn allocate(file: &File, len: usize) -> io::Result<()> {
    let Ok(len) = libc::off_t::try_from(len) else { return Err(ErrorKind::InvalidInput.into()) };
    // SAFETY: the descriptor is open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
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

/// A process that serves clients with a file.
fn accepting(file: &File) -> Option<u32> {
    let mut record = record(libc::F_WRLCK);
    // SAFETY: the descriptor is open, and the kernel writes to this record only.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut record) };
    let is_held = result == 0 && c_int::from(record.l_type) != libc::F_UNLCK;
    is_held.then(|| u32::try_from(record.l_pid).unwrap_or(0))
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

/// Keeps a descriptor open in the binary of an upgrade.
pub fn keep_over_exec(file: &File, keep: bool) {
    // SAFETY: the descriptor is open.
    unsafe {
        libc::fcntl(file.as_raw_fd(), libc::F_SETFD, if keep { 0 } else { libc::FD_CLOEXEC })
    };
}
