//! Lookups, which take no lock.

use super::handle::Table;
use super::key::Key;
use super::memory::bucket::{Bucket, Found, Used};
use super::memory::entry::Entry;
use super::memory::place::{neighbour, Place};
use super::servers::ServerId;
use super::sync::Ordering;
use crate::time::{Limits, Tick};

/// The result of `Table::lookup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The server that holds the session.
    pub server: ServerId,
    /// When the session was created.
    pub created: Tick,
    /// When it was used last. A caller that uses the session now calls `touch`, unless this is now.
    pub used: Tick,
}

impl Table {
    /// Prefetches what `lookup_at_once` will probably read.
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

    /// `lookup` and `touch` in one pass.
    #[inline]
    pub fn visit(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.find::<true>(key, now, limits)
    }

    /// Like `lookup`, but only for a session in its home bucket or in the home's neighbour, as 19 of 20
    /// sessions are at the table's nominal load. Reads at most their four cache lines, which lie
    /// together, and mostly one. If this gives `None`, `lookup` may still find the session.
    #[inline]
    pub fn lookup_at_once(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.find_at_once::<false>(key, now, limits)
    }

    /// `lookup_at_once` and `touch` in one pass.
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

    /// Out of line: one lookup of seven comes here, and the other six stay short.
    #[cold]
    #[inline(never)]
    fn read_beside(&self, key: Key, home: u32) -> Option<(Entry, u64, Used<'_>)> {
        self.read_body(key, neighbour(home))
    }

    /// The short way: the session is in the pair of its home or nowhere, and no writer changes its line.
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

    /// Notes that the session of a key is used now, expired or not. False if the table has no such
    /// session. Takes no lock, and stores only if the last use was in an earlier tick.
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

    /// The session of a key, expired or not, its server's print and its time of last use.
    ///
    /// Lock-free: it begins again only if a writer has changed the session's line meanwhile.
    #[inline(never)]
    pub(super) fn read(&self, key: Key) -> Option<(Entry, u64, Used<'_>)> {
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
            // So that the processor waits for all of them at once.
            elsewhere().for_each(|bucket| bucket.prefetch_summary());
            elsewhere().find(holds)
        })
    }
}
