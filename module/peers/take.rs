//! Takes a server for a request, as nginx's own balancers do once they have chosen.

use crate::nginx;
use crate::peers::list::check;
use crate::peers::list::check_for_named;
use crate::peers::list::Candidate;
use crate::peers::list::Lock;
use crate::peers::list::Missing;
use crate::peers::tried::bit_of;
use crate::peers::tried::enter;
use crate::peers::tried::is_tried;
use crate::peers::version;
use core::ffi::c_void;
use core::ptr;
use nginx_sys::{
    ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_peer_connection_t,
};

/// A server found among the peers, with its group locked.
pub(super) struct Found {
    group: *mut ngx_http_upstream_rr_peers_t,
    peer: *mut ngx_http_upstream_rr_peer_t,
    /// Its place in the group's list.
    place: usize,
    _lock: Lock,
}

/// Finds a server that can be taken by those who name it: not down, not full. It may drain, and what
/// round robin has counted of its failures does not matter.
/// Groups are the servers and then the backup servers.
///
/// # Safety
/// `us` is an upstream of a live configuration with a stock balancer.
pub(super) unsafe fn find(
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
                    match check_for_named(candidate) {
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
    Err(missing.unwrap_or(Missing::Removed))
}

/// Finds a server as nginx's round robin would: not down, not failed, not full, one that this request
/// has not tried, and a backup server only when none of the servers is left for anybody.
///
/// # Safety
/// As for `find`; `rrp` is of a request of the upstream.
pub(super) unsafe fn find_in_turn(
    us: *const ngx_http_upstream_srv_conf_t,
    rrp: &ngx_http_upstream_rr_peer_data_t,
    mut is_it: impl FnMut(&Candidate<'_>) -> bool,
) -> Result<Found, Missing> {
    let mut missing = None;
    // SAFETY: as in `find`.
    unsafe {
        let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        // Once a balancer has gone on to the backup servers, it stays with them.
        let mut group = rrp.peers;
        while !group.is_null() {
            let lock = Lock::new(group);
            let knows_tries = group == rrp.peers && version::is_same_list(rrp, group);
            let mut is_left = false;
            let mut candidate = Candidate::first_of(group, first);
            while let Some(found) = candidate {
                let can = if knows_tries && is_tried(rrp, found.place) {
                    Err(Missing::Failed)
                } else {
                    check(found.peer)
                };
                is_left |= can.is_ok() && found.peer.down == 0;
                if is_it(&found) {
                    match can {
                        Ok(()) => {
                            let peer = ptr::from_ref(found.peer).cast_mut();
                            return Ok(Found { group, peer, place: found.place, _lock: lock });
                        }
                        Err(why) => missing = missing.or(Some(why)),
                    }
                }
                candidate = found.next();
            }
            group = (*group).next;
            if is_left && !group.is_null() {
                // Whether it is there needs no answer: its turn has not come.
                return Err(missing.unwrap_or(Missing::Removed));
            }
        }
    }
    Err(missing.unwrap_or(Missing::Removed))
}

/// Takes one server for the request, as nginx's ip_hash does once it has chosen.
///
/// # Safety
/// Called from `peer.get` of `u`; `data` is round robin's.
pub unsafe fn take(
    pc: &mut ngx_peer_connection_t,
    u: *const ngx_http_upstream_t,
    us: *const ngx_http_upstream_srv_conf_t,
    data: *mut c_void,
    address: &[u8],
) -> Result<(), Missing> {
    // SAFETY: by this function's contract.
    unsafe {
        let rrp = &mut *data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let found = find(us, address)?;
        hold(pc, u, rrp, &found);
    }
    Ok(())
}

/// Does as `take` if the first server of that address, backup servers left out, can be taken;
/// otherwise does nothing.
///
/// # Safety
/// As above.
#[inline(always)]
pub unsafe fn take_at_once(
    pc: &mut ngx_peer_connection_t,
    u: *const ngx_http_upstream_t,
    us: *const ngx_http_upstream_srv_conf_t,
    data: *mut c_void,
    address: &[u8],
) -> bool {
    // SAFETY: by this function's contract; as in `find`.
    unsafe {
        let rrp = &mut *data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let group = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        let lock = Lock::new(group);
        let mut peer = (*group).peer;
        let mut place = 0;
        while let Some(candidate) = peer.as_ref() {
            if nginx::is_same(nginx::bytes(&candidate.name), address) {
                if check_for_named(candidate).is_err() {
                    return false;
                }
                hold(pc, u, rrp, &Found { group, peer, place, _lock: lock });
                return true;
            }
            peer = candidate.next;
            place += 1;
        }
        false
    }
}

/// Takes one server for the request, in turn: each once, backup servers when the others are gone.
///
/// # Safety
/// As above.
pub unsafe fn take_in_turn(
    pc: &mut ngx_peer_connection_t,
    u: *const ngx_http_upstream_t,
    us: *const ngx_http_upstream_srv_conf_t,
    data: *mut c_void,
    is_it: impl FnMut(&Candidate<'_>) -> bool,
) -> Result<(), Missing> {
    // SAFETY: by this function's contract.
    unsafe {
        let rrp = &mut *data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let found = find_in_turn(us, rrp, is_it)?;
        hold(pc, u, rrp, &found);
    }
    Ok(())
}

/// Takes a backup server if none of the others is left for a balancer: of those that are left the one
/// with the highest `rank`. False if it has taken none.
///
/// # Safety
/// As above; `rank` asks for no peers.
#[cold]
pub unsafe fn take_backup(
    pc: &mut ngx_peer_connection_t,
    u: *const ngx_http_upstream_t,
    us: *const ngx_http_upstream_srv_conf_t,
    data: *mut c_void,
    rank: impl Fn(&Candidate<'_>) -> u64,
) -> bool {
    // SAFETY: by this function's contract; as in `find_in_turn`.
    unsafe {
        let rrp = &mut *data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let first = (*us).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
        let mut best = None;
        let mut group = rrp.peers;
        while !group.is_null() {
            let lock = Lock::new(group);
            let knows_tries = group == rrp.peers && version::is_same_list(rrp, group);
            let mut candidate = Candidate::first_of(group, first);
            while let Some(found) = candidate {
                let is_tried = knows_tries && is_tried(rrp, found.place);
                if !is_tried && found.peer.down == 0 && check(found.peer).is_ok() {
                    if !found.is_backup() {
                        return false;
                    }
                    let rank = rank(&found);
                    if best.is_none_or(|(most, _, _)| rank > most) {
                        best = Some((rank, ptr::from_ref(found.peer).cast_mut(), found.place));
                    }
                }
                candidate = found.next();
            }
            if let Some((_, peer, place)) = best {
                hold(pc, u, rrp, &Found { group, peer, place, _lock: lock });
                return true;
            }
            group = (*group).next;
        }
    }
    false
}

/// # Safety
/// As above; `found` holds the group's lock.
#[inline(always)]
pub(super) unsafe fn hold(
    pc: &mut ngx_peer_connection_t,
    u: *const ngx_http_upstream_t,
    rrp: &mut ngx_http_upstream_rr_peer_data_t,
    found: &Found,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let (group, peer) = (found.group, &mut *found.peer);

        if rrp.peers != group {
            enter(rrp, group);
        }
        if version::is_same_list(rrp, group) {
            let (word, bit) = bit_of(found.place);
            *rrp.tried.add(word) |= bit;
        }
        rrp.current = peer;
        version::hold(pc, peer);

        // nginx has counted how many servers a request may try, those that are down left out.
        let limit = (*(*u).conf).next_upstream_tries;
        if peer.down != 0 && (limit == 0 || pc.tries < limit) {
            pc.tries += 1;
        }
        pc.set_cached(0);
        pc.connection = ptr::null_mut();
        pc.sockaddr = peer.sockaddr;
        pc.socklen = peer.socklen;
        pc.name = &mut peer.name;

        peer.conns += 1;
        let now = nginx::seconds();
        if now - peer.checked > peer.fail_timeout {
            peer.checked = now;
        }
    }
}

/// Calls `f` with the peer that the balancer has chosen; `None` if it is in no list any more.
///
/// # Safety
/// Called from `peer.get`, once a peer was chosen; `data` is round robin's.
#[cfg_attr(nginx_own_sticky, allow(dead_code, reason = "only a `sticky` of ours asks"))]
pub unsafe fn with_current<T>(
    us: *const ngx_http_upstream_srv_conf_t,
    data: *mut c_void,
    f: impl FnOnce(&Candidate<'_>) -> T,
) -> Option<T> {
    // SAFETY: by this function's contract.
    unsafe {
        let rrp = &*data.cast::<ngx_http_upstream_rr_peer_data_t>();
        let _lock = Lock::shared(rrp.peers);
        let mut candidate = Candidate::first_of(rrp.peers, (*us).peer.data.cast());
        while let Some(found) = candidate.filter(|found| !ptr::eq(found.peer, rrp.current)) {
            candidate = found.next();
        }
        Some(f(&candidate?))
    }
}
