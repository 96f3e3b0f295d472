//! The list of an upstream's peers (`ngx_http_upstream_rr_peers_t`), the same for every stock balancer.
//!
//! Only this room reads or writes peers. With a `zone` they are in shared memory, and all workers change
//! them under nginx's lock.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use nginx_sys::{ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, ngx_str_t, ngx_uint_t};

use super::version;
use crate::nginx;
use crate::nginx::upstream::{Block, Peer};

/// The value of `down` for a draining peer, as in nginx 1.29.6: down for all but bound requests.
pub const DRAINING: ngx_uint_t = 8;

/// Why a server cannot be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is not in the upstream.
    Removed,
    /// Its configuration says `down`.
    Down,
    /// nginx's round robin does not choose it after failures (`max_fails`), or this request has tried it.
    Failed,
    /// It has `max_conns` connections.
    Full,
}

/// The list of an upstream: the group of its servers and the group of its backup servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct List<'c> {
    first: NonNull<ngx_http_upstream_rr_peers_t>,
    live: PhantomData<&'c ngx_http_upstream_rr_peers_t>,
}

impl<'c> List<'c> {
    /// The list of an upstream; `None` if its balancer has no data.
    ///
    /// # Safety
    /// The balancer of the upstream has been initialised and keeps such a list: [`is_kept_by`] was true.
    #[inline(always)]
    pub unsafe fn of(block: Block<'c>) -> Option<List<'c>> {
        // SAFETY: a plain word of a live upstream. Its data are a list of peers, which lives as long.
        let first = unsafe { NonNull::new((*block.raw()).peer.data.cast())? };
        Some(List { first, live: PhantomData })
    }

    #[inline(always)]
    pub(super) fn first(self) -> Group<'c> {
        Group { raw: self.first, live: PhantomData }
    }

    /// Calls `f` with each server, backup servers last. All requests that choose a server wait during the
    /// call: `f` must be short, must not allocate and must not use the list.
    pub fn each(self, mut f: impl FnMut(&Candidate<'_>)) {
        let mut group = Some(self.first());
        while let Some(at) = group {
            let lock = at.lock_shared();
            for candidate in lock.candidates(self) {
                f(&candidate);
            }
            group = at.next();
        }
    }

    /// Whether the server that a request has taken is in the list, and not one that another module has chosen: the
    /// socket address is then the list's own.
    pub fn has_socket(self, pc: Peer<'_>) -> bool {
        // SAFETY: a plain word of a live peer connection.
        let taken = unsafe { (*pc.raw()).sockaddr };
        let mut found = false;
        self.each(|candidate| found |= ptr::eq(candidate.peer().sockaddr, taken));
        found
    }

    /// The number of servers, and a number that changes with the list. Both are read without the lock.
    pub fn shape(self) -> (usize, usize) {
        let (mut number, mut group) = (0, Some(self.first()));
        while let Some(at) = group {
            // SAFETY: a plain word of a live group.
            number += unsafe { (*at.raw.as_ptr()).number };
            group = at.next();
        }
        // SAFETY: `first` is the first group of an upstream that lives during `'c`.
        (number, unsafe { version::generation(self.first.as_ptr()) })
    }

    /// The name for logs where no server was chosen.
    pub fn name(self) -> *mut ngx_str_t {
        // SAFETY: a plain word of a live group.
        unsafe { (*self.first.as_ptr()).name }
    }

    /// Calls `f` with each name that nginx resolves for the upstream while it runs.
    pub fn each_host(self, f: impl FnMut(*const core::ffi::c_void)) {
        // SAFETY: `first` is the first group of an upstream that lives during `'c`.
        unsafe { version::each_host(self.first.as_ptr(), f) }
    }
}

/// Whether the balancer of an upstream keeps such a list. The test is the name of the list: round robin
/// points it to the name of the upstream.
///
/// # Safety
/// The upstream's balancer has been initialised, and its data, if any, are no smaller than a list of peers.
pub unsafe fn is_kept_by(block: Block<'_>) -> bool {
    // SAFETY: a live upstream; its data, if any, are large enough for the field that is read.
    unsafe {
        let peers = (*block.raw()).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        !peers.is_null() && ptr::eq((*peers).name, &raw const (*block.raw()).host)
    }
}

/// A group of peers: the servers of an upstream, or its backup servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Group<'c> {
    pub(super) raw: NonNull<ngx_http_upstream_rr_peers_t>,
    pub(super) live: PhantomData<&'c ngx_http_upstream_rr_peers_t>,
}

impl<'c> Group<'c> {
    /// The group behind this one.
    pub(super) fn next(self) -> Option<Group<'c>> {
        // SAFETY: a plain word of a live group; the next group lives as long.
        let raw = unsafe { NonNull::new((*self.raw.as_ptr()).next)? };
        Some(Group { raw, live: PhantomData })
    }

    /// Locks the group for reading. Keep it short: each request that chooses a server waits.
    pub(super) fn lock_shared(self) -> LockedGroup<'c> {
        #[cfg(ngx_feature = "http_upstream_zone")]
        // SAFETY: a live group; with a `shpool` its lock is in shared memory and initialised.
        unsafe {
            if !(*self.raw.as_ptr()).shpool.is_null() {
                nginx_sys::ngx_rwlock_rlock(&raw mut (*self.raw.as_ptr()).rwlock);
            }
        }
        LockedGroup { group: self }
    }

    /// Locks the group for writing.
    #[inline(always)]
    pub(super) fn lock(self) -> LockedGroup<'c> {
        #[cfg(ngx_feature = "http_upstream_zone")]
        // SAFETY: a live group; with a `shpool` its lock is in shared memory and initialised.
        unsafe {
            if !(*self.raw.as_ptr()).shpool.is_null() {
                nginx_sys::ngx_rwlock_wlock(&raw mut (*self.raw.as_ptr()).rwlock);
            }
        }
        LockedGroup { group: self }
    }
}

/// A group under nginx's lock (no lock without a `zone`).
pub(super) struct LockedGroup<'c> {
    pub(super) group: Group<'c>,
}

impl LockedGroup<'_> {
    /// The peers of the group, which is a group of `list`. They and their names stay while it is locked.
    pub(super) fn candidates<'l>(&'l self, list: List<'l>) -> impl Iterator<Item = Candidate<'l>> {
        let group = usize::from(self.group.raw != list.first);
        // SAFETY: a plain word of a live group.
        let mut next = unsafe { (*self.group.raw.as_ptr()).peer };
        let mut place = 0;
        core::iter::from_fn(move || {
            let peer = NonNull::new(next)?;
            // SAFETY: a peer of a locked group.
            next = unsafe { (*next).next };
            let candidate = Candidate {
                peer,
                #[cfg(not(nginx_own_sticky))]
                first: list.first,
                group,
                place,
                locked: PhantomData,
            };
            place += 1;
            Some(candidate)
        })
    }
}

impl Drop for LockedGroup<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(ngx_feature = "http_upstream_zone")]
        // SAFETY: the group was locked when this value was made.
        unsafe {
            let group = self.group.raw.as_ptr();
            if !(*group).shpool.is_null() {
                nginx_sys::ngx_rwlock_unlock(&raw mut (*group).rwlock);
            }
        }
    }
}

/// A peer in the list of its group, which is locked.
#[derive(Clone, Copy)]
pub struct Candidate<'l> {
    pub(super) peer: NonNull<ngx_http_upstream_rr_peer_t>,
    /// The first group of the upstream.
    #[cfg(not(nginx_own_sticky))]
    first: NonNull<ngx_http_upstream_rr_peers_t>,
    /// The group: 0 for the servers, 1 for the backup servers.
    pub group: usize,
    /// The place in the group's list.
    pub place: usize,
    locked: PhantomData<&'l ngx_http_upstream_rr_peer_t>,
}

impl<'l> Candidate<'l> {
    pub fn peer(&self) -> &'l ngx_http_upstream_rr_peer_t {
        // SAFETY: the peer stays while the group is locked, and is written only by this room.
        unsafe { self.peer.as_ref() }
    }

    /// The first group of the upstream.
    #[cfg(not(nginx_own_sticky))]
    pub fn first(&self) -> &'l ngx_http_upstream_rr_peers_t {
        // SAFETY: groups live as long as the configuration.
        unsafe { self.first.as_ref() }
    }

    /// The address as nginx prints it.
    pub fn address(&self) -> &'l [u8] {
        // SAFETY: the name stays while the group is locked.
        unsafe { nginx::bytes(&self.peer().name) }
    }

    pub fn is_backup(&self) -> bool {
        self.group != 0
    }

    /// Whether its configuration says `down`.
    pub fn is_down(&self) -> bool {
        self.peer().down & !DRAINING != 0
    }

    /// Whether its configuration says `drain`.
    pub fn is_draining(&self) -> bool {
        self.peer().down & DRAINING != 0
    }

    pub fn is_named(&self, address: &[u8]) -> bool {
        nginx::is_same(self.address(), address)
    }

    /// Whether round robin may choose the peer, by the tests of `ngx_http_upstream_get_peer`.
    pub(super) fn check(&self) -> Result<(), Missing> {
        let peer = self.peer();
        let is_failed = || {
            peer.max_fails != 0
                && peer.fails >= peer.max_fails
                && nginx::seconds() - peer.checked <= peer.fail_timeout
        };
        match check_for_named(peer) {
            Err(Missing::Down) => Err(Missing::Down),
            _ if is_failed() => Err(Missing::Failed),
            result => result,
        }
    }
}

/// Whether a peer can be taken by its name: the tests of [`Candidate::check`] without failures.
#[inline(always)]
pub(super) fn check_for_named(peer: &ngx_http_upstream_rr_peer_t) -> Result<(), Missing> {
    if peer.down != 0 && peer.down != DRAINING {
        return Err(Missing::Down);
    }
    if peer.max_conns != 0 && peer.conns >= peer.max_conns {
        return Err(Missing::Full);
    }
    Ok(())
}
