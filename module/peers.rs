//! The peers of an upstream, as nginx's round robin keeps them for every stock balancer.
//!
//! The only file that reads or writes them. With a `zone` they lie in shared memory and are
//! changed by all workers, hence the lock.

use core::ffi::c_void;
use core::ptr;

use affinity::policy::Absence;
use nginx_sys::{
    ngx_cached_time, ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peer_t,
    ngx_http_upstream_rr_peers_t, ngx_http_upstream_srv_conf_t, ngx_peer_connection_t, time_t,
};

use crate::nginx;
use crate::versions;

/// Why a server cannot be taken now.
#[derive(Debug)]
pub struct Missing {
    pub absence: Absence,
    /// When it makes sense to ask again (seconds).
    pub retry_after: u64,
}

impl Missing {
    /// The server is no longer in the upstream.
    pub const REMOVED: Missing = Missing { absence: Absence::Removed, retry_after: 1 };
    /// The server has just failed.
    pub const FAILED: Missing =
        Missing { absence: Absence::Failed { unavailable: None }, retry_after: 1 };
    /// The server has no connection to spare.
    pub const FULL: Missing = Missing { absence: Absence::Full, retry_after: 1 };
}

/// A server found among the peers, with its group locked.
pub struct Found {
    pub group: *mut ngx_http_upstream_rr_peers_t,
    pub peer: *mut ngx_http_upstream_rr_peer_t,
    /// Its place in the group's list.
    pub place: usize,
    _lock: Lock,
}

/// Finds a server that can be taken, as nginx decides that: not down, not failed, not full.
/// Groups are the servers and then the backup servers.
///
/// # Safety
/// `us` is an upstream of a live configuration with a stock balancer.
pub unsafe fn find(
    us: *const ngx_http_upstream_srv_conf_t,
    address: &[u8],
) -> Result<Found, Missing> {
    let mut missing = None;
    // SAFETY: `peer.data` of such an upstream is its first group; peers and their names stay
    // while the group is locked.
    unsafe {
        let mut group = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        while !group.is_null() {
            let lock = Lock::new(group);
            let mut peer = (*group).peer;
            let mut place = 0;
            while let Some(candidate) = peer.as_ref() {
                if nginx::is_same(nginx::bytes(&candidate.name), address) {
                    match check(candidate) {
                        Ok(()) => return Ok(Found { group, peer, place, _lock: lock }),
                        // The same address may stand there once more.
                        Err(why) => missing = missing.or(Some(why)),
                    }
                }
                peer = candidate.next;
                place += 1;
            }
            group = (*group).next;
        }
    }
    Err(missing.unwrap_or(Missing::REMOVED))
}

/// A server as `each` shows it.
pub struct Peer<'a> {
    /// For this call only.
    pub address: &'a [u8],
    pub backup: bool,
    /// Whether requests reach it, as nginx decides that; it may be full.
    pub available: bool,
}

/// Calls `f` with each server of an upstream, backup servers last.
///
/// # Safety
/// `us` is an upstream of a live configuration with a stock balancer; `f` asks for no peers.
pub unsafe fn each(us: *const ngx_http_upstream_srv_conf_t, mut f: impl FnMut(Peer<'_>)) {
    // SAFETY: as in `find`.
    unsafe {
        let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        let mut group = first;
        while !group.is_null() {
            let _lock = Lock::new(group);
            let mut next: *const _ = (*group).peer;
            while let Some(peer) = next.as_ref() {
                let missing = check(peer).err();
                f(Peer {
                    address: nginx::bytes(&peer.name),
                    backup: group != first,
                    available: missing.is_none_or(|missing| missing.absence == Absence::Full),
                });
                next = peer.next;
            }
            group = (*group).next;
        }
    }
}

/// Whether a balancer's request data begin with round robin's, as those of all stock ones.
///
/// # Safety
/// `data` is what the upstream's balancer, or what wraps it, made for a request.
pub unsafe fn is_round_robin(data: *mut c_void, us: *const ngx_http_upstream_srv_conf_t) -> bool {
    // SAFETY: request data of any of them are larger than two words.
    unsafe {
        let rrp = data.cast::<ngx_http_upstream_rr_peer_data_t>();
        !rrp.is_null() && (*rrp).peers.cast::<c_void>() == (*us).peer.data
    }
}

/// Takes one server for the request, as nginx's ip_hash does once it has chosen.
///
/// # Safety
/// Called from `peer.get`; `data` is round robin's.
pub unsafe fn take(
    pc: &mut ngx_peer_connection_t,
    us: *const ngx_http_upstream_srv_conf_t,
    data: *mut c_void,
    address: &[u8],
) -> Result<(), Missing> {
    // SAFETY: by this function's contract; `found` holds the group's lock.
    unsafe {
        let rrp = &mut *data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let found = find(us, address)?;
        let (group, peer) = (found.group, &mut *found.peer);

        if rrp.peers != group {
            forget_tries(rrp, us);
            rrp.peers = group;
        }
        if versions::is_same_list(rrp, group) {
            let (word, bit) = (found.place / BITS, found.place % BITS);
            *rrp.tried.add(word) |= 1 << bit;
        }
        rrp.current = peer;
        versions::hold(pc, peer);

        pc.set_cached(0);
        pc.connection = ptr::null_mut();
        pc.sockaddr = peer.sockaddr;
        pc.socklen = peer.socklen;
        pc.name = &mut peer.name;

        peer.conns += 1;
        let now = now();
        if now - peer.checked > peer.fail_timeout {
            peer.checked = now;
        }
        Ok(())
    }
}

/// Lets the balancer start with the first group, after a server of another was tried.
///
/// # Safety
/// As above.
pub unsafe fn start_over(us: *const ngx_http_upstream_srv_conf_t, data: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        let rrp = &mut *data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        if rrp.peers != first {
            forget_tries(rrp, us);
            rrp.peers = first;
        }
    }
}

const BITS: usize = usize::BITS as usize;

/// The bits of tried peers belong to one group; there are as many as the larger group needs.
///
/// # Safety
/// `rrp` belongs to a request of the upstream.
unsafe fn forget_tries(
    rrp: &mut ngx_http_upstream_rr_peer_data_t,
    us: *const ngx_http_upstream_srv_conf_t,
) {
    if ptr::eq(rrp.tried, &raw const rrp.data) {
        rrp.data = 0;
        return;
    }
    // SAFETY: nginx allocated the bits for the larger group when the request began; a list that has
    // grown since is recognised by its generation, and then left alone.
    unsafe {
        let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        if !versions::is_same_list(rrp, first) {
            return;
        }
        let mut most = 0;
        let mut group = first;
        while let Some(peers) = group.as_ref() {
            most = most.max(peers.number);
            group = peers.next;
        }
        for word in 0..most.div_ceil(BITS) {
            rrp.tried.add(word).write(0);
        }
    }
}

/// What `ngx_http_upstream_get_peer` asks of a peer.
fn check(peer: &ngx_http_upstream_rr_peer_t) -> Result<(), Missing> {
    if peer.down != 0 {
        return Err(Missing::FAILED);
    }
    let since_check = now() - peer.checked;
    if peer.max_fails != 0 && peer.fails >= peer.max_fails && since_check <= peer.fail_timeout {
        return Err(Missing {
            retry_after: retry_after(peer.fail_timeout - since_check),
            ..Missing::FAILED
        });
    }
    if peer.max_conns != 0 && peer.conns >= peer.max_conns {
        return Err(Missing::FULL);
    }
    Ok(())
}

/// Whole seconds, at least one.
fn retry_after(seconds: time_t) -> u64 {
    u64::try_from(seconds).unwrap_or(0).max(1)
}

/// nginx's cached time in seconds, in which it counts `fail_timeout`.
pub fn now() -> time_t {
    // SAFETY: nginx always points it to a valid slot.
    unsafe { (*ngx_cached_time).sec }
}

/// The write lock of a group, taken as nginx's round robin takes it.
struct Lock {
    #[cfg(ngx_feature = "http_upstream_zone")]
    group: *mut ngx_http_upstream_rr_peers_t,
}

impl Lock {
    /// # Safety
    /// `group` outlives the lock.
    unsafe fn new(group: *mut ngx_http_upstream_rr_peers_t) -> Lock {
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
