//! The table as its users see it.

use core::num::NonZeroU64;
use core::ptr::NonNull;

use super::hash::{Algorithm, Hasher, DOMAINS};
use super::memory::bucket::{Bucket, Entry, Found, Meta, Used, SLOTS};
use super::memory::place::{neighbour, Place};
use super::memory::region::{Counter, Error, Region, ALIGN, MIN_SIZE};
use super::memory::sync::{AtomicU64, Ordering};
use super::memory::writer::{Position, Writer};
use crate::time::{Limits, Span, Tick};

/// A handle of the table in a region of shared memory, one for each process that uses it. Copies
/// are cheap and equal.
#[derive(Clone, Copy)]
pub struct Table {
    pub(super) region: Region,
    hasher: Hasher,
}

/// What an id names. Ids of different kinds never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A session.
    Session = 1,
    /// A stream of the MCP transport HTTP+SSE.
    Sse = 2,
    /// An MCP task.
    Task = 3,
}

/// Stands for the addresses of servers where `Kind` stands for ids, so that a print and a key of
/// the same text differ.
const ADDRESS: u8 = 0;

const _: () = assert!((Kind::Task as usize) < DOMAINS);

/// The keyed fingerprint of a kind, an id and what the id is bound to. It means something only in
/// tables with the same secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(NonZeroU64);

impl Key {
    /// The fingerprint. It tells nothing about the id to anybody without the secret.
    #[inline]
    pub fn fingerprint(self) -> u64 {
        self.0.get()
    }

    /// That of an entry which holds a session.
    pub(super) fn of(entry: &Entry) -> Option<Key> {
        NonZeroU64::new(entry.fingerprint).map(Key)
    }
}

/// A server on the table's list. It goes stale when the server is taken off the list; all methods
/// notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId {
    /// Number of the server in the list. Another server may have it later.
    pub index: u16,
    /// Keyed hash of the server's address.
    pub print: u64,
}

/// What `Table::lookup` finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The server that holds the session.
    pub server: ServerId,
    /// When the session was created.
    pub created: Tick,
    /// When it was used last. A caller that uses it now calls `touch` if this is not now.
    pub used: Tick,
}

/// What `Table::bind` does about a live session that belongs to another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it as it is.
    Keep,
    /// Move it to the server.
    Move,
}

/// What `Table::bind` has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The session is new.
    Created,
    /// The session belonged to the server already, and has been used now.
    Refreshed,
    /// The session belonged to another server, belongs to this one and has been used now. It is
    /// as old as before.
    Moved,
    /// The session belongs to another server and is as it was.
    Kept,
    /// The server is not on the list (any more): intern its address again. Or a lock is broken.
    Refused,
}

/// Statistics of a table since its creation. When nobody writes, `created` is the sum of `live`,
/// `expired`, `evicted` and `forgotten`, whoever died in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions that fit in.
    pub capacity: u64,
    /// Sessions now, with those that have expired but not been removed yet.
    pub live: u64,
    /// Calls of `count_hit`.
    pub hits: u64,
    /// Calls of `count_unknown`.
    pub unknown: u64,
    /// Sessions created.
    pub created: u64,
    /// Sessions moved to another server.
    pub moved: u64,
    /// Sessions removed at the end of their time.
    pub expired: u64,
    /// Sessions removed before their time, for want of room.
    pub evicted: u64,
    /// Sessions removed by `forget` and `forget_server`.
    pub forgotten: u64,
    /// Processes that died in the middle of a change, which was then finished by another one.
    pub deaths: u64,
}

/// Statistics of a server since it came on the list. When nobody writes, `created` and `moved_in`
/// are together the sum of `live`, `moved_out`, `expired`, `evicted` and `forgotten`. All but
/// `live` and `hits` count modulo 2^32 in each shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Sessions now, with those that have expired but not been removed yet.
    pub live: u64,
    /// Calls of `count_hit`.
    pub hits: u64,
    /// Sessions created.
    pub created: u64,
    /// Sessions that came from another server.
    pub moved_in: u64,
    /// Sessions that went to another server.
    pub moved_out: u64,
    /// Sessions removed at the end of their time.
    pub expired: u64,
    /// Sessions removed before their time, for want of room.
    pub evicted: u64,
    /// Sessions removed by `forget` and `forget_server`.
    pub forgotten: u64,
}

impl Table {
    /// Smallest region (bytes) that holds a table.
    pub const MIN_SIZE: usize = MIN_SIZE;
    /// What the address of a region must be a multiple of.
    pub const ALIGN: usize = ALIGN;

    /// Makes an empty table in a region of `len` bytes. `secret` keys all hashes: draw it from
    /// the system's random numbers, or take that of a table to be imported.
    ///
    /// # Safety
    /// 1. `region` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this handle or a copy of it is used.
    /// 3. Nobody else uses them until this returns; then, only handles of this table do.
    /// 4. All of them are zero, as memory fresh from the kernel is.
    pub unsafe fn create(
        region: NonNull<u8>,
        len: usize,
        secret: [u8; 16],
    ) -> Result<Table, Error> {
        let algorithm = Algorithm::best();
        // SAFETY: the caller's word, as it stands above.
        let region = unsafe { Region::create(region, len, algorithm as u32, secret) }?;
        Self::new(region)
    }

    /// Finds the table that `create` has made in a region, in this process or another. The bytes
    /// of a region that holds no table, or a damaged one, lead to an error or to a table of
    /// nonsense, not out of the region; but a lock made of such bytes may never be had.
    ///
    /// # Safety
    /// 1. `region` is the start of `len` readable and writable bytes.
    /// 2. They stay mapped there while this handle or a copy of it is used.
    /// 3. All who write to them use handles of this table of the same format.
    pub unsafe fn attach(region: NonNull<u8>, len: usize) -> Result<Table, Error> {
        // SAFETY: the caller's word, as it stands above.
        Self::new(unsafe { Region::attach(region, len) }?)
    }

    fn new(region: Region) -> Result<Table, Error> {
        let algorithm = Algorithm::from_number(region.algorithm());
        let hasher = algorithm.and_then(|algorithm| Hasher::new(algorithm, region.secret()));
        Ok(Table { region, hasher: hasher.ok_or(Error::Format)? })
    }

    /// Sessions that fit in.
    pub fn capacity(&self) -> u64 {
        self.region.capacity()
    }

    /// The key of all hashes of this table.
    pub fn secret(&self) -> [u8; 16] {
        self.region.secret()
    }

    /// The key of an id. `bind` is what the id is bound to (a user, a tenant), or empty. Different
    /// triples give different keys, up to a chance of 2^-64 that nobody without the secret can
    /// improve.
    #[inline]
    pub fn key(&self, kind: Kind, id: &[u8], bind: &[u8]) -> Key {
        Key(self.hasher.hash(kind as u8, id, bind))
    }

    /// Has the processor fetch what `lookup_at_once` will most probably read, while the caller does
    /// something else.
    #[inline]
    pub fn prefetch(&self, key: Key) {
        let home = Place::home(&self.region, key.fingerprint());
        self.region.buckets().prefetch_bodies(home.min(neighbour(home)));
    }

    /// The session of a key, unless it has expired. Takes no lock and stores nothing.
    #[inline]
    pub fn lookup(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.find::<false>(key, now, limits)
    }

    /// What `lookup` finds, and `touch` with it in the same pass.
    #[inline]
    pub fn visit(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.find::<true>(key, now, limits)
    }

    /// What `lookup` finds, if it is where at the table's nominal load 19 of 20 sessions are: in the
    /// body of its home or the one beside that. Reads no more than their four cache lines, which lie
    /// together, and mostly one. Where this gives `None`, `lookup` may still find the session.
    #[inline]
    pub fn lookup_at_once(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.find_at_once::<false>(key, now, limits)
    }

    /// What `lookup_at_once` finds, and `touch` with it in the same pass.
    #[inline(always)]
    pub fn visit_at_once(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.find_at_once::<true>(key, now, limits)
    }

    #[inline(always)]
    fn find_at_once<const TOUCH: bool>(
        &self,
        key: Key,
        now: Tick,
        limits: &Limits,
    ) -> Option<Session> {
        let home = Place::home(&self.region, key.fingerprint());
        let found = self.read_body(key, home).or_else(|| self.read_beside(key, home));
        let (entry, print, used) = found?;
        Self::session::<TOUCH>(entry, print, used, now, limits)
    }

    #[inline(always)]
    fn read_body(&self, key: Key, bucket: u32) -> Option<(Entry, u64, Used<'_>)> {
        self.bucket(bucket)?.read_body(key.fingerprint(), |meta| self.print_of(meta))
    }

    /// Apart from the way of the other six of seven, which is as short as can be without it.
    #[cold]
    #[inline(never)]
    fn read_beside(&self, key: Key, home: u32) -> Option<(Entry, u64, Used<'_>)> {
        self.read_body(key, neighbour(home))
    }

    /// The short way: the session is with its home or nowhere, and nobody changes its line.
    #[inline(always)]
    fn find<const TOUCH: bool>(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        let number = Place::home(&self.region, key.fingerprint());
        let (entry, print, used) =
            match self.bucket(number)?.read(key.fingerprint(), |m| self.print_of(m)) {
                Found::Entry(entry, print, used) => (entry, print, used),
                Found::Nothing(home) => {
                    let beside = self.bucket(neighbour(number))?;
                    match beside.read(key.fingerprint(), |meta| self.print_of(meta)) {
                        Found::Entry(entry, print, used) => (entry, print, used),
                        Found::Nothing(_) if !home.may_be_elsewhere(key.fingerprint()) => {
                            return None;
                        }
                        Found::Nothing(_) | Found::Changed => self.read(key)?,
                    }
                }
                Found::Changed => self.read(key)?,
            };
        Self::session::<TOUCH>(entry, print, used, now, limits)
    }

    #[inline(always)]
    fn session<const TOUCH: bool>(
        entry: Entry,
        print: u64,
        used: Used<'_>,
        now: Tick,
        limits: &Limits,
    ) -> Option<Session> {
        if print == 0 || entry.expired(now, limits) {
            return None;
        }
        if TOUCH {
            used.touch(entry.used, now);
        }
        let server = ServerId { index: entry.meta.server(), print };
        Some(Session { server, created: entry.created, used: entry.used })
    }

    /// The session of a key is used now, as long as it is in the table, expired or not. False if
    /// it is not. Takes no lock, and stores only if the last use was in an earlier tick.
    #[inline]
    pub fn touch(&self, key: Key, now: Tick) -> bool {
        match self.read(key) {
            Some((entry, _, used)) => {
                used.touch(entry.used, now);
                true
            }
            None => false,
        }
    }

    /// The session of `key` is bound to `server` and used now. Two sessions of one key never
    /// exist, however many processes bind it at once.
    ///
    /// A session with a `ttl` lives that long from its creation, used or not, whatever
    /// `limits.timeout`; one without, until it has been idle for `limits.timeout`. Neither gets older
    /// than `limits.lifetime`. A ttl of None leaves that of a live session as it is. It is kept with
    /// a precision of one percent, rounded up, and is one tick at least.
    ///
    /// Where there is no room, one of the 36 sessions in the buckets where this one would rather be
    /// makes some: first one that has ended, then one that was not used later than a minute after
    /// its creation, then any; of each kind the one that has been idle the longest. Sessions of the
    /// same tick are equals.
    pub fn bind(
        &self,
        key: Key,
        server: ServerId,
        ttl: Option<Span>,
        now: Tick,
        limits: &Limits,
        existing: Existing,
    ) -> Bound {
        if ttl.is_none() && self.refresh(key, server, now, limits) {
            return Bound::Refreshed;
        }
        self.bind_locked(key, server, ttl, now, limits, existing).unwrap_or(Bound::Refused)
    }

    /// The shorter way of `bind`, without a lock, when there is nothing to change but the time of
    /// last use.
    fn refresh(&self, key: Key, server: ServerId, now: Tick, limits: &Limits) -> bool {
        let session = self.lookup(key, now, limits);
        session.is_some_and(|session| session.server == server && self.touch(key, now))
    }

    fn bind_locked(
        &self,
        key: Key,
        server: ServerId,
        ttl: Option<Span>,
        now: Tick,
        limits: &Limits,
        existing: Existing,
    ) -> Option<Bound> {
        let place = Place::new(&self.region, key.fingerprint());
        let writer = self.writer(key.fingerprint())?;
        if !self.accepts_sessions(server) {
            return None;
        }
        self.note_use(server, now);
        let meta = Meta::new(server.index, ttl);
        let new = Entry { fingerprint: key.fingerprint(), meta, used: now, created: now };
        match writer.find(&place) {
            Some((position, entry)) if entry.meta.is_tombstone() => {
                // Marked, for the end of the session before was perhaps not handed on.
                writer.replace(position, Entry { meta: meta.with_moved(true), ..new })?;
                return Some(Bound::Created);
            }
            Some((position, entry)) if !entry.expired(now, limits) => {
                let moved = entry.meta.server() != server.index;
                if moved && existing == Existing::Keep {
                    return Some(Bound::Kept);
                }
                let meta = match ttl {
                    Some(_) => Meta::new(server.index, ttl),
                    None => entry.meta.with_server(server.index),
                };
                if meta != entry.meta {
                    writer.rebind(position, entry, meta)?;
                }
                self.touch(key, now);
                return Some(if moved { Bound::Moved } else { Bound::Refreshed });
            }
            Some((position, entry)) => writer.remove(position, entry, Counter::Expired)?,
            None => (),
        }
        let position = match writer.free(&place) {
            Some(position) => position,
            None => self.make_room(&writer, &place, now, limits)?,
        };
        writer.insert(&place, position, new)?;
        Some(Bound::Created)
    }

    /// Removes the stalest session of the nearest candidates of `place`.
    fn make_room(
        &self,
        writer: &Writer<'_>,
        place: &Place,
        now: Tick,
        limits: &Limits,
    ) -> Option<Position> {
        let (victim, entry) = writer
            .neighbours(place)
            .max_by_key(|(_, entry)| entry.precedence(now, limits.timeout))?;
        // The limits are the caller's and may not be those of the victim's upstream: what has been
        // idle for longer than the caller's timeout goes first. A lifetime only names the reason.
        let reason = if entry.expired(now, limits) { Counter::Expired } else { Counter::Evicted };
        writer.remove(victim, entry, reason)?;
        Some(victim)
    }

    /// Removes the session of a key. False if there is none.
    pub fn forget(&self, key: Key) -> bool {
        if self.read(key).is_none() {
            return false;
        }
        let place = Place::new(&self.region, key.fingerprint());
        self.writer(key.fingerprint())
            .and_then(|writer| {
                let (position, entry) = writer.find(&place)?;
                (!entry.meta.is_tombstone()).then(|| writer.forget(position, entry))?
            })
            .is_some()
    }

    /// Removes expired sessions from the next `max_slots` slots, six at least, behind those that
    /// the last sweep of any process has seen. Returns how many it has removed.
    ///
    /// `limits` are those of the most patient upstream that uses the table. Removing one session
    /// costs less than 0.2 µs; looking at one that stays, a tenth.
    pub fn sweep(&self, now: Tick, limits: &Limits, max_slots: usize) -> usize {
        let count = (max_slots / SLOTS).max(1);
        let start = self.region.header().cursor.fetch_add(count as u64, Ordering::Relaxed);
        self.remove_where(start, count, Counter::Expired, |entry| entry.expired(now, limits))
    }

    /// Removes sessions of a server, live or not, from the next `max_slots` slots, six at least,
    /// behind `cursor`, which is moved on and zero again when all slots have been seen. Returns
    /// how many it has removed.
    pub fn forget_server(&self, server: ServerId, cursor: &mut usize, max_slots: usize) -> usize {
        let count = (max_slots / SLOTS).max(1);
        let start = *cursor as u64;
        *cursor = cursor.saturating_add(count);
        if *cursor >= self.region.buckets().len() {
            *cursor = 0;
        }
        let bound =
            |entry: &Entry| entry.meta.server() == server.index && self.accepts_sessions(server);
        self.remove_where(start, count, Counter::Forgotten, bound)
    }

    /// Removes the sessions of `count` buckets from number `start` on, modulo their number, that
    /// `doomed` says yes to. It is asked without the lock first, and once more with it.
    fn remove_where(
        &self,
        start: u64,
        count: usize,
        reason: Counter,
        doomed: impl Fn(&Entry) -> bool,
    ) -> usize {
        let buckets = self.region.buckets();
        let per_shard = self.region.buckets_per_shard() as usize;
        let count = count.min(buckets.len());
        let start = (start % buckets.len() as u64) as usize;
        let mut removed = 0;
        for number in (start..buckets.len()).chain(0..start).take(count) {
            let Some(bucket) = buckets.get(number as u32) else {
                break;
            };
            let used = bucket.summary(Ordering::Relaxed).load() > 0;
            let worth_it = used
                && bucket.slots().any(|slot| match slot.fingerprint() {
                    0 => false,
                    fingerprint => doomed(&slot.entry(fingerprint)),
                });
            if !worth_it {
                continue;
            }
            let Some(writer) = Writer::lock(&self.region, number / per_shard) else {
                break;
            };
            for slot in 0..SLOTS as u32 {
                let position = Position { bucket: number as u32, slot };
                if let Some(entry) = writer.entry(position).filter(&doomed) {
                    let done = match reason {
                        Counter::Forgotten => writer.forget(position, entry),
                        _ => writer.remove(position, entry, reason),
                    };
                    removed += usize::from(done.is_some());
                }
            }
        }
        removed
    }

    /// Counts a request whose id has no session here.
    pub fn count_unknown(&self, key: Key) {
        if let Some(shard) =
            self.region.shards().get(Place::shard(&self.region, key.fingerprint()) as usize)
        {
            shard.unknown.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Statistics of the table. Costs a pass over the server list, none over the sessions.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { capacity: self.region.capacity(), ..Stats::default() };
        // The memory may be damaged: no sum may overflow.
        for shard in self.region.shards() {
            let [created, expired, evicted, forgotten, moved, _] = &shard.totals;
            let add = |sum: &mut u64, counter: &AtomicU64| {
                *sum = sum.wrapping_add(counter.load(Ordering::Acquire));
            };
            add(&mut stats.expired, expired);
            add(&mut stats.evicted, evicted);
            add(&mut stats.forgotten, forgotten);
            add(&mut stats.moved, moved);
            // Last: a session created and removed meanwhile does not count as removed only.
            add(&mut stats.created, created);
            add(&mut stats.unknown, &shard.unknown.0);
            add(&mut stats.deaths, &shard.deaths);
        }
        let gone = stats.expired.wrapping_add(stats.evicted).wrapping_add(stats.forgotten);
        stats.live = stats.created.saturating_sub(gone);
        stats.hits = self.region.header().retired_hits.load(Ordering::Relaxed);
        for hits in self.region.hits() {
            stats.hits = stats.hits.wrapping_add(hits.load(Ordering::Relaxed));
        }
        stats
    }

    /// Copies the live sessions of another table, of whatever size, and the state of their
    /// servers, while other processes go on using both. Where there is no room for all, those
    /// used last stay. A session that is here already stays, and has been used when either was.
    /// Returns how many sessions have been added.
    ///
    /// `limits` are those of the most patient upstream that uses the table. The tables must have
    /// the same secret and hash; otherwise nothing is copied. Costs a pass over all sessions.
    pub fn import(&self, from: &Table, now: Tick, limits: &Limits) -> usize {
        if !self.hashes_as(from) {
            return 0;
        }
        let mut servers = Translation::new(self, from, now);
        let mut imported = 0;
        for bucket in from.region.buckets().iter() {
            for slot in 0..SLOTS {
                let Some((entry, print)) = bucket.read_slot(slot, |meta| from.print_of(meta))
                else {
                    continue;
                };
                if entry.meta.is_tombstone() || entry.expired(now, limits) {
                    continue;
                }
                let server = servers.get(ServerId { index: entry.meta.server(), print });
                let added = server
                    .and_then(|server| self.adopt(entry, server, Existing::Keep, now, limits));
                imported += usize::from(added == Some(true));
            }
        }
        imported
    }

    /// Copies one session of another table, live or not, as `import` does with all. False if it
    /// is not there, or there is no room for it here.
    pub fn import_session(&self, from: &Table, key: Key, now: Tick, limits: &Limits) -> bool {
        if !self.hashes_as(from) {
            return false;
        }
        // With the lock, so that what is forgotten there meanwhile is not copied after that.
        let place = Place::new(&from.region, key.fingerprint());
        let added = from.writer(key.fingerprint()).and_then(|writer| {
            let (_, entry) = writer.find(&place).filter(|(_, it)| !it.meta.is_tombstone())?;
            let server = ServerId { index: entry.meta.server(), print: from.print_of(entry.meta) };
            let server = Translation::new(self, from, now).get(server)?;
            self.adopt(entry, server, Existing::Keep, now, limits)
        });
        added.is_some()
    }

    /// Whether the same key in both tables stands for the same id.
    pub(super) fn hashes_as(&self, other: &Table) -> bool {
        self.region.secret() == other.region.secret()
            && self.region.algorithm() == other.region.algorithm()
    }

    /// Adds a session of another table. False if it is here already or was used too long ago to
    /// find room; None if that cannot be. One that is here stays where it is, or moves to `server`
    /// unless it was created later.
    pub(super) fn adopt(
        &self,
        mut entry: Entry,
        server: ServerId,
        existing: Existing,
        now: Tick,
        limits: &Limits,
    ) -> Option<bool> {
        entry.meta = entry.meta.with_server(server.index).with_moved(false);
        let place = Place::new(&self.region, entry.fingerprint);
        let writer = self.writer(entry.fingerprint)?;
        if !self.accepts_sessions(server) {
            return None;
        }
        match writer.find(&place) {
            // Forgotten here: only a session that began after that one comes.
            Some((position, own)) if own.meta.is_tombstone() => {
                return match entry.is_later_than(&own) {
                    true => writer.replace(position, entry).map(|()| true),
                    false => Some(false),
                };
            }
            // It has ended, and begun again elsewhere.
            Some((position, own)) if existing == Existing::Move && entry.is_later_than(&own) => {
                writer.forget(position, own)?;
                if let Some((position, _)) = writer.find(&place) {
                    return writer.replace(position, entry).map(|()| true);
                }
            }
            Some((position, own)) => {
                let meta = own.meta.with_server(server.index);
                let moves = existing == Existing::Move && meta != own.meta;
                if moves && !own.is_later_than(&entry) {
                    writer.rebind(position, own, meta)?;
                }
                if let Some(key) = Key::of(&entry) {
                    self.touch(key, entry.used);
                }
                return Some(false);
            }
            None => (),
        }
        let position = match writer.free(&place) {
            Some(position) => position,
            None => {
                let precedence = |entry: &Entry| entry.precedence(now, limits.timeout);
                let first = writer.neighbours(&place).map(|(_, other)| precedence(&other)).max()?;
                if first <= precedence(&entry) {
                    return Some(false);
                }
                self.make_room(&writer, &place, now, limits)?
            }
        };
        writer.insert(&place, position, entry)?;
        Some(true)
    }

    /// The session of a key, expired or not, its server's print and its time of last use.
    ///
    /// Lock-free: it begins again only after a writer has changed the session's line meanwhile.
    #[inline(never)]
    fn read(&self, key: Key) -> Option<(Entry, u64, Used<'_>)> {
        let mut bucket = self.bucket(Place::home(&self.region, key.fingerprint()))?;
        loop {
            match bucket.read(key.fingerprint(), |meta| self.print_of(meta)) {
                Found::Entry(entry, ..) if entry.meta.is_tombstone() => return None,
                Found::Entry(entry, print, used) => return Some((entry, print, used)),
                Found::Nothing(_) | Found::Changed => bucket = self.holder(key)?,
            }
        }
    }

    /// The bucket that holds the session of a key.
    fn holder(&self, key: Key) -> Option<Bucket<'_>> {
        let place = Place::new(&self.region, key.fingerprint());
        let holds = |bucket: &Bucket<'_>| bucket.position(key.fingerprint()).is_some();
        let home = self.bucket(place.home)?;
        if holds(&home) {
            return Some(home);
        }
        let beside = self.bucket(neighbour(place.home)).filter(holds);
        beside.or_else(|| {
            if !home.summary(Ordering::Acquire).may_be_elsewhere(key.fingerprint()) {
                return None;
            }
            let elsewhere = || place.elsewhere().filter_map(|bucket| self.bucket(bucket));
            // One wait for all of them.
            elsewhere().for_each(|bucket| bucket.prefetch_summary());
            elsewhere().find(holds)
        })
    }

    #[inline]
    fn bucket(&self, index: u32) -> Option<Bucket<'_>> {
        self.region.buckets().get(index)
    }

    pub(super) fn writer(&self, fingerprint: u64) -> Option<Writer<'_>> {
        Writer::lock(&self.region, Place::shard(&self.region, fingerprint) as usize)
    }

    /// The print of a session's server; zero for a tombstone, and in a damaged table.
    #[inline]
    pub(super) fn print_of(&self, meta: Meta) -> u64 {
        let print = self.region.prints().get(usize::from(meta.server()));
        print.map_or(0, |print| print.load(Ordering::Relaxed))
    }

    /// The print of an address.
    pub(super) fn print(&self, address: &[u8]) -> u64 {
        self.hasher.hash(ADDRESS, address, &[]).get()
    }
}

impl core::fmt::Debug for Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Not the secret.
        f.debug_struct("Table").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Numbers of one table's servers in another.
struct Translation<'a> {
    to: &'a Table,
    from: &'a Table,
    now: Tick,
    known: Vec<Option<(u64, Option<ServerId>)>>,
}

impl<'a> Translation<'a> {
    fn new(to: &'a Table, from: &'a Table, now: Tick) -> Self {
        Translation { to, from, now, known: Vec::new() }
    }

    fn get(&mut self, server: ServerId) -> Option<ServerId> {
        let index = usize::from(server.index);
        if let Some(Some((print, result))) = self.known.get(index) {
            if *print == server.print {
                return *result;
            }
        }
        let result = self.add(server);
        if self.known.len() <= index {
            self.known.resize(index + 1, None);
        }
        if let Some(known) = self.known.get_mut(index) {
            *known = Some((server.print, result));
        }
        result
    }

    fn add(&self, server: ServerId) -> Option<ServerId> {
        let mut buffer = [0; Table::MAX_ADDRESS];
        let result = self.to.intern(self.from.address(server, &mut buffer)?, self.now)?;
        let known = self.from.record(server);
        self.to.update_record(result, |record| if record.is_blank() { known } else { record });
        self.to.set_server_flags(result, self.from.server_flags(server), 0);
        Some(result)
    }
}
