//! The handle of a store: what a process does with the records of sessions.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::claim::{Cause, Claim, Release, Ticket};
use super::doubt::Doubt;
use super::layout::{StoreError, ALIGN, CHUNK_SIZE, FORMAT, MIN_SIZE};
use super::region::Region;
use super::shard::{filter_bit, Shard};
use super::slot::{Copied, Place, Slot};
use crate::revive::decision::Reply;
use crate::revive::owner::Owner;
use crate::revive::rpc_ids::events::EventId;
use crate::revive::rpc_ids::message::RpcId;
use crate::table::Key;
use crate::time::Tick;

/// The sealed records of sessions, in a region of shared memory of its own. Each process that uses the store has
/// a handle. Copies are cheap and equal.
///
/// The functions that work on the record of a session, but for [`is_revived`](Store::is_revived), take the lock of a
/// shard, which takes a few microseconds at most. It is a robust mutex: if its holder dies, the next one finds
/// out again which memory is free. A record is published by one word when all of it is written.
///
/// A full store gives away, in each shard of 256 KB, first the records of sessions that were never used later
/// than a minute after they began, the oldest first, then of those that have been idle the longest. The session
/// table says when a session was used; a record whose session it does not have goes when its turn comes, or
/// by [`remove`](Store::remove) and [`sweep`](Store::sweep). A megabyte holds 2,270 records of up to 384 bytes, or 1,360 of
/// 640 bytes. An `initialize` of 300 bytes makes a record of about 500.
#[derive(Clone, Copy)]
pub struct Store {
    region: Region,
}

/// What is kept of a session.
pub struct Kept {
    /// Its record, for `RecordKey::open`.
    pub sealed: Vec<u8>,
    /// How often it was revived: zero before the first revival, and never again.
    pub revivals: u16,
}

/// Statistics of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Sessions whose record is kept.
    pub kept: u64,
    /// Memory (bytes) that no record takes.
    pub free: u64,
    /// Records that made room for others, while their sessions were alive.
    pub evicted: u64,
    /// How often a process has died while it held a lock.
    pub deaths: u64,
}

impl Store {
    /// The format of the region. A store of another one is of no use.
    pub const FORMAT: u32 = FORMAT;

    /// Smallest region (bytes) that holds a store.
    pub const MIN_SIZE: usize = MIN_SIZE;

    /// What the address of a region must be a multiple of.
    pub const ALIGN: usize = ALIGN;

    /// Makes an empty store in a region of `len` bytes.
    ///
    /// # Safety
    /// 1. `region` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this handle or a copy of it is used.
    /// 3. Nothing else uses them until this returns; after that, only handles of this store do.
    /// 4. All of them are zero, as memory fresh from the kernel is.
    pub unsafe fn create(region: NonNull<u8>, len: usize) -> Result<Store, StoreError> {
        // SAFETY: conditions 1 to 4 are those of `Region::create`.
        let region = unsafe { Region::create(region, len) }?;
        for shard in 0..region.geometry().shards as usize {
            // Without records all chunks are free.
            if let Some(shard) = Shard::lock(&region, shard) {
                shard.repair();
            }
        }
        region.publish();
        Ok(Store { region })
    }

    /// Finds the store that `create` has made in a region, in this process or another. The bytes of a region
    /// that holds no store, or a damaged one, lead to an error or to records that no key opens, not out of
    /// the region; but a lock made of such bytes may never be free.
    ///
    /// # Safety
    /// 1. `region` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this handle or a copy of it is used.
    /// 3. Each process that writes to them does so by handles of this store of the same format.
    pub unsafe fn attach(region: NonNull<u8>, len: usize) -> Result<Store, StoreError> {
        // SAFETY: conditions 1 to 3 are those of `Region::attach`.
        unsafe { Region::attach(region, len) }.map(|region| Store { region })
    }

    /// Finds a store as `attach` does, of which nobody knows what its processes have left: all locks are made
    /// again, and the free memory is found again. A claim of an ended process ends at its deadline.
    ///
    /// # Safety
    /// 1. The conditions of `attach`.
    /// 2. No process uses the region until this returns.
    pub unsafe fn reopen(region: NonNull<u8>, len: usize) -> Result<Store, StoreError> {
        // SAFETY: condition 1.
        let region = unsafe { Region::attach(region, len) }?;
        // SAFETY: condition 2: no process uses or holds a lock.
        unsafe { region.init_locks() }?;
        for shard in 0..region.geometry().shards as usize {
            if let Some(shard) = Shard::lock(&region, shard) {
                shard.repair();
            }
        }
        Ok(Store { region })
    }

    /// Keeps the record of a session that begins now, in place of an older one of the same key. `used` says when
    /// the session of a key was used last (`Table::lookup`); none for a session that the table does not have.
    /// It must not use this store. False if there is no room.
    pub fn put(
        &self,
        key: Key,
        sealed: &[u8],
        now: Tick,
        mut used: impl FnMut(Key) -> Option<Tick>,
    ) -> bool {
        let put = |shard: Shard| {
            Some(shard.put(key.fingerprint(), sealed, now, &mut by_fingerprint(&mut used)))
        };
        self.with(key, put).unwrap_or(false)
    }

    /// What is kept of a session. None also if there is no memory for it.
    pub fn get(&self, key: Key) -> Option<Kept> {
        self.with(key, |shard| {
            let (_, place) = shard.find(key.fingerprint())?;
            Some(Kept { sealed: shard.read(place)?, revivals: place.revivals })
        })
    }

    /// Whether a session may have been revived: true for each one that was, and for few others. Takes no lock.
    /// If it is false, the server has the id of the client.
    #[inline]
    pub fn is_revived(&self, key: Key) -> bool {
        let filter = self.region.filter();
        let (word, mask) = filter_bit(filter.len(), key.fingerprint());
        filter.get(word).is_some_and(|word| word.load(Ordering::Acquire) & mask != 0)
    }

    /// Claims a session that may be lost. `revivals`: [`Kept::revivals`] when the request of the caller was
    /// sent. A claim that is not [renewed](Store::renew) ends after five seconds.
    pub fn claim(&self, key: Key, cause: Cause, revivals: u16, now: Tick) -> Claim {
        let claim = |shard: Shard| {
            let (slot, place) = shard.find(key.fingerprint())?;
            Some(slot.claim(place, cause, revivals, now))
        };
        self.with(key, claim).unwrap_or(Claim::Absent)
    }

    /// Renews a claim for five seconds. False if it is no longer the caller's.
    pub fn renew(&self, key: Key, ticket: Ticket, now: Tick) -> bool {
        let hold = |_: &Shard, slot: &Slot, _| {
            slot.hold(now);
            Some(())
        };
        self.of_claim(key, ticket, hold).is_some()
    }

    /// Ends a claim as if there had been none: nothing was sent. False if it is no longer the caller's.
    pub fn give_back(&self, key: Key, ticket: Ticket, now: Tick) -> bool {
        self.end(key, ticket, Release::Unused, now)
    }

    /// Ends a claim: a ping has shown the session to be alive. After the same answer as the `first` one no other is
    /// asked for ten seconds. False if the claim is no longer the caller's.
    pub fn alive(&self, key: Key, ticket: Ticket, first: Reply, now: Tick) -> bool {
        self.end(key, ticket, Release::Alive(first), now)
    }

    /// Ends a claim: a ping had no answer. No other is asked for a second. False if the claim is no longer the
    /// caller's.
    pub fn silent(&self, key: Key, ticket: Ticket, now: Tick) -> bool {
        self.end(key, ticket, Release::Silent, now)
    }

    /// Ends a claim: the revival has failed. None is tried for a while. False if the claim is no longer the
    /// caller's.
    pub fn failed(&self, key: Key, ticket: Ticket, now: Tick) -> bool {
        self.end(key, ticket, Release::Tried, now)
    }

    /// Ends a claim: the revival has failed, since a ping in the new session was answered as the request had been. Such
    /// an answer says nothing about this session, and leads to no ping for ten minutes. False if the claim is no longer
    /// the caller's.
    pub fn distrusted(&self, key: Key, ticket: Ticket, first: Reply, now: Tick) -> bool {
        self.end(key, ticket, Release::Distrusted(first), now)
    }

    /// Ends a claim: the session is revived, and this is its record with the new id. `lost_by`: the answer to the ping
    /// that has shown it to be lost, if there was one. Returns the number of its revivals. None if the claim is no longer the caller's, or there is no room: then the new session is of
    /// no use. `used` as in [`put`](Store::put).
    pub fn revived(
        &self,
        key: Key,
        ticket: Ticket,
        sealed: &[u8],
        lost_by: Option<Reply>,
        now: Tick,
        mut used: impl FnMut(Key) -> Option<Tick>,
    ) -> Option<u16> {
        self.of_claim(key, ticket, |shard, slot, place| {
            let used = &mut by_fingerprint(&mut used);
            let revivals = shard.replace(slot, place, sealed, now, used);
            slot.release(Release::Tried, now);
            slot.set_lost_by(lost_by);
            revivals
        })
    }

    /// Notes the id of a server's request in a stream of a revived session, before the client gets it.
    /// `revivals`: [`Kept::revivals`] when the stream began. 14 are known; after more of them [`has_request`](Store::has_request) holds for any. False if none is
    /// noted: the session was not revived, or once more since then.
    pub fn note_request(&self, key: Key, revivals: u16, id: RpcId) -> bool {
        let note = |shard: Shard| {
            let (slot, place) = shard.find(key.fingerprint())?;
            Some(place.revivals == revivals && shard.note_request(slot, place, id))
        };
        self.with(key, note).unwrap_or(false)
    }

    /// Whether the server's request may have been noted since the session was revived last.
    pub fn has_request(&self, key: Key, id: RpcId) -> bool {
        let has = |shard: Shard| {
            let (slot, place) = shard.find(key.fingerprint())?;
            Some(shard.has_request(slot, place, id))
        };
        self.with(key, has).unwrap_or(false)
    }

    /// Notes the id of an event in a stream of a revived session, before the client gets it. `revivals` as in
    /// [`note_request`](Store::note_request).
    pub fn note_event(&self, key: Key, revivals: u16, id: EventId) {
        self.with(key, |shard| {
            let (slot, place) = shard.find(key.fingerprint())?;
            (place.revivals == revivals).then(|| shard.note_event(slot, id))
        });
    }

    /// Whether an event may have been noted since the session was revived last: true for each one that was, and
    /// after a few events for some others.
    pub fn may_have_event(&self, key: Key, id: EventId) -> bool {
        let has = |shard: Shard| Some(shard.may_have_event(shard.find(key.fingerprint())?.0, id));
        self.with(key, has).unwrap_or(false)
    }

    /// Removes the record of a session; false if there is none.
    pub fn remove(&self, key: Key) -> bool {
        self.with(key, |shard| Some(shard.remove(key.fingerprint()))).unwrap_or(false)
    }

    /// How many shards a [`sweep`](Store::sweep) of all records has.
    pub fn shards(&self) -> usize {
        self.region.geometry().shards as usize
    }

    /// Bytes of memory.
    pub fn size(&self) -> u64 {
        self.region.geometry().size as u64
    }

    /// Removes the records of sessions that have ended, from one shard, and moves `next` to the following one.
    /// Returns their number. `used` as in [`put`](Store::put).
    pub fn sweep(&self, next: &mut usize, mut used: impl FnMut(Key) -> Option<Tick>) -> usize {
        let shard = *next % self.region.geometry().shards as usize;
        *next = shard + 1;
        Shard::lock(&self.region, shard)
            .map_or(0, |shard| shard.sweep(&mut by_fingerprint(&mut used)))
    }

    /// Copies the record of one session from another store whose session table has the same secret. Claims and
    /// the requests of servers are not copied. False if nothing was copied.
    pub fn import_record(
        &self,
        from: &Store,
        key: Key,
        now: Tick,
        used: impl FnMut(Key) -> Option<Tick>,
    ) -> bool {
        let copied = from.with(key, |shard| {
            let (slot, place) = shard.find(key.fingerprint())?;
            Some(slot.copied(place, shard.read(place)?))
        });
        copied.is_some_and(|copied| self.insert(&copied, now, used))
    }

    /// Copies all records, as far as there is room, as `import_record` does. `then` is this moment by the clock of
    /// the other store: it may be of another boot. Returns the number of copied records.
    pub fn import(
        &self,
        from: &Store,
        then: Tick,
        now: Tick,
        mut used: impl FnMut(Key) -> Option<Tick>,
    ) -> usize {
        let mut count = 0;
        for shard in 0..from.region.geometry().shards as usize {
            for number in 0..from.region.geometry().slots as usize {
                // One lock at a time.
                let copied = Shard::lock(&from.region, shard).and_then(|shard| {
                    let slot = shard.slots().get(number)?;
                    let place = slot.place()?;
                    Some(slot.copied(place, shard.read(place)?))
                });
                let copied = copied.map(|copied| copied.at(then, now));
                count +=
                    usize::from(copied.is_some_and(|copied| self.insert(&copied, now, &mut used)));
            }
        }
        count
    }

    /// Whether a revival may begin now, at a moment of monotonic time in milliseconds: of all sessions of this
    /// store, [`PER_SECOND`](crate::revive::PER_SECOND) do. Otherwise the milliseconds until one may. Asked
    /// by who has the claim, when the session is known to be lost.
    pub fn may_begin(&self, now_millis: u64) -> Result<(), u64> {
        self.region.header().pace.take(now_millis)
    }

    /// Notes that an answer from a place (a key that stands for it) was no evidence of a lost session of this owner. If
    /// that was so for three owners within ten minutes, no answer from there is evidence for the next ten. True if
    /// that begins now. Five places are known; another one takes the place of one of them.
    pub fn distrust(&self, place: Key, owner: Owner, now: Tick) -> bool {
        let print = place.fingerprint();
        let doubts = &self.region.header().doubts;
        let (known, order) = (|doubt: &&Doubt| doubt.is_of(print), Ordering::Relaxed);
        let free = |doubt: &&Doubt| doubt.place.compare_exchange(0, print, order, order).is_ok();
        let found = doubts.iter().find(known).or_else(|| doubts.iter().find(free));
        match found.or_else(|| doubts.get(print as usize % doubts.len())) {
            Some(doubt) => doubt.add(print, owner, now),
            None => false,
        }
    }

    /// Whether answers from a place are no evidence.
    pub fn distrusts(&self, place: Key, now: Tick) -> bool {
        let doubts = &self.region.header().doubts;
        doubts.iter().any(|doubt| doubt.is_of(place.fingerprint()) && doubt.is_sure(now))
    }

    /// Answers from all places are evidence again.
    pub fn trust_all(&self) {
        self.region.header().doubts.iter().for_each(Doubt::clear);
    }

    /// Statistics.
    pub fn stats(&self) -> StoreStats {
        let mut stats = StoreStats::default();
        for head in self.region.heads() {
            stats.kept += u64::from(head.kept.load(Ordering::Relaxed));
            let free = head.free_count.load(Ordering::Relaxed);
            stats.free += u64::from(free) * CHUNK_SIZE as u64;
            stats.evicted += head.evicted.load(Ordering::Relaxed);
            stats.deaths += head.deaths.load(Ordering::Relaxed);
        }
        stats
    }

    fn insert(
        &self,
        copied: &Copied,
        now: Tick,
        mut used: impl FnMut(Key) -> Option<Tick>,
    ) -> bool {
        let insert = |key| {
            let copy = |shard: Shard| Some(shard.copy(copied, now, &mut by_fingerprint(&mut used)));
            self.with(key, copy)
        };
        Key::from_fingerprint(copied.fingerprint).and_then(insert).unwrap_or(false)
    }

    fn end(&self, key: Key, ticket: Ticket, release: Release, now: Tick) -> bool {
        let end = |_: &Shard, slot: &Slot, _| {
            slot.release(release, now);
            Some(())
        };
        self.of_claim(key, ticket, end).is_some()
    }

    fn of_claim<R>(
        &self,
        key: Key,
        ticket: Ticket,
        change: impl FnOnce(&Shard, &Slot, Place) -> Option<R>,
    ) -> Option<R> {
        self.with(key, |shard| {
            let (slot, place) = shard.find(key.fingerprint())?;
            if !slot.is_claimed_by(ticket) {
                return None;
            }
            change(&shard, slot, place)
        })
    }

    fn with<R>(&self, key: Key, work: impl FnOnce(Shard) -> Option<R>) -> Option<R> {
        Shard::lock(&self.region, self.shard_of(key)).and_then(work)
    }

    #[inline]
    fn shard_of(&self, key: Key) -> usize {
        let shards = u64::from(self.region.geometry().shards);
        (((key.fingerprint() >> 32) * shards) >> 32) as usize
    }
}

fn by_fingerprint(
    used: &mut impl FnMut(Key) -> Option<Tick>,
) -> impl FnMut(u64) -> Option<Tick> + '_ {
    |fingerprint| Key::from_fingerprint(fingerprint).and_then(&mut *used)
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
