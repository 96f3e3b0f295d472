//! This worker's copies of an upstream's addresses, from the configuration and from DNS.
//!
//! Connections go only to these addresses, never to a text from a zone. nginx frees a peer with its
//! `sockaddr` when its name no longer has the address; requests of that server's sessions go to our copy
//! until the server counts as gone. Peers are copied when a worker starts and whenever their list has
//! changed. The memory is allocated before nginx's lock is taken.

use core::cell::Cell;
use core::ffi::c_void;
use core::{mem, ptr};

use affinity::table::{Span, Table, Tick};
use nginx_sys::{ngx_palloc, ngx_str_t, sockaddr, socklen_t};

use crate::nginx;
use crate::nginx::request::Request;
use crate::nginx::upstream::Peer;
use crate::peers::list::{Candidate, List};
use crate::peers::version;

/// Bytes of the largest address: `sockaddr_storage`.
const MAX_SOCKADDR: usize = 128;
/// Longest route that nginx allows.
const MAX_ROUTE: usize = 32;

/// The `route=` of a server.
pub type RouteText = Short<MAX_ROUTE>;

/// A text of at most `N` bytes, without an allocation.
#[derive(Clone, Copy)]
pub struct Short<const N: usize> {
    len: usize,
    bytes: [u8; N],
}

impl<const N: usize> Short<N> {
    pub fn new(text: &[u8]) -> Option<Short<N>> {
        let mut bytes = [0; N];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Short { len: text.len(), bytes })
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A server of an upstream.
pub struct Address {
    name: Short<{ Table::MAX_ADDRESS }>,
    sockaddr: [u8; MAX_SOCKADDR],
    socklen: socklen_t,
    route: Option<RouteText>,
    /// The name that it was resolved from; null for an address of the configuration.
    host: *const c_void,
    /// Whether nginx has it among the peers.
    pub listed: bool,
    pub backup: bool,
    pub down: bool,
    pub draining: bool,
    pub fail_timeout: Span,
    /// When it was first missing among the peers.
    left: Tick,
    /// When a request last tried it while it counted as unreachable.
    tried: Cell<Option<Tick>>,
}

impl Address {
    fn of(candidate: &Candidate<'_>, route: Option<RouteText>) -> Option<Address> {
        let peer = candidate.peer();
        let socklen = peer.socklen as usize;
        let mut copy = [0; MAX_SOCKADDR];
        // SAFETY: the group of a candidate is locked, so the peer and its `socklen` bytes of address stay.
        let bytes = unsafe { core::slice::from_raw_parts(peer.sockaddr.cast::<u8>(), socklen) };
        copy.get_mut(..socklen)?.copy_from_slice(bytes);
        Some(Address {
            name: Short::new(candidate.address())?,
            sockaddr: copy,
            socklen: peer.socklen,
            route,
            host: version::host(peer),
            listed: true,
            backup: candidate.is_backup(),
            down: candidate.is_down(),
            draining: candidate.is_draining(),
            fail_timeout: fail_timeout(candidate),
            left: nginx::now(),
            tried: Cell::new(None),
        })
    }

    /// The address as nginx prints it.
    pub fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    pub fn route(&self) -> Option<&[u8]> {
        self.route.as_ref().map(Short::as_bytes)
    }

    /// The bytes of the socket address.
    pub fn sockaddr(&self) -> &[u8] {
        self.sockaddr.get(..self.socklen as usize).unwrap_or_default()
    }

    /// Whether a try is due; true at most once in each `interval`.
    pub fn is_due(&self, now: Tick, interval: Span) -> bool {
        let is_due = self.tried.get().is_none_or(|tried| now.since(tried) >= interval);
        if is_due {
            self.tried.set(Some(now));
        }
        is_due
    }

    /// Whether the address is from a name that nginx resolves while it runs.
    pub fn is_resolved(&self) -> bool {
        !self.host.is_null()
    }
}

/// The server's `fail_timeout`: how long round robin does not choose it after failures.
pub fn fail_timeout(candidate: &Candidate<'_>) -> Span {
    let seconds = u64::try_from(candidate.peer().fail_timeout).unwrap_or(0);
    Span::from_millis(seconds.saturating_mul(1000))
}

/// The addresses of one upstream.
#[derive(Default)]
pub struct Addresses {
    list: Vec<Address>,
    /// The names that nginx resolves while it runs.
    hosts: Vec<*const c_void>,
    /// The generation of the copied list of peers.
    generation: Option<usize>,
    /// When a server in service last answered or accepted a connection. Set by the worker that makes the
    /// attempts.
    pub answered: Cell<Option<Tick>>,
}

impl Addresses {
    /// Copies the peers, if their list has changed.
    pub fn refresh(&mut self, list: List<'_>, route: impl Fn(&Candidate<'_>) -> Option<RouteText>) {
        let (number, generation) = list.shape();
        if self.generation == Some(generation) {
            return;
        }
        // If memory is short, the next turn copies the list.
        if self.copy(list, number, route).is_some() {
            self.generation = Some(generation);
        }
    }

    fn copy(
        &mut self,
        list: List<'_>,
        number: usize,
        route: impl Fn(&Candidate<'_>) -> Option<RouteText>,
    ) -> Option<()> {
        /// Room for peers that are added after their number was read.
        const MORE: usize = 16;

        let mut new = Vec::new();
        new.try_reserve_exact(number + MORE).ok()?;
        let mut complete = true;
        let mut hosts = Vec::new();
        list.each(|candidate| {
            let address = Address::of(candidate, route(candidate));
            match address {
                Some(address) if new.len() < new.capacity() => new.push(address),
                Some(_) => complete = false,
                // The address is longer than those of a zone.
                None => (),
            }
        });
        list.each_host(|host| {
            if hosts.try_reserve(1).is_ok() {
                hosts.push(host);
            }
        });
        if !complete {
            return None;
        }
        for mut old in self.list.drain(..) {
            let is_there = new.iter().any(|address| address.name() == old.name());
            if old.is_resolved() && !is_there && new.try_reserve(1).is_ok() {
                if mem::replace(&mut old.listed, false) {
                    old.left = nginx::now();
                }
                new.push(old);
            }
        }
        self.list = new;
        self.hosts = hosts;
        Some(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Address> {
        self.list.iter()
    }

    /// The server with that name; if several have it, one that is not down.
    pub fn find(&self, name: &[u8]) -> Option<&Address> {
        let named = |address: &&Address| address.name() == name;
        self.iter().filter(named).find(|address| !address.down).or(self.iter().find(named))
    }

    /// Drops the addresses that have left DNS, except those for which `is_wanted` is true. It gets the
    /// address and the time at which it left.
    pub fn drop_unlisted(&mut self, is_wanted: impl Fn(&Address, Tick) -> bool) {
        self.list.retain(|address| address.listed || is_wanted(address, address.left));
    }

    /// Whether the addresses may change while nginx runs.
    pub fn are_resolved(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Whether an address that is not listed counts as missing in DNS: its name has other addresses. If its
    /// name is not known, every name must have addresses.
    pub fn is_missing(&self, name: &[u8]) -> bool {
        let has_addresses = |host: *const c_void| {
            self.iter().any(|address| address.listed && ptr::eq(address.host, host))
        };
        match self.find(name) {
            Some(address) if address.listed => false,
            Some(address) => has_addresses(address.host),
            None => self.hosts.iter().all(|host| has_addresses(*host)),
        }
    }
}

/// Takes a server that is not among the peers, by the copy of its address; `None` if memory is short. To be
/// called from `peer.get` of `r`, with no peer taken.
pub fn take(pc: Peer<'_>, r: Request<'_>, address: &Address) -> Option<()> {
    let (name, socket) = (address.name(), address.sockaddr());
    // SAFETY: the pool returns `len` bytes, aligned for `ngx_str_t`, or null: room for the string, the socket
    // address and the name. It lives as long as the request, and nginx reads it no longer.
    unsafe {
        let len = size_of::<ngx_str_t>() + MAX_SOCKADDR + name.len();
        let room = ngx_palloc(r.pool().raw(), len).cast::<u8>();
        if room.is_null() {
            return None;
        }
        let text = room.cast::<ngx_str_t>();
        let sockaddr = room.add(size_of::<ngx_str_t>());
        let data = sockaddr.add(MAX_SOCKADDR);
        ptr::copy_nonoverlapping(socket.as_ptr(), sockaddr, socket.len());
        ptr::copy_nonoverlapping(name.as_ptr(), data, name.len());
        text.write(ngx_str_t { len: name.len(), data });
        let pc = &mut *pc.raw();
        pc.set_cached(0);
        pc.connection = ptr::null_mut();
        pc.sockaddr = sockaddr.cast::<sockaddr>();
        pc.socklen = address.socklen;
        pc.name = text;
        version::hold_other(pc);
    }
    Some(())
}
