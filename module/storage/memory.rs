//! The memory of a zone in this process: its mapping, its descriptor, and its file, if it has one.

use core::cell::{Cell, RefCell};
use core::ptr::{self, NonNull};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use affinity::file::{sums, Description, Header};
use nginx_sys::ngx_pagesize;

use super::clock::clock;
use super::file::{self, Claim, FilePath, Identity};
use super::locks::flock;
use super::Mapping;

/// The memory of a zone.
pub struct Memory {
    pages: Mapping,
    /// By it the binary of an upgrade maps the same memory. `None` in a worker whose zone has no file, and
    /// where the system has no such descriptors.
    fd: RefCell<Option<File>>,
    stored: Option<Stored>,
}

/// The file that a memory is in.
struct Stored {
    path: FilePath,
    identity: Identity,
    /// While the file has not got its name yet.
    pending: RefCell<Option<Pending>>,
    /// The old binary's file that this one has replaced in an upgrade.
    displaced: Cell<Option<Identity>>,
}

/// What a new file does with the one at its path.
pub struct Pending {
    /// It stays open, and so locked, until then.
    pub replaces: Option<File>,
    /// Why that one is kept with another name, if it is.
    pub keep: Option<String>,
}

/// What a file has been given its name again for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// An upgrade was rolled back: the path had led to the file of the new binary.
    RolledBack,
    /// Somebody had removed or replaced the file.
    Lost,
}

/// The length of the mapping of a zone of `size` bytes.
pub fn mapped_len(size: usize) -> usize {
    // SAFETY: a plain word, set when nginx starts.
    size.next_multiple_of(unsafe { ngx_pagesize }.max(sums::PAGE))
}

/// The length of the file of a zone of `size` bytes: behind the memory are the sums of its pages.
pub fn file_len(size: usize) -> usize {
    mapped_len(size) + sums::len(mapped_len(size))
}

impl Memory {
    /// New memory, all zero, with a descriptor where the system has some.
    pub fn new(len: usize) -> io::Result<Memory> {
        match open_memory(len) {
            Ok(fd) => Memory::of(fd, len, None),
            // An old kernel, or a container whose rules do not know the call.
            Err(_) => Memory::anonymous(len),
        }
    }

    /// New memory without a descriptor.
    pub fn anonymous(len: usize) -> io::Result<Memory> {
        Ok(Memory { pages: Mapping::anonymous(len)?, fd: RefCell::default(), stored: None })
    }

    /// The memory in a file of this name, for a zone of `size` bytes. `pending` if the file is new.
    pub fn stored(
        path: FilePath,
        file: File,
        size: usize,
        pending: Option<Pending>,
    ) -> io::Result<Memory> {
        let identity = file::identity(&file.metadata()?);
        let displaced = Cell::default();
        let stored = Stored { path, identity, pending: RefCell::new(pending), displaced };
        Memory::of(file, mapped_len(size), Some(stored))
    }

    /// The memory of a descriptor of the old binary. An error if it is anything else.
    pub fn inherited(fd: OwnedFd) -> io::Result<Memory> {
        let is_sealed = is_memory(fd.as_raw_fd());
        let file = File::from(fd);
        let there = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if is_sealed {
            return Memory::of(file, there, None);
        }
        let mut start = [0; Header::READ];
        file.read_exact_at(&mut start, 0)?;
        let Ok(Some(Description { size, .. })) = Description::read(&start) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let len = mapped_len(usize::try_from(size).map_err(io::Error::other)?);
        match len <= there {
            true => Memory::of(file, len, None),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn of(file: File, len: usize, stored: Option<Stored>) -> io::Result<Memory> {
        let pages = Mapping::shared(file.as_fd(), len)?;
        Ok(Memory { pages, fd: RefCell::new(Some(file)), stored })
    }

    /// The mapping alone.
    pub fn into_pages(self) -> Mapping {
        self.pages
    }

    pub fn pages(&self) -> &Mapping {
        &self.pages
    }

    /// The memory at `offset`; `None` behind its end.
    pub fn at(&self, offset: usize) -> Option<NonNull<u8>> {
        // SAFETY: within the mapping.
        (offset < self.pages.len()).then(|| unsafe { self.pages.address().add(offset) })
    }

    /// The header; its words are zero while the memory is new.
    pub fn header(&self) -> &Header {
        // SAFETY: a memory is longer than a header, and mapped as long as `self` lives. Only this module
        // writes to it.
        unsafe { Header::at(self.pages.address()) }
    }

    pub fn fd(&self) -> Option<RawFd> {
        self.fd.try_borrow().ok()?.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// The length of the file that a memory of this length is in.
    pub fn file_len(&self) -> usize {
        file_len(self.pages.len())
    }

    /// Calls `f` with the descriptor, if there is one.
    pub fn with_file<T>(&self, f: impl FnOnce(&File) -> Option<T>) -> Option<T> {
        f(self.fd.try_borrow().ok()?.as_ref()?)
    }

    /// The path of the file.
    pub fn path(&self) -> Option<&FilePath> {
        Some(&self.stored.as_ref()?.path)
    }

    pub fn identity(&self) -> Option<Identity> {
        Some(self.stored.as_ref()?.identity)
    }

    /// Whether the path of the file still leads to it: somebody may have removed or replaced it. True without a
    /// file.
    pub fn is_in_place(&self) -> bool {
        self.stored.as_ref().is_none_or(|stored| stored.path.identity() == Some(stored.identity))
    }

    /// The same for a worker, whose user may have no access to the folder: then whether the file has a name.
    /// True while the binary of an upgrade has another file there.
    pub fn is_linked(&self) -> bool {
        let Some(stored) = &self.stored else { return true };
        let is_it = |found: Option<Identity>| found == Some(stored.identity);
        match stored.path.find() {
            Ok(found) => is_it(found) || is_it(stored.path.of_old_binary().identity()),
            Err(_) => self.with_file(|file| Some(file.metadata().ok()?.nlink() > 0)) != Some(false),
        }
    }

    /// Notes in the header which file this is.
    pub fn note_inode(&self) -> io::Result<()> {
        if let (Some(_), Some(file)) = (&self.stored, &*self.fd.borrow()) {
            self.header().note_inode(file::inode(&file.metadata()?));
        }
        Ok(())
    }

    /// The file that the memory of the old binary is in, if it is in one.
    pub fn file_identity(&self) -> Option<Identity> {
        let file = self.fd.borrow();
        let file = file.as_ref().filter(|file| !is_memory(file.as_raw_fd()))?;
        Some(file::identity(&file.metadata().ok()?))
    }

    /// Gives a new file its name. To be called when the configuration is complete. The file of `old_binary` that
    /// it replaces keeps another name. Returns what is to be said of an old file that is kept.
    pub fn put_in_place(&self, old_binary: &[Identity]) -> Result<Option<String>, String> {
        let Some(stored) = &self.stored else { return Ok(None) };
        let (Some(pending), Some(file)) = (stored.pending.take(), &*self.fd.borrow()) else {
            return Ok(None);
        };
        let replaces = pending.replaces.and_then(|file| file.metadata().ok());
        let replaces = replaces.map(|file| file::identity(&file));
        let displaced = replaces.filter(|file| old_binary.contains(file));
        let kept = match (&pending.keep, displaced) {
            (Some(_), _) => Some(stored.path.damaged()),
            (None, Some(_)) => Some(stored.path.of_old_binary()),
            (None, None) => None,
        };
        stored
            .path
            .put_in_place(file, replaces, kept.as_ref())
            .inspect_err(|_| stored.path.remove_temporary())?;
        stored.displaced.set(displaced);
        self.header().note_sync(clock().wall);
        Ok(pending.keep.zip(kept).map(|(why, kept)| {
            format!("{}; the old file is \"{}\"", stored.path.refused(&why), kept.as_text())
        }))
    }

    /// Gives the file its name again if an upgrade has taken that and was rolled back. Returns whether the
    /// path leads to the file then.
    pub fn take_back(&self) -> bool {
        let Some(stored) = &self.stored else { return true };
        let old = stored.path.of_old_binary();
        old.identity() == Some(stored.identity)
            && matches!(stored.path.claim(), Ok(Claim::Missing | Claim::Free(_)))
            && stored.path.take_name(&old).is_ok()
    }

    /// Keeps the descriptor open in the binary of an upgrade.
    pub fn keep_over_exec(&self) {
        if let (Some(file), Some(_)) = (&*self.fd.borrow(), &self.stored) {
            file::keep_over_exec(file, true);
        }
    }

    /// Closes the descriptor in a worker, which starts no binary. The memory stays mapped. That of a file
    /// stays open, since its lock lasts as long.
    pub fn close_in_worker(&self) {
        match &self.stored {
            Some(_) => {
                self.fd.borrow().iter().for_each(|file| file::keep_over_exec(file, false));
            }
            None => *self.fd.borrow_mut() = None,
        }
    }

    /// Writes the sums of all pages, and the file to its disk, if no other nginx uses it. A file that has lost
    /// its name gets it again, or is written again. To be called by a master whose workers have ended.
    /// `is_rollback`: it is the new binary of an upgrade, and the old one lives.
    pub fn close_file(&self, is_rollback: bool) -> Result<Option<Returned>, String> {
        let (Some(stored), Some(file)) = (&self.stored, &*self.fd.borrow()) else {
            return Ok(None);
        };
        let old = stored.path.of_old_binary();
        if let Some(displaced) = stored.displaced.get().filter(|_| self.is_in_place()) {
            if old.identity() == Some(displaced) {
                if is_rollback {
                    return stored.path.take_name(&old).map(|()| Some(Returned::RolledBack));
                }
                // The old binary was killed.
                old.remove();
            }
        }
        if !flock(file, libc::LOCK_EX).unwrap_or(false) {
            return Ok(None);
        }
        if self.is_in_place() {
            return self.close(&stored.path, file).map(|()| None);
        }
        let is_old = old.identity() == Some(stored.identity);
        match stored.path.claim()? {
            // The binary of an upgrade has a file of its own here.
            Claim::InUse => {
                if is_old {
                    old.remove();
                }
                Ok(None)
            }
            Claim::Missing | Claim::Free(_) if is_old => {
                stored.path.take_name(&old)?;
                self.close(&stored.path, file).map(|()| Some(Returned::RolledBack))
            }
            Claim::Missing => self.write_again(&stored.path, None),
            Claim::Free(there) => self.write_again(&stored.path, Some(there)),
        }
    }

    /// Writes a file that has no name any more to a new one.
    fn write_again(
        &self,
        path: &FilePath,
        replaces: Option<File>,
    ) -> Result<Option<Returned>, String> {
        let failed = |error| path.failed("cannot be written again", &error);
        let file = path.create(file_len(self.pages.len()), replaces.is_some())?;
        let pending = Some(Pending { replaces, keep: None });
        let new = Memory::stored(path.clone(), file, self.pages.len(), pending).map_err(failed)?;
        // SAFETY: both are mapped with this length, and nobody else writes to them.
        unsafe {
            let (from, to) = (self.pages.address().as_ptr(), new.pages.address().as_ptr());
            ptr::copy_nonoverlapping(from, to, self.pages.len());
        }
        new.note_inode().map_err(failed)?;
        new.put_in_place(&[])?;
        if let Some(file) = &*new.fd.borrow() {
            new.close(path, file)?;
        }
        Ok(Some(Returned::Lost))
    }

    /// Writes the sums of all pages, and the file to its disk. No process writes to it any more.
    fn close(&self, path: &FilePath, file: &File) -> Result<(), String> {
        let header = self.header();
        header.note_clock(clock());
        header.note_sync(clock().wall);
        // SAFETY: mapped, and nobody writes to it any more.
        let bytes =
            unsafe { core::slice::from_raw_parts(self.pages.address().as_ptr(), self.pages.len()) };
        let sums: Vec<u8> = sums::of(bytes).collect();
        let written =
            file.write_all_at(&sums, self.pages.len() as u64).and_then(|()| file.sync_data());
        written.map_err(|error| path.failed("cannot be written", &error))?;
        // After the sums: if the machine stops between the two, the file counts as not closed.
        header.close();
        file.sync_data().map_err(|error| path.failed("cannot be written", &error))
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        // The configuration has failed.
        if self.pending.borrow().is_some() {
            self.path.remove_temporary();
        }
    }
}

/// A descriptor of new memory that nobody can shrink. It stays open in a new binary.
#[cfg(target_os = "linux")]
fn open_memory(len: usize) -> io::Result<File> {
    /// From linux/memfd.h, Linux 6.3.
    const MFD_NOEXEC_SEAL: libc::c_uint = 8;

    let open = |flags| {
        // SAFETY: the name is a C string; the kernel returns a new descriptor, or -1.
        unsafe {
            let fd = libc::memfd_create(c"sticky_learn".as_ptr(), flags);
            (fd >= 0).then(|| File::from_raw_fd(fd)).ok_or_else(io::Error::last_os_error)
        }
    };
    let file = open(MFD_NOEXEC_SEAL).or_else(|_| open(libc::MFD_ALLOW_SEALING))?;
    file.set_len(len as u64)?;
    // SAFETY: the descriptor is open.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The memory keeps its size, and keeps these seals.
#[cfg(target_os = "linux")]
const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

#[cfg(target_os = "linux")]
fn is_memory(fd: RawFd) -> bool {
    // SAFETY: the kernel checks the number, and reads nothing of this process.
    let seals = unsafe { libc::fcntl(fd, libc::F_GET_SEALS) };
    seals >= 0 && seals & SEALS == SEALS
}

#[cfg(not(target_os = "linux"))]
fn open_memory(_len: usize) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_fd: RawFd) -> bool {
    false
}
