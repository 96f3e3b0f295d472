//! The peers of an upstream, as nginx's round robin keeps them for every stock balancer.
//!
//! The only file that reads or writes them. With a `zone` they lie in shared memory and are
//! changed by all workers, hence the lock.

use crate::nginx;
use crate::peers::version;
use core::ffi::c_void;
use core::ptr;
use nginx_sys::{
    ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_srv_conf_t, ngx_str_t, ngx_uint_t,
};

/// What makes a peer down for all but bound requests, as nginx 1.29.6 writes it.
pub const DRAINING: ngx_uint_t = 8;

/// Why a server cannot be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is not in the upstream.
    Removed,
    /// Its configuration says `down`.
    Down,
    /// nginx's round robin leaves it alone after failures, or this request has tried it.
    Failed,
    /// It has no connection to spare.
    Full,
}

/// A peer in the list of its group, which is locked.
#[cfg_attr(nginx_own_sticky, allow(dead_code, reason = "only a `sticky` of ours asks"))]
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    pub peer: &'a ngx_http_upstream_rr_peer_t,
    /// The first group of the upstream.
    pub first: &'a ngx_http_upstream_rr_peers_t,
    /// Which group it is in, and where in the list.
    pub group: usize,
    pub place: usize,
}

impl<'a> Candidate<'a> {
    /// # Safety
    /// `group` is locked for as long as the candidate lives; `first` is its upstream's first.
    pub(super) unsafe fn first_of(
        group: *const ngx_http_upstream_rr_peers_t,
        first: *const ngx_http_upstream_rr_peers_t,
    ) -> Option<Candidate<'a>> {
        // SAFETY: by this function's contract.
        unsafe {
            let peer = (*group).peer.as_ref()?;
            Some(Candidate { peer, first: &*first, group: usize::from(group != first), place: 0 })
        }
    }

    /// # Safety
    /// The group is still locked.
    pub(super) unsafe fn next(self) -> Option<Candidate<'a>> {
        // SAFETY: by this function's contract.
        let peer = unsafe { self.peer.next.as_ref()? };
        Some(Candidate { peer, place: self.place + 1, ..self })
    }

    /// As nginx prints it.
    pub fn address(&self) -> &'a [u8] {
        // SAFETY: the name stays while the group is locked.
        unsafe { nginx::bytes(&self.peer.name) }
    }

    pub fn is_backup(&self) -> bool {
        self.group != 0
    }

    /// Whether its configuration says `down`.
    pub fn is_down(&self) -> bool {
        self.peer.down & !DRAINING != 0
    }

    /// Whether its configuration says so.
    pub fn is_draining(&self) -> bool {
        self.peer.down & DRAINING != 0
    }

    pub fn is_named(&self, address: &[u8]) -> bool {
        nginx::is_same(self.address(), address)
    }
}

/// Calls `f` with each server of an upstream, backup servers last. All requests that choose a server
/// wait meanwhile: `f` is brief, and allocates nothing.
///
/// # Safety
/// `us` is an upstream of a live configuration with a stock balancer; `f` asks for no peers.
pub unsafe fn each(us: *const ngx_http_upstream_srv_conf_t, mut f: impl FnMut(&Candidate<'_>)) {
    // SAFETY: by this function's contract.
    unsafe {
        let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        let mut group = first;
        while !group.is_null() {
            let _lock = Lock::shared(group);
            let mut candidate = Candidate::first_of(group, first);
            while let Some(found) = candidate {
                f(&found);
                candidate = found.next();
            }
            group = (*group).next;
        }
    }
}

/// Whether the servers of an upstream are such a list, as far as can be told: round robin names its
/// list by the name of the upstream itself.
///
/// # Safety
/// nginx reads its configuration; the upstream's balancer has been initialised, and what it keeps, if
/// anything, is no smaller than a list of peers.
pub unsafe fn are_round_robins(us: *const ngx_http_upstream_srv_conf_t) -> bool {
    // SAFETY: by this function's contract.
    unsafe {
        let peers = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        !peers.is_null() && ptr::eq((*peers).name, &raw const (*us).host)
    }
}

/// The number of servers of an upstream, and a number that changes with their list.
///
/// # Safety
/// As for [`each`].
pub unsafe fn shape(us: *const ngx_http_upstream_srv_conf_t) -> (usize, usize) {
    // SAFETY: by this function's contract; both are plain words, and may be a moment old.
    unsafe {
        let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        let (mut number, mut group) = (0, first.cast_const());
        while let Some(peers) = group.as_ref() {
            number += peers.number;
            group = peers.next;
        }
        (number, version::generation(first))
    }
}

/// The name for logs where no server was chosen.
///
/// # Safety
/// As for [`each`].
pub unsafe fn name(us: *const ngx_http_upstream_srv_conf_t) -> *mut ngx_str_t {
    // SAFETY: by this function's contract.
    unsafe { (*(*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>()).name }
}

/// Whether a balancer's request data begin with round robin's, as those of all stock ones.
///
/// # Safety
/// `data` is what the upstream's balancer, or what wraps it, made for a request.
pub unsafe fn is_round_robin(data: *mut c_void, us: *const ngx_http_upstream_srv_conf_t) -> bool {
    // SAFETY: request data of any of them are larger than two words.
    unsafe {
        let rrp = data.cast::<ngx_http_upstream_rr_peer_data_t>();
        if rrp.is_null() || (*rrp).peers.is_null() {
            return false;
        }
        (*rrp).peers.cast::<c_void>() == (*us).peer.data
    }
}

/// Whether the server that a balancer has chosen is a backup server.
///
/// # Safety
/// `us` has a stock balancer; `data` is round robin's, of a request that has been given a server.
pub unsafe fn is_backup(us: *const ngx_http_upstream_srv_conf_t, data: *mut c_void) -> bool {
    // SAFETY: by this function's contract.
    unsafe { (*data.cast::<ngx_http_upstream_rr_peer_data_t>()).peers.cast() != (*us).peer.data }
}

/// What `ngx_http_upstream_get_peer` asks of a peer.
pub(super) fn check(peer: &ngx_http_upstream_rr_peer_t) -> Result<(), Missing> {
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

/// The same, but for failures.
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

/// The lock of a group, taken as nginx's round robin takes it.
pub(super) struct Lock {
    #[cfg(ngx_feature = "http_upstream_zone")]
    group: *mut ngx_http_upstream_rr_peers_t,
}

impl Lock {
    /// The lock of those who only read, and do so briefly: each request that chooses a server waits.
    ///
    /// # Safety
    /// `group` outlives the lock.
    pub(super) unsafe fn shared(group: *mut ngx_http_upstream_rr_peers_t) -> Lock {
        #[cfg(ngx_feature = "http_upstream_zone")]
        // SAFETY: as in `new`.
        unsafe {
            if !(*group).shpool.is_null() {
                nginx_sys::ngx_rwlock_rlock(&raw mut (*group).rwlock);
            }
            Lock { group }
        }
        #[cfg(not(ngx_feature = "http_upstream_zone"))]
        {
            let _ = group;
            Lock {}
        }
    }

    /// The lock of those who write.
    ///
    /// # Safety
    /// `group` outlives the lock.
    pub(super) unsafe fn new(group: *mut ngx_http_upstream_rr_peers_t) -> Lock {
        #[cfg(ngx_feature = "http_upstream_zone")]
        // SAFETY: by this function's contract; the lock lies in the zone that `shpool` manages.
        unsafe {
            if !(*group).shpool.is_null() {
                nginx_sys::ngx_rwlock_wlock(&raw mut (*group).rwlock);
            }
            Lock { group }
        }
        #[cfg(not(ngx_feature = "http_upstream_zone"))]
        {
            let _ = group;
            Lock {}
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        #[cfg(ngx_feature = "http_upstream_zone")]
        // SAFETY: taken in `new`.
        unsafe {
            if !(*self.group).shpool.is_null() {
                nginx_sys::ngx_rwlock_unlock(&raw mut (*self.group).rwlock);
            }
        }
    }
}
