//! How sessions of one table are copied to another.

use super::bind::Existing;
use super::handle::Table;
use super::key::Key;
use super::listen::change::End;
use super::memory::entry::Entry;
use super::memory::place::Place;
use super::memory::summary::SLOTS;
use super::servers::ServerId;
use crate::time::{Limits, Tick};

impl Table {
    /// Copies the live sessions of another table, of any size, and the state of their servers, while
    /// other processes use both. If there is no room for all, those used last stay. A session that is
    /// here already stays; its time of last use is the later one of both. Returns how many sessions have
    /// been added.
    ///
    /// `limits` are the longest of all upstreams that use the table. The tables must have the same
    /// secret and hash; otherwise nothing is copied. Costs a pass over all sessions.
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

    /// Copies one session of another table, live or not, as `import` copies all. False if the other
    /// table does not have it, or this one has no room for it.
    pub fn import_session(&self, from: &Table, key: Key, now: Tick, limits: &Limits) -> bool {
        if !self.hashes_as(from) {
            return false;
        }
        // With the lock: a session that is forgotten there is not copied after that.
        let place = Place::new(&from.region, key.fingerprint());
        let added = from.writer(key.fingerprint()).and_then(|writer| {
            let (_, entry) = writer.find(&place).filter(|(_, it)| !it.meta.is_tombstone())?;
            let server = ServerId { index: entry.meta.server(), print: from.print_of(entry.meta) };
            let server = Translation::new(self, from, now).get(server)?;
            self.adopt(entry, server, Existing::Keep, now, limits)
        });
        added.is_some()
    }

    /// Adds a session of another table. False if it is here already, or if there is no room and it would
    /// be the first to be evicted. None if the server is not on the list or a lock is broken. A session
    /// that is here stays where it is; with `Existing::Move` it moves to `server`, unless it was created
    /// later.
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
            // Forgotten here: only a session that was created later is added.
            Some((position, own)) if own.meta.is_tombstone() => {
                return match entry.is_later_than(&own) {
                    true => writer.replace(position, entry).map(|()| true),
                    false => Some(false),
                };
            }
            // The session has ended, and another one of the same key was created later.
            Some((position, own)) if existing == Existing::Move && entry.is_later_than(&own) => {
                writer.forget(position, own, End::Replaced)?;
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
}

/// Translates the servers of one table into those of another.
pub(super) struct Translation<'a> {
    to: &'a Table,
    from: &'a Table,
    now: Tick,
    /// Whether both tables have one clock: then what is known of a server is copied.
    same_clock: bool,
    known: Vec<Option<(u64, Option<ServerId>)>>,
}

impl<'a> Translation<'a> {
    fn new(to: &'a Table, from: &'a Table, now: Tick) -> Self {
        Translation { to, from, now, same_clock: true, known: Vec::new() }
    }

    /// Without what is known of the servers.
    pub(super) fn restored(to: &'a Table, from: &'a Table, now: Tick) -> Self {
        Translation { same_clock: false, ..Translation::new(to, from, now) }
    }

    pub(super) fn get(&mut self, server: ServerId) -> Option<ServerId> {
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
        if !self.same_clock {
            return Some(result);
        }
        let known = self.from.record(server);
        self.to.update_record(result, |record| if record.is_blank() { known } else { record });
        self.to.set_server_flags(result, self.from.server_flags(server), 0);
        Some(result)
    }
}
