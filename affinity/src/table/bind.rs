//! Sessions are bound to servers.

use super::handle::Table;
use super::key::Key;
use super::memory::entry::{Entry, Meta};
use super::memory::layout::Counter;
use super::memory::place::Place;
use super::memory::writer::{Position, Writer};
use super::servers::ServerId;
use crate::time::{Limits, Span, Tick};

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

impl Table {
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
        // The limits are the caller's and may not be those of the victim's upstream: what has been
        // idle for longer than the caller's timeout goes first. A lifetime only names the reason.
        let reason = if entry.expired(now, limits) { Counter::Expired } else { Counter::Evicted };
        writer.remove(victim, entry, reason)?;
        Some(victim)
    }
}
