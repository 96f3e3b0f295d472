//! The peers of an upstream, as nginx's round robin keeps them for every stock balancer.
//!
//! The only file that reads or writes them. With a `zone` they lie in shared memory and are
//! changed by all workers, hence the lock.

use affinity::policy::Absence;
use nginx_sys::{
    ngx_cached_time, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_srv_conf_t, time_t,
};

use crate::nginx;

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
#[cfg_attr(nginx_own_sticky, expect(dead_code, reason = "a balancer of 1.29.6 finds them"))]
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
                if is_named(candidate, address) {
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

/// Addresses of an upstream differ at their ends, where a word is compared first.
///
/// # Safety
/// The peer's group is locked.
#[inline]
unsafe fn is_named(peer: &ngx_http_upstream_rr_peer_t, address: &[u8]) -> bool {
    // SAFETY: by this function's contract, the name stays.
    let name = unsafe { nginx::bytes(&peer.name) };
    name.len() == address.len()
        && name.last_chunk::<8>() == address.last_chunk::<8>()
        && name == address
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
