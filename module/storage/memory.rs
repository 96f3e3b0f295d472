//! The memory of a zone in this process, and its descriptor.

use core::cell::RefCell;
use core::ptr::NonNull;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::Mapping;

/// The memory of a zone.
pub struct Memory {
    pages: Mapping,
    /// By it the binary of an upgrade maps the same memory. `None` in a worker, and where the system has no
    /// such descriptors.
    fd: RefCell<Option<OwnedFd>>,
}

impl Memory {
    /// New memory, all zero, with a descriptor where the system has some.
    pub fn new(len: usize) -> io::Result<Memory> {
        match open_memory(len) {
            Ok(fd) => Memory::of(fd, len),
            // An old kernel, or a container whose rules do not know the call.
            Err(_) => Memory::anonymous(len),
        }
    }

    /// New memory without a descriptor.
    pub fn anonymous(len: usize) -> io::Result<Memory> {
        Ok(Memory { pages: Mapping::anonymous(len)?, fd: RefCell::default() })
    }

    /// The memory of a descriptor that another process has opened by [`Memory::new`]. An error if it is
    /// anything else.
    pub fn inherited(fd: OwnedFd) -> io::Result<Memory> {
        if !is_memory(fd.as_raw_fd()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let file = File::from(fd);
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Memory::of(file.into(), len)
    }

    fn of(fd: OwnedFd, len: usize) -> io::Result<Memory> {
        let pages = Mapping::shared(fd.as_fd(), len)?;
        Ok(Memory { pages, fd: RefCell::new(Some(fd)) })
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

    pub fn fd(&self) -> Option<RawFd> {
        self.fd.try_borrow().ok()?.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Closes the descriptor in a worker, which starts no binary. The memory stays mapped.
    pub fn close(&self) {
        if let Ok(mut fd) = self.fd.try_borrow_mut() {
            *fd = None;
        }
    }
}

/// A descriptor of new memory that nobody can shrink. It stays open in a new binary.
#[cfg(target_os = "linux")]
fn open_memory(len: usize) -> io::Result<OwnedFd> {
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
        0 => Ok(file.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The memory keeps its size, and keeps these seals.
#[cfg(target_os = "linux")]
const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

#[cfg(target_os = "linux")]
fn is_memory(fd: RawFd) -> bool {
    // SAFETY: the kernel checks the number, and reads nothing of this process.
    unsafe {
        libc::fcntl(fd, libc::F_GET_SEALS) & SEALS == SEALS
            && libc::fcntl(fd, libc::F_GET_SEALS) >= 0
    }
}

#[cfg(not(target_os = "linux"))]
fn open_memory(_len: usize) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn is_memory(_fd: RawFd) -> bool {
    false
}
