//! The peers of an upstream, as nginx's round robin keeps them for every stock balancer.
//!
//! The only file that reads or writes them. With a `zone` they lie in shared memory and are
//! changed by all workers, hence the lock.

use core::ffi::c_void;
use core::ptr;

use nginx_sys::{
    ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_peer_connection_t, ngx_str_t,
    ngx_uint_t,
};

use crate::nginx;
use crate::peers::version;

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

/// A server found among the peers, with its group locked.
struct Found {
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
unsafe fn find(us: *const ngx_http_upstream_srv_conf_t, address: &[u8]) -> Result<Found, Missing> {
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
unsafe fn find_in_turn(
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
    unsafe fn first_of(
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
    unsafe fn next(self) -> Option<Candidate<'a>> {
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

/// Whether the server that a balancer has chosen is a backup server.
///
/// # Safety
/// `us` has a stock balancer; `data` is round robin's, of a request that has been given a server.
pub unsafe fn is_backup(us: *const ngx_http_upstream_srv_conf_t, data: *mut c_void) -> bool {
    // SAFETY: by this function's contract.
    unsafe { (*data.cast::<ngx_http_upstream_rr_peer_data_t>()).peers.cast() != (*us).peer.data }
}

/// # Safety
/// As above; `found` holds the group's lock.
#[inline(always)]
unsafe fn hold(
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

const BITS: usize = usize::BITS as usize;

/// Word and bit of a peer among those that were tried.
fn bit_of(place: usize) -> (usize, usize) {
    (place / BITS, 1 << (place % BITS))
}

/// # Safety
/// The place is one of the list that the bits were made for.
unsafe fn is_tried(rrp: &ngx_http_upstream_rr_peer_data_t, place: usize) -> bool {
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
unsafe fn enter(
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

/// What `ngx_http_upstream_get_peer` asks of a peer.
fn check(peer: &ngx_http_upstream_rr_peer_t) -> Result<(), Missing> {
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
fn check_for_named(peer: &ngx_http_upstream_rr_peer_t) -> Result<(), Missing> {
    if peer.down != 0 && peer.down != DRAINING {
        return Err(Missing::Down);
    }
    if peer.max_conns != 0 && peer.conns >= peer.max_conns {
        return Err(Missing::Full);
    }
    Ok(())
}

/// The lock of a group, taken as nginx's round robin takes it.
struct Lock {
    #[cfg(ngx_feature = "http_upstream_zone")]
    group: *mut ngx_http_upstream_rr_peers_t,
}

impl Lock {
    /// The lock of those who only read, and do so briefly: each request that chooses a server waits.
    ///
    /// # Safety
    /// `group` outlives the lock.
    unsafe fn shared(group: *mut ngx_http_upstream_rr_peers_t) -> Lock {
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
