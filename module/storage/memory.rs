//! The memory of a zone in this process: its mapping, its descriptor, and its file, if it has one.

use core::cell::RefCell;
use core::ptr::NonNull;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use affinity::file::{sums, Description, Header};
use nginx_sys::ngx_pagesize;

use super::clock::clock;
use super::file::{self, FilePath, Identity};
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
}

/// What a new file does with the one at its path.
pub struct Pending {
    /// It stays open, and so locked, until then.
    pub replaces: Option<File>,
    /// Whether that one is kept with another name.
    pub keep: bool,
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
        let stored = Stored { path, identity, pending: RefCell::new(pending) };
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

    /// Whether the path of the file still leads to it: somebody may have removed or replaced it, as an upgrade
    /// that was rolled back. True without a file.
    pub fn is_in_place(&self) -> bool {
        self.stored.as_ref().is_none_or(|stored| stored.path.identity() == Some(stored.identity))
    }

    /// The file that the memory of the old binary is in, if it is in one.
    pub fn file_identity(&self) -> Option<Identity> {
        let file = self.fd.borrow();
        let file = file.as_ref().filter(|file| !is_memory(file.as_raw_fd()))?;
        Some(file::identity(&file.metadata().ok()?))
    }

    /// Gives a new file its name. To be called when the configuration is complete.
    pub fn put_in_place(&self) -> Result<(), String> {
        let Some(stored) = &self.stored else { return Ok(()) };
        let (Some(pending), Some(file)) = (stored.pending.take(), &*self.fd.borrow()) else {
            return Ok(());
        };
        let damaged = pending.keep.then(|| stored.path.damaged());
        let replaces = pending.replaces.and_then(|file| file.metadata().ok());
        let replaces = replaces.map(|file| file::identity(&file));
        let placed = stored.path.put_in_place(file, replaces, damaged.as_ref());
        if placed.is_ok() {
            self.header().note_sync(clock().wall);
        }
        placed
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

    /// Writes the sums of all pages, and the file to its disk, if no other nginx uses it. To be called by a
    /// master whose workers have ended.
    pub fn close_file(&self) -> Result<(), String> {
        let (Some(stored), Some(file)) = (&self.stored, &*self.fd.borrow()) else { return Ok(()) };
        if !file::flock(file, libc::LOCK_EX).unwrap_or(false) {
            return Ok(());
        }
        let header = self.header();
        header.note_clock(clock());
        header.note_sync(clock().wall);
        // SAFETY: mapped, and nobody writes to it any more.
        let bytes =
            unsafe { core::slice::from_raw_parts(self.pages.address().as_ptr(), self.pages.len()) };
        let sums: Vec<u8> = sums::of(bytes).collect();
        let written =
            file.write_all_at(&sums, self.pages.len() as u64).and_then(|()| file.sync_data());
        written.map_err(|error| stored.path.failed("cannot be written", &error))?;
        // After the sums: if the machine stops between the two, the file counts as not closed.
        header.close();
        file.sync_data().map_err(|error| stored.path.failed("cannot be written", &error))
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
