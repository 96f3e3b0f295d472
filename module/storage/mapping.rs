//! Mappings of memory that processes share.

use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nginx_sys::ngx_pagesize;

/// A mapping, which ends with this value.
pub struct Mapping {
    address: NonNull<c_void>,
    len: usize,
}

/// The size of a huge page where a page has `SMALL` bytes (x86-64, and aarch64 with such pages).
const HUGE: usize = 2 << 20;
const SMALL: usize = 4 << 10;

/// The largest memory with huge pages. A huge page takes all of its memory at once, a small page only when it
/// is used; and huge pages for this many bytes take half a second.
const MOST: usize = 128 << 20;

/// From linux/mman.h; libc has it for glibc only.
#[cfg(target_os = "linux")]
const MADV_COLLAPSE: c_int = 25;

impl Mapping {
    /// Maps the first `len` bytes of a descriptor; all processes that do so share them.
    pub fn shared(fd: BorrowedFd<'_>, len: usize) -> io::Result<Mapping> {
        Mapping::map(libc::MAP_SHARED, fd.as_raw_fd(), len)
    }

    /// Maps memory without a name: processes that are forked from this one share it.
    pub fn anonymous(len: usize) -> io::Result<Mapping> {
        Mapping::map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, len)
    }

    fn map(flags: c_int, fd: c_int, len: usize) -> io::Result<Mapping> {
        if !has_huge_pages(len) {
            return Mapping::at(ptr::null_mut(), flags, fd, len);
        }
        // At a multiple of the huge page's size, so that the kernel can use huge pages.
        let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let room = Mapping::at(ptr::null_mut(), none, -1, len + HUGE)?;
        let start = room.address.as_ptr().addr();
        let skip = start.next_multiple_of(HUGE) - start;
        // SAFETY: `skip` is less than `HUGE`, and the room is that much longer than `len`.
        let place = unsafe { room.address.as_ptr().byte_add(skip) };
        let mapping = Mapping::at(place, flags | libc::MAP_FIXED, fd, len)?;
        // The parts of the room before and behind the new mapping are unmapped.
        let end = start + room.len;
        core::mem::forget(room);
        let behind = mapping.len.next_multiple_of(SMALL);
        // SAFETY: both parts belong to the room, which is not used in another way; the new mapping has
        // replaced what is between them.
        unsafe {
            if skip > 0 {
                libc::munmap(place.byte_sub(skip), skip);
            }
            libc::munmap(place.byte_add(behind), end - place.addr() - behind);
        }
        Ok(mapping)
    }

    fn at(place: *mut c_void, flags: c_int, fd: c_int, len: usize) -> io::Result<Mapping> {
        let protection = match flags & libc::MAP_NORESERVE {
            0 => libc::PROT_READ | libc::PROT_WRITE,
            _ => libc::PROT_NONE,
        };
        // SAFETY: a mapping at an address of the kernel's choice replaces no other; one at a fixed address
        // replaces a part of a mapping that belongs to `map`.
        let address = unsafe { libc::mmap(place, len, protection, flags, fd, 0) };
        match NonNull::new(address).filter(|_| address != libc::MAP_FAILED) {
            Some(address) => Ok(Mapping { address, len }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// Maps shared memory of this process once more; `None` where the system cannot.
    ///
    /// # Safety
    /// `len` bytes are mapped at `address` as shared.
    pub unsafe fn again(address: NonNull<u8>, len: usize) -> Option<Mapping> {
        // SAFETY: an old length of zero keeps the mapping and makes another one of its shared pages.
        #[cfg(target_os = "linux")]
        unsafe {
            let again = libc::mremap(address.as_ptr().cast(), 0, len, libc::MREMAP_MAYMOVE);
            let address = NonNull::new(again).filter(|_| again != libc::MAP_FAILED)?;
            Some(Mapping { address, len })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (address, len);
            None
        }
    }

    pub fn address(&self) -> NonNull<u8> {
        self.address.cast()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Requests huge pages instead of small ones, which takes some milliseconds a megabyte. The kernel may
    /// refuse; before Linux 6.1 it cannot. Does nothing for a memory that is too small for a gain, or too
    /// large.
    pub fn make_huge(&self) {
        if !has_huge_pages(self.len) {
            return;
        }
        #[cfg(target_os = "linux")]
        // SAFETY: this value owns the mapping, and MADV_COLLAPSE does not change its content.
        unsafe {
            // The kernel refuses a range of which no small page was used.
            for page in (0..self.len).step_by(HUGE) {
                self.address().add(page).read_volatile();
            }
            libc::madvise(self.address.as_ptr(), self.len, MADV_COLLAPSE);
        }
    }
}

fn has_huge_pages(len: usize) -> bool {
    // SAFETY: a plain word, set when nginx starts.
    (2 * HUGE..=MOST).contains(&len) && unsafe { ngx_pagesize } == SMALL
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and all that uses the pages keeps this value alive.
        unsafe { libc::munmap(self.address.as_ptr(), self.len) };
    }
}
