//! What round robin keeps of a request: the group that it is at, and the servers that it has tried.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;

use nginx_sys::{ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_rr_peers_t, ngx_str_t};

use super::list::{Candidate, Group, List};
use super::version;
use crate::nginx::upstream::Block;

/// The data of a request of a stock balancer (`ngx_http_upstream_rr_peer_data_t`), which begin those of
/// all of them.
#[derive(Clone, Copy)]
pub struct RoundRobin<'r> {
    data: NonNull<ngx_http_upstream_rr_peer_data_t>,
    pub(super) list: List<'r>,
}

impl<'r> RoundRobin<'r> {
    /// The data that the balancer of an upstream, or what wraps it, has made for a request; `None` if they
    /// are something else.
    ///
    /// # Safety
    /// 1. `data` is that, it lies in the request's pool, and the request lives during `'r`.
    /// 2. The balancer of the upstream keeps a list of peers ([`List::of`]).
    pub unsafe fn find(block: Block<'r>, data: *mut c_void) -> Option<RoundRobin<'r>> {
        // SAFETY: by (2).
        let list = unsafe { List::of(block)? };
        let data = NonNull::new(data.cast::<ngx_http_upstream_rr_peer_data_t>())?;
        // SAFETY: request data of any balancer are larger than two words (1).
        let group = unsafe { NonNull::new((*data.as_ptr()).peers) };
        (group == Some(list.first().raw)).then_some(RoundRobin { data, list })
    }

    /// The same, of data that [`RoundRobin::find`] has found before.
    ///
    /// # Safety
    /// As for `find`, and it has found them for this request and this upstream.
    #[inline(always)]
    pub unsafe fn again(block: Block<'r>, data: *mut c_void) -> Option<RoundRobin<'r>> {
        // SAFETY: by this function's own condition.
        let list = unsafe { List::of(block)? };
        Some(RoundRobin { data: NonNull::new(data.cast())?, list })
    }

    #[inline(always)]
    pub(super) fn raw(self) -> *mut ngx_http_upstream_rr_peer_data_t {
        self.data.as_ptr()
    }

    /// The group that the request is at. Once a balancer has gone on to the backup servers, it stays
    /// with them.
    pub(super) fn group(self) -> Option<Group<'r>> {
        // SAFETY: a plain word; groups live as long as the configuration.
        let raw = unsafe { NonNull::new((*self.raw()).peers)? };
        Some(Group { raw, live: PhantomData })
    }

    /// Whether the server that the balancer has chosen last is a backup server.
    pub fn is_at_backup(self) -> bool {
        self.group() != Some(self.list.first())
    }

    /// Whether the bits are those of the group's present peers. The group is locked.
    pub(super) fn is_same_list(self, group: Group<'_>) -> bool {
        // SAFETY: both are live.
        unsafe { version::is_same_list(&*self.raw(), group.raw.as_ptr()) }
    }

    /// Whether the bits tell something of a group, which is locked.
    pub(super) fn knows_tries(self, group: Group<'_>) -> bool {
        self.group().is_some_and(|at| at.raw == group.raw) && self.is_same_list(group)
    }

    /// Whether the request has tried a peer of the group that it is at, whose tries it knows.
    pub(super) fn is_tried(self, candidate: &Candidate<'_>) -> bool {
        let (word, bit) = bit_of(candidate.place);
        // SAFETY: the bits are as many as the list that they were made for has peers.
        unsafe { *(*self.raw()).tried.add(word) & bit != 0 }
    }

    /// Notes whether the request has tried the peer in a place of the group that it is at, whose tries it knows.
    #[inline(always)]
    pub(super) fn set_tried(self, place: usize, tried: bool) {
        let (word, bit) = bit_of(place);
        // SAFETY: the bits are as many as the list that they were made for has peers.
        unsafe {
            let word = (*self.raw()).tried.add(word);
            match tried {
                true => *word |= bit,
                false => *word &= !bit,
            }
        }
    }

    /// Goes to another group, which is locked, and none of whose peers is tried: the bits belong to one group
    /// at a time, as in `ngx_http_upstream_get_round_robin_peer`.
    #[cold]
    pub(super) fn enter(self, group: *mut ngx_http_upstream_rr_peers_t) {
        // SAFETY: nginx has allocated the bits for the larger group of the request's generation. While the
        // group is locked no peer joins it, so that `number` is that of the generation compared here. A
        // group that has changed since is left alone; nginx sees that, too.
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

    /// Lets the server that the request holds be tried once more. It is to be called before the server is given
    /// back.
    pub fn forget_try(self) {
        let Some(group) = self.group() else { return };
        let lock = group.lock();
        // SAFETY: a plain word.
        let current = unsafe { (*self.raw()).current };
        for candidate in lock.candidates(self.list) {
            if candidate.peer.as_ptr() == current && self.is_same_list(group) {
                self.set_tried(candidate.place, false);
            }
        }
    }

    /// Lets the balancer start with the first group, after a server of another was tried.
    pub fn start_over(self) {
        if self.is_at_backup() {
            let _lock = self.list.first().lock();
            self.enter(self.list.first().raw.as_ptr());
        }
    }

    /// Calls `f` with each server that the balancer may still choose: in service, not failed,
    /// not full, not tried. `f` asks for no peers.
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

    /// Keeps the balancer from the servers that are `excluded`, by marking them as tried. False if there are
    /// no others. `excluded` asks for no peers.
    ///
    /// nginx goes on to the next group by itself when one has nothing left, but forgets its marks then:
    /// hence we do it.
    pub fn exclude(self, excluded: impl Fn(&Candidate<'_>) -> bool) -> bool {
        let mut others = false;
        while let Some(group) = self.group() {
            let lock = group.lock();
            if !self.is_same_list(group) {
                // nginx sees that, too.
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

/// Word and bit of a peer among those that were tried.
fn bit_of(place: usize) -> (usize, usize) {
    (place / BITS, 1 << (place % BITS))
}
