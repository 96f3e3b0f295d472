//! Socket addresses: IPv4, IPv6, Unix sockets.

use core::fmt;
use core::mem;

use nginx_sys::{ngx_inet_set_port, ngx_sock_ntop, sockaddr, socklen_t};

use affinity::status::Text;

/// A socket address.
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_storage,
    len: socklen_t,
}

impl Address {
    /// Copies the bytes of a `sockaddr`; `None` if they are none.
    pub fn new(bytes: &[u8]) -> Option<Address> {
        if !(size_of::<libc::sa_family_t>()..=size_of::<libc::sockaddr_storage>())
            .contains(&bytes.len())
        {
            return None;
        }
        // SAFETY: an address is valid when zeroed, and has room for the bytes.
        unsafe {
            let mut storage: libc::sockaddr_storage = mem::zeroed();
            (&raw mut storage).cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Some(Address { storage, len: bytes.len() as socklen_t })
        }
    }

    /// Copies an address of nginx's.
    ///
    /// # Safety
    /// `socket` points to `len` bytes of an address.
    pub unsafe fn copy(socket: *const sockaddr, len: socklen_t) -> Option<Address> {
        // SAFETY: as many bytes as the caller says.
        Address::new(unsafe { core::slice::from_raw_parts(socket.cast::<u8>(), len as usize) })
    }

    /// The address with this port.
    pub fn with_port(mut self, port: u16) -> Address {
        // SAFETY: nginx writes the port of an IPv4 or IPv6 address, and nothing of another one.
        unsafe { ngx_inet_set_port((&raw mut self.storage).cast(), port) };
        self
    }

    pub(super) fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }

    pub(super) fn len(&self) -> socklen_t {
        self.len
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More than the longest address, that of a Unix socket.
        const MAX_LEN: usize = 128;

        let mut text = [0; MAX_LEN];
        // SAFETY: nginx reads `len` bytes of the address, and writes at most the text's length.
        let len = unsafe {
            let socket = self.as_ptr().cast_mut();
            ngx_sock_ntop(socket, self.len, text.as_mut_ptr(), text.len(), 1)
        };
        Text(text.get(..len).unwrap_or_default()).fmt(f)
    }
}
