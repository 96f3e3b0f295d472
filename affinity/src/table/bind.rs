//! How a session is bound to a server.

use super::handle::Table;
use super::key::Key;
use super::listen::change::End;
use super::memory::entry::{Entry, Meta};
use super::memory::place::Place;
use super::memory::writer::{Position, Writer};
use super::servers::ServerId;
use crate::time::{Limits, Span, Tick};

/// What `Table::bind` does with a live session that belongs to another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it as it is.
    Keep,
    /// Move it to the server.
    Move,
}

/// The result of `Table::bind`.
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
    /// Nothing was changed: the server is not on the list, so its address must be interned again, or a
    /// lock is broken.
    Refused,
}

impl Table {
    /// Binds the session of `key` to `server`, and notes that it is used now. A key never has two
    /// sessions, however many processes bind it at once.
    ///
    /// A session with a `ttl` lives that long from its creation, used or not; `limits.timeout` has no
    /// effect on it. A session without one lives until it has been idle for `limits.timeout`. Neither
    /// gets older than `limits.lifetime`. If `ttl` is None, a live session keeps its own. A time to live
    /// is at least one tick, and is kept with a precision of one percent, rounded up.
    ///
    /// If there is no room, one of the 36 sessions in the first three pairs of buckets is evicted: first
    /// one that has ended, then one that was not used later than a minute after its creation, then any;
    /// within each of these, the one that has been idle the longest. Sessions of the same tick are
    /// equal.
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
        self.bind_locked(key, server, (ttl, now), now, limits, existing).unwrap_or(Bound::Refused)
    }

    /// [`Self::bind`] of a session that another machine has learned: a new one is as old as there.
    pub fn bind_since(
        &self,
        key: Key,
        server: ServerId,
        (ttl, created): (Option<Span>, Tick),
        now: Tick,
        limits: &Limits,
        existing: Existing,
    ) -> Bound {
        if ttl.is_none() && self.refresh(key, server, now, limits) {
            return Bound::Refreshed;
        }
        self.bind_locked(key, server, (ttl, created), now, limits, existing)
            .unwrap_or(Bound::Refused)
    }

    /// The short way of `bind`, without a lock: only the time of last use changes.
    fn refresh(&self, key: Key, server: ServerId, now: Tick, limits: &Limits) -> bool {
        let session = self.lookup(key, now, limits);
        session.is_some_and(|session| session.server == server && self.touch(key, now))
    }

    fn bind_locked(
        &self,
        key: Key,
        server: ServerId,
        (ttl, created): (Option<Span>, Tick),
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
        let new = Entry { fingerprint: key.fingerprint(), meta, used: now, created };
        match writer.find(&place) {
            Some((position, entry)) if entry.meta.is_tombstone() => {
                // Marked: the end of the session before may not have been handed on yet.
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
            Some((position, entry)) => writer.remove(position, entry, End::Expired)?,
            None => (),
        }
        let position = match writer.free(&place) {
            Some(position) => position,
            None => self.make_room(&writer, &place, now, limits)?,
        };
        writer.insert(&place, position, new)?;
        Some(Bound::Created)
    }

    /// Removes the session that is evicted first, of those in the first three pairs of `place`.
    pub(super) fn make_room(
        &self,
        writer: &Writer<'_>,
        place: &Place,
        now: Tick,
        limits: &Limits,
    ) -> Option<Position> {
        let (victim, entry) = writer
            .neighbours(place)
            .max_by_key(|(_, entry)| entry.precedence(now, limits.timeout))?;
        // The limits are the caller's and may differ from those of the victim's upstream: a session that
        // has been idle for longer than the caller's timeout goes first. A lifetime only decides what its
        // end is called.
        let end = if entry.expired(now, limits) { End::Expired } else { End::Evicted };
        writer.remove(victim, entry, end)?;
        Some(victim)
    }
}
