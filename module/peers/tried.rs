//! The data of round robin for a request: its current group, and the servers that it has tried.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;

use nginx_sys::{ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peers_t, ngx_str_t};

use super::list::{Candidate, Group, List};
use super::version;
use crate::nginx::upstream::Block;

/// The request data of a stock balancer. All stock balancers' data begin with
/// `ngx_http_upstream_rr_peer_data_t`.
#[derive(Clone, Copy)]
pub struct RoundRobin<'r> {
    data: NonNull<ngx_http_upstream_rr_peer_data_t>,
    pub(super) list: List<'r>,
}

impl<'r> RoundRobin<'r> {
    /// The round robin data in a request's `peer.data`; `None` if a module has made other data.
    ///
    /// # Safety
    /// 1. `data` is the `peer.data` of a request of this upstream, made by its balancer or a module that
    ///    wraps it; it is in the request's pool, and the request lives during `'r`.
    /// 2. The balancer of the upstream keeps a list of peers ([`List::of`]).
    pub unsafe fn find(block: Block<'r>, data: *mut c_void) -> Option<RoundRobin<'r>> {
        // SAFETY: the balancer keeps a list of peers (2).
        let list = unsafe { List::of(block)? };
        let data = NonNull::new(data.cast::<ngx_http_upstream_rr_peer_data_t>())?;
        // SAFETY: `peers` is within the first two words, and no balancer's data are smaller (1).
        let group = unsafe { NonNull::new((*data.as_ptr()).peers) };
        (group == Some(list.first().raw)).then_some(RoundRobin { data, list })
    }

    /// The same for data that [`RoundRobin::find`] has found before, without its test.
    ///
    /// # Safety
    /// `find` has found `data` for this upstream and a request that lives during `'r`.
    #[inline(always)]
    pub unsafe fn again(block: Block<'r>, data: *mut c_void) -> Option<RoundRobin<'r>> {
        // SAFETY: `find` has found a list of this upstream.
        let list = unsafe { List::of(block)? };
        Some(RoundRobin { data: NonNull::new(data.cast())?, list })
    }

    #[inline(always)]
    pub(super) fn raw(self) -> *mut ngx_http_upstream_rr_peer_data_t {
        self.data.as_ptr()
    }

    /// The request's current group. A balancer that has reached the backup servers stays with them.
    pub(super) fn group(self) -> Option<Group<'r>> {
        // SAFETY: a plain word of the request's data; groups live as long as the configuration.
        let raw = unsafe { NonNull::new((*self.raw()).peers)? };
        Some(Group { raw, live: PhantomData })
    }

    /// Whether the last server that the balancer chose is a backup server.
    pub fn is_at_backup(self) -> bool {
        self.group() != Some(self.list.first())
    }

    /// Whether the bits of tried peers belong to the group's present list. The group must be locked.
    pub(super) fn is_same_list(self, group: Group<'_>) -> bool {
        // SAFETY: the request's data and the group are alive, and the caller has locked the group.
        unsafe { version::is_same_list(&*self.raw(), group.raw.as_ptr()) }
    }

    /// Whether the bits of tried peers are those of this group. The group must be locked.
    pub(super) fn knows_tries(self, group: Group<'_>) -> bool {
        self.group().is_some_and(|at| at.raw == group.raw) && self.is_same_list(group)
    }

    /// Whether the request has tried a peer; only in a group for which [`Self::knows_tries`] is true.
    pub(super) fn is_tried(self, candidate: &Candidate<'_>) -> bool {
        let (word, bit) = bit_of(candidate.place);
        // SAFETY: `tried` has a bit for each peer of the list that it was made for, and this is that list.
        unsafe { *(*self.raw()).tried.add(word) & bit != 0 }
    }

    /// Sets or clears the bit of the peer in a place of the current group; only if [`Self::is_same_list`].
    #[inline(always)]
    pub(super) fn set_tried(self, place: usize, tried: bool) {
        let (word, bit) = bit_of(place);
        // SAFETY: `tried` has a bit for each peer of the list that it was made for, and this is that list.
        unsafe {
            let word = (*self.raw()).tried.add(word);
            match tried {
                true => *word |= bit,
                false => *word &= !bit,
            }
        }
    }

    /// Makes another group the current one, and clears the bits of tried peers: they belong to one group at a
    /// time, as in `ngx_http_upstream_get_round_robin_peer`. The group must be locked.
    #[cold]
    pub(super) fn enter(self, group: *mut ngx_http_upstream_rr_peers_t) {
        // SAFETY: nginx has allocated bits for the larger group of the request's generation. No peer joins a
        // locked group, so `number` is that of the generation compared here. In a group that has changed no
        // bit is written; nginx makes the same test.
        unsafe {
            (*self.raw()).peers = group;
            if version::is_same_list(&*self.raw(), group) {
                for word in 0..(*group).number.div_ceil(BITS) {
                    (*self.raw()).tried.add(word).write(0);
                }
            }
        }
    }

    /// The name for logs where no server was chosen.
    pub fn list_name(self) -> *mut ngx_str_t {
        self.list.name()
    }

    /// Clears the bit of the server that the request holds, so that it can be tried again. To be called
    /// before the server is given back.
    pub fn forget_try(self) {
        let Some(group) = self.group() else { return };
        let lock = group.lock();
        // SAFETY: a plain word of the request's data.
        let current = unsafe { (*self.raw()).current };
        for candidate in lock.candidates(self.list) {
            if candidate.peer.as_ptr() == current && self.is_same_list(group) {
                self.set_tried(candidate.place, false);
            }
        }
    }

    /// Returns to the first group after a backup server was tried.
    pub fn start_over(self) {
        if self.is_at_backup() {
            let _lock = self.list.first().lock();
            self.enter(self.list.first().raw.as_ptr());
        }
    }

    /// Calls `f` with each server that the balancer may still choose: not down, not failed, not full, not
    /// tried. `f` must not use the list.
    pub fn each_left(self, mut f: impl FnMut(&Candidate<'_>)) {
        let mut group = self.group();
        while let Some(at) = group {
            let lock = at.lock_shared();
            let knows_tries = self.knows_tries(at);
            for candidate in lock.candidates(self.list) {
                let is_tried = knows_tries && self.is_tried(&candidate);
                if !is_tried && candidate.peer().down == 0 && candidate.check().is_ok() {
                    f(&candidate);
                }
            }
            group = at.next();
        }
    }

    /// Marks the `excluded` servers as tried, so that the balancer does not choose them. False if the
    /// upstream has no other servers. `excluded` must not use the list.
    ///
    /// If the current group has no server left, this goes on to the next group: nginx would do that itself,
    /// but would clear the bits.
    pub fn exclude(self, excluded: impl Fn(&Candidate<'_>) -> bool) -> bool {
        let mut others = false;
        while let Some(group) = self.group() {
            let lock = group.lock();
            if !self.is_same_list(group) {
                // nginx makes the same test in `peer.get`.
                return true;
            }
            let mut left = false;
            for candidate in lock.candidates(self.list) {
                if excluded(&candidate) {
                    self.set_tried(candidate.place, true);
                } else if !candidate.is_draining() {
                    others = true;
                    let can = candidate.check().is_ok() && candidate.peer().down == 0;
                    left |= can && !self.is_tried(&candidate);
                }
            }
            let following = group.next();
            drop(lock);
            let Some(following) = following.filter(|_| !left) else {
                return others;
            };
            let _lock = following.lock();
            self.enter(following.raw.as_ptr());
        }
        others
    }
}

const BITS: usize = usize::BITS as usize;

/// The word and the bit of a place in `tried`.
fn bit_of(place: usize) -> (usize, usize) {
    (place / BITS, 1 << (place % BITS))
}
