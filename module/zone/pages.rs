//! Further mappings of a zone's pages, besides nginx's.

use core::ffi::{c_int, c_void};

use nginx_sys::{ngx_pagesize, ngx_shm_zone_t};

/// A mapping of all pages of a zone. The pages live as long as any mapping of them.
pub struct Mapping {
    address: *mut c_void,
    len: usize,
}

/// The size of a huge page where a page has `SMALL` bytes (x86-64, and aarch64 with such pages).
const HUGE: usize = 2 << 20;
const SMALL: usize = 4 << 10;

/// The largest zone with huge pages. A huge page takes all of its memory at once, a small page only when it
/// is used; and huge pages for this many bytes take half a second.
const MOST: usize = 128 << 20;

/// From linux/mman.h; libc has it for glibc only.
#[cfg(target_os = "linux")]
const MADV_COLLAPSE: c_int = 25;

impl Mapping {
    /// Maps the pages of a zone once more; `None` where the system cannot.
    ///
    /// # Safety
    /// `shm` is a mapped zone.
    pub unsafe fn again(shm: &ngx_shm_zone_t) -> Option<Mapping> {
        // SAFETY: nginx has mapped `size` bytes at this address. An old length of zero keeps that mapping and
        // makes another one of its shared pages.
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

    /// The same, at a multiple of the huge page's size, so that the kernel can use huge pages: nginx's
    /// mapping begins at any small page. `None` also for a zone that is too small for a gain, or too large.
    ///
    /// # Safety
    /// `shm` is a mapped zone.
    pub unsafe fn for_huge_pages(shm: &ngx_shm_zone_t) -> Option<Mapping> {
        // SAFETY: a plain word, set when nginx starts.
        if !(2 * HUGE..=MOST).contains(&shm.shm.size) || unsafe { ngx_pagesize } != SMALL {
            return None;
        }
        // SAFETY: nginx has mapped `size` bytes at this address. `room` belongs to this function, and the new
        // mapping replaces its middle.
        #[cfg(target_os = "linux")]
        unsafe {
            let room = Mapping::room(shm.shm.size + HUGE)?;
            let skip = room.address.addr().next_multiple_of(HUGE) - room.address.addr();
            let (address, len) = (room.address.byte_add(skip), shm.shm.size);
            let fixed = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            if libc::mremap(shm.shm.addr.cast(), 0, len, fixed, address) == libc::MAP_FAILED {
                return None;
            }
            // The parts of the room before and behind the new mapping are unmapped.
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

    /// A range of addresses without memory.
    #[cfg(target_os = "linux")]
    fn room(len: usize) -> Option<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a mapping at an address of the kernel's choice replaces no other.
        let address =
            unsafe { libc::mmap(core::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        (address != libc::MAP_FAILED).then_some(Mapping { address, len })
    }

    pub fn address(&self) -> *mut u8 {
        self.address.cast()
    }

    /// Requests huge pages instead of small ones, which takes some milliseconds a megabyte. The kernel may
    /// refuse; before Linux 6.1 it cannot.
    pub fn make_huge(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: this value owns the mapping, and MADV_COLLAPSE does not change its content.
        unsafe {
            // The kernel refuses a range of which no small page was used.
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
            // SAFETY: this value owns the mapping, and all that uses the pages keeps this value alive.
            unsafe { libc::munmap(self.address, self.len) };
        }
    }
}
