//! The servers that a request has tried: bits of its round-robin data.

use crate::peers::list::check;
use crate::peers::list::Candidate;
use crate::peers::list::Lock;
use crate::peers::version;
use core::ffi::c_void;
use core::ptr;
use nginx_sys::{
    ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peers_t, ngx_http_upstream_srv_conf_t,
};

pub(super) const BITS: usize = usize::BITS as usize;

/// Word and bit of a peer among those that were tried.
pub(super) fn bit_of(place: usize) -> (usize, usize) {
    (place / BITS, 1 << (place % BITS))
}

/// # Safety
/// The place is one of the list that the bits were made for.
pub(super) unsafe fn is_tried(rrp: &ngx_http_upstream_rr_peer_data_t, place: usize) -> bool {
    let (word, bit) = bit_of(place);
    // SAFETY: by this function's contract.
    unsafe { *rrp.tried.add(word) & bit != 0 }
}

/// Goes to another group, none of whose peers is tried: the bits belong to one group at a time, as
/// in `ngx_http_upstream_get_round_robin_peer`.
///
/// # Safety
/// `rrp` belongs to a request of the upstream, whose `group` is locked.
#[cold]
pub(super) unsafe fn enter(
    rrp: &mut ngx_http_upstream_rr_peer_data_t,
    group: *mut ngx_http_upstream_rr_peers_t,
) {
    rrp.peers = group;
    // SAFETY: nginx has allocated the bits for the larger group of the request's generation. While the
    // group is locked no peer joins it, so that `number` is that of the generation compared here. A
    // group that has changed since is left alone; nginx sees that, too.
    unsafe {
        if version::is_same_list(rrp, group) {
            for word in 0..(*group).number.div_ceil(BITS) {
                rrp.tried.add(word).write(0);
            }
        }
    }
}

/// Lets the server that the request holds be tried once more.
///
/// # Safety
/// Called from `peer.free`, before the server is given back; `data` is round robin's.
pub unsafe fn forget_try(data: *mut c_void) {
    // SAFETY: by this function's contract.
    unsafe {
        let rrp = &mut *data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let _lock = Lock::new(rrp.peers);
        let mut candidate = Candidate::first_of(rrp.peers, rrp.peers);
        while let Some(found) = candidate {
            if ptr::eq(found.peer, rrp.current) && version::is_same_list(rrp, rrp.peers) {
                let (word, bit) = bit_of(found.place);
                *rrp.tried.add(word) &= !bit;
            }
            candidate = found.next();
        }
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
            let _lock = Lock::new(first);
            enter(rrp, first);
        }
    }
}

/// Keeps a balancer from the servers that are `excluded`, by marking them as tried. False if there are
/// no others.
///
/// nginx goes on to the next group by itself when one has nothing left, but forgets its marks then:
/// hence we do it.
///
/// # Safety
/// Called from `peer.get`; `data` is round robin's; `excluded` asks for no peers.
pub unsafe fn exclude(
    us: *const ngx_http_upstream_srv_conf_t,
    data: *mut c_void,
    excluded: impl Fn(&Candidate<'_>) -> bool,
) -> bool {
    let mut others = false;
    // SAFETY: by this function's contract; peers stay while their group is locked, and the bits
    // are as many as the list they were made for has peers.
    unsafe {
        let rrp = &mut *data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        loop {
            let group = rrp.peers;
            let lock = Lock::new(group);
            if !version::is_same_list(rrp, group) {
                // nginx sees that, too.
                return true;
            }
            let mut left = false;
            let mut candidate = Candidate::first_of(group, first);
            while let Some(found) = candidate {
                if excluded(&found) {
                    let (word, bit) = bit_of(found.place);
                    *rrp.tried.add(word) |= bit;
                } else if !found.is_draining() {
                    others = true;
                    let can = check(found.peer).is_ok() && found.peer.down == 0;
                    left |= can && !is_tried(rrp, found.place);
                }
                candidate = found.next();
            }
            let following = (*group).next;
            drop(lock);
            if left || following.is_null() {
                return others;
            }
            let _lock = Lock::new(following);
            enter(rrp, following);
        }
    }
}

/// Calls `f` with each server that a balancer may still choose for a request: in service, not failed,
/// not full, not tried.
///
/// # Safety
/// Called from `peer.get`; `data` is round robin's; `f` asks for no peers.
pub unsafe fn each_left(
    us: *const ngx_http_upstream_srv_conf_t,
    data: *mut c_void,
    mut f: impl FnMut(&Candidate<'_>),
) {
    // SAFETY: by this function's contract; as in `find_in_turn`.
    unsafe {
        let rrp = &*data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        let mut group = rrp.peers;
        while !group.is_null() {
            let _lock = Lock::shared(group);
            let knows_tries = group == rrp.peers && version::is_same_list(rrp, group);
            let mut candidate = Candidate::first_of(group, first);
            while let Some(found) = candidate {
                let is_tried = knows_tries && is_tried(rrp, found.place);
                if !is_tried && found.peer.down == 0 && check(found.peer).is_ok() {
                    f(&found);
                }
                candidate = found.next();
            }
            group = (*group).next;
        }
    }
}
