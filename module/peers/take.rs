//! Takes a chosen server for a request, as nginx's own balancers do. All functions are to be called from
//! `peer.get`, with no peer taken.

use core::ptr;

use nginx_sys::ngx_http_upstream_rr_peer_t;

use super::list::{check_for_named, Candidate, LockedGroup, Missing};
use super::tried::RoundRobin;
use super::version;
use crate::nginx;
use crate::nginx::upstream::{Peer, Upstream};

impl RoundRobin<'_> {
    /// Takes the server with that address, backup servers last. It may drain, and its failures (`max_fails`)
    /// do not count.
    pub fn take(self, pc: Peer<'_>, u: Upstream<'_>, address: &[u8]) -> Result<(), Missing> {
        let mut missing = None;
        let mut group = Some(self.list.first());
        while let Some(at) = group {
            let lock = at.lock();
            for candidate in lock.candidates(self.list).filter(|it| it.is_named(address)) {
                match check_for_named(candidate.peer()) {
                    Ok(()) => {
                        self.hold(pc, u, &lock, candidate.peer.as_ptr(), candidate.place);
                        return Ok(());
                    }
                    // The list may have the address twice.
                    Err(why) => missing = missing.or(Some(why)),
                }
            }
            group = at.next();
        }
        Err(missing.unwrap_or(Missing::Removed))
    }

    /// The fast path of [`RoundRobin::take`]: takes the first server with that address if it is not a backup
    /// server and can be taken. Otherwise changes nothing.
    #[inline(always)]
    pub fn take_at_once(self, pc: Peer<'_>, u: Upstream<'_>, address: &[u8]) -> bool {
        let lock = self.list.first().lock();
        // SAFETY: the peers of the group and their names stay while `lock` lives.
        unsafe {
            let mut peer = (*lock.group.raw.as_ptr()).peer;
            let mut place = 0;
            while let Some(candidate) = peer.as_ref() {
                if nginx::is_same(nginx::bytes(&candidate.name), address) {
                    if check_for_named(candidate).is_err() {
                        return false;
                    }
                    self.hold(pc, u, &lock, peer, place);
                    return true;
                }
                peer = candidate.next;
                place += 1;
            }
        }
        false
    }

    /// Takes a server by the rules of nginx's round robin: not down, not failed, not full, not tried by this
    /// request; a backup server only when no other server can be chosen.
    pub fn take_in_turn(
        self,
        pc: Peer<'_>,
        u: Upstream<'_>,
        mut is_it: impl FnMut(&Candidate<'_>) -> bool,
    ) -> Result<(), Missing> {
        let mut missing = None;
        let mut group = self.group();
        while let Some(at) = group {
            let lock = at.lock();
            let knows_tries = self.knows_tries(at);
            let mut is_left = false;
            for candidate in lock.candidates(self.list) {
                let can = match knows_tries && self.is_tried(&candidate) {
                    true => Err(Missing::Failed),
                    false => candidate.check(),
                };
                is_left |= can.is_ok() && candidate.peer().down == 0;
                if is_it(&candidate) {
                    match can {
                        Ok(()) => {
                            self.hold(pc, u, &lock, candidate.peer.as_ptr(), candidate.place);
                            return Ok(());
                        }
                        Err(why) => missing = missing.or(Some(why)),
                    }
                }
            }
            group = at.next();
            if is_left && group.is_some() {
                // Round robin would choose a server of this group: backup servers do not count yet.
                break;
            }
        }
        Err(missing.unwrap_or(Missing::Removed))
    }

    /// Takes the backup server with the highest `rank` if the balancer has no other server left. False if it
    /// has taken none. `rank` must not use the list.
    #[cold]
    pub fn take_backup(
        self,
        pc: Peer<'_>,
        u: Upstream<'_>,
        rank: impl Fn(&Candidate<'_>) -> u64,
    ) -> bool {
        let mut group = self.group();
        while let Some(at) = group {
            let lock = at.lock();
            let knows_tries = self.knows_tries(at);
            let mut best: Option<(u64, Candidate<'_>)> = None;
            for candidate in lock.candidates(self.list) {
                let is_tried = knows_tries && self.is_tried(&candidate);
                if !is_tried && candidate.peer().down == 0 && candidate.check().is_ok() {
                    if !candidate.is_backup() {
                        return false;
                    }
                    let rank = rank(&candidate);
                    if best.is_none_or(|(most, _)| rank > most) {
                        best = Some((rank, candidate));
                    }
                }
            }
            if let Some((_, candidate)) = best {
                self.hold(pc, u, &lock, candidate.peer.as_ptr(), candidate.place);
                return true;
            }
            group = at.next();
        }
        false
    }

    /// Calls `f` with the peer that the balancer has just chosen; `None` if it is no longer in the list.
    #[cfg(not(nginx_own_sticky))]
    pub fn with_current<T>(self, f: impl FnOnce(&Candidate<'_>) -> T) -> Option<T> {
        let lock = self.group()?.lock_shared();
        // SAFETY: a plain word of the request's data.
        let current = unsafe { (*self.raw()).current };
        let mut candidates = lock.candidates(self.list);
        let candidate = candidates.find(|candidate| candidate.peer.as_ptr() == current)?;
        Some(f(&candidate))
    }

    /// Gives the request the peer in a place of a locked group's list.
    #[inline(always)]
    fn hold(
        self,
        pc: Peer<'_>,
        u: Upstream<'_>,
        lock: &LockedGroup<'_>,
        peer: *mut ngx_http_upstream_rr_peer_t,
        place: usize,
    ) {
        let group = lock.group;
        // SAFETY: the peer stays while `lock` lives, and a writer's lock excludes other writers. All other
        // data belong to the request.
        unsafe {
            let (rrp, peer, pc) = (self.raw(), &mut *peer, &mut *pc.raw());
            if (*rrp).peers != group.raw.as_ptr() {
                self.enter(group.raw.as_ptr());
            }
            if self.is_same_list(group) {
                self.set_tried(place, true);
            }
            (*rrp).current = peer;
            version::hold(pc, peer);

            // nginx's count of tries does not include servers that are down, as a draining one is.
            let limit = (*(*u.raw()).conf).next_upstream_tries;
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
}
