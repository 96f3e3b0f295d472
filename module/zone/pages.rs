//! Further mappings of a zone's pages, beside the one that nginx has made.

use core::ffi::{c_int, c_void};

use nginx_sys::{ngx_pagesize, ngx_shm_zone_t};

/// A mapping of all pages of a zone. They live as long as any mapping of them.
pub struct Mapping {
    address: *mut c_void,
    len: usize,
}

/// Size of a huge page where pages are of `SMALL` bytes (x86-64, and aarch64 with such pages).
const HUGE: usize = 2 << 20;
const SMALL: usize = 4 << 10;

/// A larger zone stays in small pages, which take memory only when they are used: a huge page takes
/// all of its own at once, and this many bytes of them half a second.
const MOST: usize = 128 << 20;

/// Of linux/mman.h; libc knows it for glibc alone.
#[cfg(target_os = "linux")]
const MADV_COLLAPSE: c_int = 25;

impl Mapping {
    /// Maps the pages of a zone once more; `None` where the system cannot.
    ///
    /// # Safety
    /// `shm` is a mapped zone.
    pub unsafe fn again(shm: &ngx_shm_zone_t) -> Option<Mapping> {
        // SAFETY: nginx has mapped so many bytes there. An old length of zero leaves the mapping as it is
        // and makes another one of its shared pages.
        #[cfg(target_os = "linux")]
        unsafe {
            let len = shm.shm.size;
            let address = libc::mremap(shm.shm.addr.cast(), 0, len, libc::MREMAP_MAYMOVE);
            (address != libc::MAP_FAILED).then_some(Mapping { address, len })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = shm;
            None
        }
    }

    /// The same, where the kernel can put huge pages in their place: nginx's mapping may begin at
    /// any small page. `None` also for a zone that is too small for that to matter, or too large.
    ///
    /// # Safety
    /// `shm` is a mapped zone.
    pub unsafe fn for_huge_pages(shm: &ngx_shm_zone_t) -> Option<Mapping> {
        // SAFETY: set once when nginx starts.
        if !(2 * HUGE..=MOST).contains(&shm.shm.size) || unsafe { ngx_pagesize } != SMALL {
            return None;
        }
        // SAFETY: nginx has mapped so many bytes there; `room` is nobody else's, and what is mapped over its
        // middle replaces that part of it.
        #[cfg(target_os = "linux")]
        unsafe {
            let room = Mapping::room(shm.shm.size + HUGE)?;
            let skip = room.address.addr().next_multiple_of(HUGE) - room.address.addr();
            let (address, len) = (room.address.byte_add(skip), shm.shm.size);
            let fixed = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            if libc::mremap(shm.shm.addr.cast(), 0, len, fixed, address) == libc::MAP_FAILED {
                return None;
            }
            // What is left of the room before and behind.
            let (start, end) = (room.address, room.address.byte_add(room.len));
            core::mem::forget(room);
            drop(Mapping { address: start, len: skip });
            let behind = address.byte_add(len.next_multiple_of(SMALL));
            drop(Mapping { address: behind, len: end.addr() - behind.addr() });
            Some(Mapping { address, len })
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Addresses without memory.
    #[cfg(target_os = "linux")]
    fn room(len: usize) -> Option<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a mapping at a place of the kernel's choice replaces no other.
        let address =
            unsafe { libc::mmap(core::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        (address != libc::MAP_FAILED).then_some(Mapping { address, len })
    }

    pub fn address(&self) -> *mut u8 {
        self.address.cast()
    }

    /// Has the kernel put huge pages in the place of small ones, which takes some milliseconds a
    /// megabyte. It may say no; Linux before 6.1 does not know how.
    pub fn make_huge(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the pages are mapped here, and what they hold stays the same.
        unsafe {
            // The kernel refuses where no small page has been used.
            for page in (0..self.len).step_by(HUGE) {
                self.address().add(page).read_volatile();
            }
            libc::madvise(self.address, self.len, MADV_COLLAPSE);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: mapped by this file; every user of the pages holds this value.
            unsafe { libc::munmap(self.address, self.len) };
        }
    }
}
