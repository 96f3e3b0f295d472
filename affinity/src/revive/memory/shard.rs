//! One shard, whose lock is held: finds records, makes room for them, repairs what a death has left.

use core::sync::atomic::{AtomicU64, Ordering};

use super::chunks::{chunks_for, Chunks, Marks};
use super::layout::{CHUNK_WORDS, MAX_CHUNKS};
use super::region::Region;
use super::slot::{one_more, Copied, Place, Rank, Slot};
use crate::revive::rpc_ids::events::EventId;
use crate::revive::rpc_ids::message::RpcId;
use crate::table::memory::lock::{Guard, Locked};
use crate::time::Tick;

/// Request ids that a chunk holds behind its first word, which has the number of revivals, and how many
/// ids were noted since. Its last word is a Bloom filter of the ids of events since then.
const MAX_REQUESTS: usize = CHUNK_WORDS - 2;

/// A shard whose lock is held.
pub(super) struct Shard<'a> {
    slots: &'a [Slot],
    filter: &'a [AtomicU64],
    chunks: Chunks<'a>,
    _guard: Guard<'a>,
}

/// The bit of a session in a filter of so many words: word and mask. It depends on the half of the fingerprint
/// that the shard depends on. So the bits of a shard lie together, and no other shard has them.
#[inline]
pub(super) fn filter_bit(words: usize, fingerprint: u64) -> (usize, u64) {
    let bit = ((fingerprint >> 32) * (words as u64 * u64::from(u64::BITS))) >> 32;
    ((bit / u64::from(u64::BITS)) as usize, 1 << (bit % u64::from(u64::BITS)))
}

impl<'a> Shard<'a> {
    /// Locks a shard. None if there is no such shard, or its lock is broken.
    pub(super) fn lock(region: &'a Region, shard: usize) -> Option<Shard<'a>> {
        let head = region.heads().get(shard)?;
        let (guard, is_to_repair) = match head.lock.lock() {
            Locked::Clean(guard) => (guard, false),
            Locked::OwnerDied(guard) => (guard, true),
            Locked::Failed => return None,
        };
        let locked = Shard {
            slots: region.slots(shard),
            filter: region.filter(),
            chunks: Chunks { head, links: region.links(shard), chunks: region.chunks(shard) },
            _guard: guard,
        };
        if is_to_repair {
            locked.repair();
            head.deaths.fetch_add(1, Ordering::Relaxed);
            locked._guard.consistent();
        }
        Some(locked)
    }

    /// Finds out again which chunks are free: those that are in no record. Nothing else needs a repair: a
    /// record is published by one word when all of it is written, and the words of a claim are valid in
    /// any state.
    pub(super) fn repair(&self) {
        let mut marks = Marks::new();
        for slot in self.slots {
            let Some(place) = slot.place() else { continue };
            if !self.chunks.mark(place.first, place.len.into(), &mut marks) {
                slot.set_place(None);
                continue;
            }
            let requests = slot.requests.load(Ordering::Relaxed);
            let is_marked =
                requests.checked_sub(1).is_some_and(|chunk| self.chunks.mark(chunk, 1, &mut marks));
            if !is_marked {
                slot.requests.store(0, Ordering::Relaxed);
            }
            if place.revivals != 0 {
                self.set_filter(slot.fingerprint.load(Ordering::Relaxed));
            }
        }
        self.chunks.rebuild(&marks);
        let kept = self.slots.iter().filter(|slot| slot.place().is_some()).count();
        self.chunks.head.kept.store(kept as u32, Ordering::Relaxed);
    }

    pub(super) fn find(&self, fingerprint: u64) -> Option<(&'a Slot, Place)> {
        let slot = self.slots.iter().find(|slot| slot.is_of(fingerprint))?;
        Some((slot, slot.place()?))
    }

    pub(super) fn slots(&self) -> &'a [Slot] {
        self.slots
    }

    pub(super) fn read(&self, place: Place) -> Option<Vec<u8>> {
        self.chunks.read(place.first, place.len.into())
    }

    /// Keeps a record of a session that begins now, or replaces it.
    pub(super) fn put(
        &self,
        fingerprint: u64,
        sealed: &[u8],
        now: Tick,
        used: &mut impl FnMut(u64) -> Option<Tick>,
    ) -> bool {
        self.remove(fingerprint);
        let room = self.make_room(chunks_for(sealed.len()), true, None, None, now, used);
        room && self.fill(fingerprint, sealed, [now; 2], 0)
    }

    /// Keeps a record of another store, if there is none, and room without one that would go later.
    pub(super) fn copy(
        &self,
        copied: &Copied,
        now: Tick,
        used: &mut impl FnMut(u64) -> Option<Tick>,
    ) -> bool {
        if self.find(copied.fingerprint).is_some() {
            return false;
        }
        let is_revived = copied.revivals != 0;
        let needed = chunks_for(copied.sealed.len()) + usize::from(is_revived);
        let rank = Slot::rank_of(copied.created, copied.used, now);
        let times = [copied.created, copied.used];
        self.make_room(needed, true, None, Some(rank), now, used)
            && self.fill(copied.fingerprint, &copied.sealed, times, copied.revivals)
    }

    /// Replaces a record by that of the revived session. Returns the number of its revivals.
    pub(super) fn replace(
        &self,
        slot: &Slot,
        place: Place,
        sealed: &[u8],
        now: Tick,
        used: &mut impl FnMut(u64) -> Option<Tick>,
    ) -> Option<u16> {
        let needed = chunks_for(sealed.len()) + 1;
        if !self.make_room(needed, false, Some(slot), None, now, used) {
            return None;
        }
        let new = self.write(sealed, one_more(place.revivals))?;
        self.add_requests(slot)?;
        self.set_filter(slot.fingerprint.load(Ordering::Relaxed));
        slot.set_place(Some(new));
        self.chunks.give_back(place.first, place.len.into());
        Some(new.revivals)
    }

    pub(super) fn remove(&self, fingerprint: u64) -> bool {
        let Some((slot, _)) = self.find(fingerprint) else { return false };
        self.empty(slot);
        true
    }

    /// Removes the records of all sessions that have ended. Returns their number.
    pub(super) fn sweep(&self, used: &mut impl FnMut(u64) -> Option<Tick>) -> usize {
        let is_over = |slot: &&Slot| {
            slot.place().is_some() && used(slot.fingerprint.load(Ordering::Relaxed)).is_none()
        };
        self.slots.iter().filter(is_over).map(|slot| self.empty(slot)).count()
    }

    /// Notes the id of a request of the server.
    pub(super) fn note_request(&self, slot: &Slot, place: Place, id: RpcId) -> bool {
        let Some([head, ids @ .., _]) = self.requests(slot) else { return false };
        let noted = noted_of(head, place);
        if ids.iter().take(noted).any(|noted| noted.load(Ordering::Relaxed) == id.0) {
            return true;
        }
        let Some(room) = ids.get(noted % MAX_REQUESTS) else { return false };
        room.store(id.0, Ordering::Relaxed);
        head.store(head_of(place, noted + 1), Ordering::Relaxed);
        true
    }

    /// Whether the id of a request may have been noted since the last revival: true for each one that was, and for any
    /// if more were noted than there is room for. An answer that the server waits for must not be lost.
    pub(super) fn has_request(&self, slot: &Slot, place: Place, id: RpcId) -> bool {
        let Some([head, ids @ .., _]) = self.requests(slot) else { return false };
        let noted = noted_of(head, place);
        noted > MAX_REQUESTS
            || ids.iter().take(noted).any(|noted| noted.load(Ordering::Relaxed) == id.0)
    }

    /// Notes the id of an event.
    pub(super) fn note_event(&self, slot: &Slot, id: EventId) {
        if let Some([.., events]) = self.requests(slot) {
            events.fetch_or(bits_of(id), Ordering::Relaxed);
        }
    }

    /// Whether the id of an event may have been noted since the last revival.
    pub(super) fn may_have_event(&self, slot: &Slot, id: EventId) -> bool {
        let bits = bits_of(id);
        matches!(self.requests(slot), Some([.., events]) if events.load(Ordering::Relaxed) & bits == bits)
    }

    fn requests(&self, slot: &Slot) -> Option<&'a [AtomicU64; CHUNK_WORDS]> {
        let chunk = slot.requests.load(Ordering::Relaxed).checked_sub(1)?;
        Some(&self.chunks.words(chunk)?.0)
    }

    /// Gives a slot a chunk for request ids. What is noted there counts for one number of revivals.
    fn add_requests(&self, slot: &Slot) -> Option<()> {
        if self.requests(slot).is_none() {
            let chunk = self.chunks.take()?;
            self.chunks.words(chunk)?.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            slot.requests.store(chunk + 1, Ordering::Relaxed);
        }
        if let Some([.., events]) = self.requests(slot) {
            events.store(0, Ordering::Relaxed);
        }
        Some(())
    }

    /// Writes a record, for which there is room, and publishes it in a free slot.
    fn fill(&self, fingerprint: u64, sealed: &[u8], times: [Tick; 2], revivals: u16) -> bool {
        let filled = || {
            let slot = self.slots.iter().find(|slot| slot.place().is_none())?;
            let place = self.write(sealed, revivals)?;
            slot.begin(fingerprint, times);
            if revivals != 0 {
                self.add_requests(slot)?;
                self.set_filter(fingerprint);
            }
            slot.set_place(Some(place));
            self.count(1);
            Some(())
        };
        filled().is_some()
    }

    fn count(&self, change: i32) {
        let kept = &self.chunks.head.kept;
        kept.store(kept.load(Ordering::Relaxed).wrapping_add_signed(change), Ordering::Relaxed);
    }

    fn write(&self, sealed: &[u8], revivals: u16) -> Option<Place> {
        let len = u16::try_from(sealed.len()).ok()?;
        Some(Place { first: self.chunks.write(sealed)?, len, revivals })
    }

    fn empty(&self, slot: &Slot) {
        let Some(place) = slot.place() else { return };
        slot.set_place(None);
        self.count(-1);
        self.chunks.give_back(place.first, place.len.into());
        if let Some(chunk) = slot.requests.swap(0, Ordering::Relaxed).checked_sub(1) {
            self.chunks.give_back_one(chunk);
        }
        if place.revivals != 0 {
            self.clear_filter(slot.fingerprint.load(Ordering::Relaxed));
        }
    }

    /// Makes room for a record of so many chunks, and a slot: removes others, except `kept`, and those whose
    /// rank is not below `limit`.
    fn make_room(
        &self,
        needed: usize,
        needs_slot: bool,
        kept: Option<&Slot>,
        limit: Option<Rank>,
        now: Tick,
        used: &mut impl FnMut(u64) -> Option<Tick>,
    ) -> bool {
        if needed > MAX_CHUNKS.min(self.chunks.chunks.len()) {
            return false;
        }
        let has_slot = || !needs_slot || self.slots.iter().any(|slot| slot.place().is_none());
        while self.chunks.free_count() < needed || !has_slot() {
            let others = self.slots.iter().filter(|slot| {
                slot.place().is_some() && !kept.is_some_and(|kept| core::ptr::eq(*slot, kept))
            });
            let Some(first) = others.min_by_key(|slot| slot.rank(now)) else { return false };
            let noted = first.rank(now);
            if limit.is_some_and(|limit| noted >= limit) {
                return false;
            }
            match used(first.fingerprint.load(Ordering::Relaxed)) {
                None => self.empty(first),
                Some(used) => {
                    // The session table knows better: the session may go later than it seemed.
                    first.set_used(used, now);
                    if first.rank(now) == noted {
                        self.empty(first);
                        self.chunks.head.evicted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        true
    }

    fn set_filter(&self, fingerprint: u64) {
        let (word, mask) = filter_bit(self.filter.len(), fingerprint);
        if let Some(word) = self.filter.get(word) {
            word.fetch_or(mask, Ordering::Release);
        }
    }

    /// Clears the bit of a session, unless another revived one has the same.
    fn clear_filter(&self, fingerprint: u64) {
        let bit = filter_bit(self.filter.len(), fingerprint);
        let has_bit = |slot: &Slot| {
            let is_revived = slot.place().is_some_and(|place| place.revivals != 0);
            let fingerprint = slot.fingerprint.load(Ordering::Relaxed);
            is_revived && filter_bit(self.filter.len(), fingerprint) == bit
        };
        if !self.slots.iter().any(has_bit) {
            if let Some(word) = self.filter.get(bit.0) {
                word.fetch_and(!bit.1, Ordering::Relaxed);
            }
        }
    }
}

/// The two bits of an id in the filter of events.
fn bits_of(id: EventId) -> u64 {
    1 << (id.0 & 63) | 1 << (id.0 >> 6 & 63)
}

/// The first word of a chunk with request ids.
fn head_of(place: Place, noted: usize) -> u64 {
    u64::from(place.revivals) << 32 | noted as u64
}

/// How many ids were noted since the last revival.
fn noted_of(head: &AtomicU64, place: Place) -> usize {
    let head = head.load(Ordering::Relaxed);
    match head >> 32 == u64::from(place.revivals) {
        true => (head & u64::from(u32::MAX)) as usize,
        false => 0,
    }
}
