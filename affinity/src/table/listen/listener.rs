//! Hears what happens to the sessions of a table.

use super::change::Change;
use super::ring::{Cursor, Ring, BATCH};
use crate::table::find::Session;
use crate::table::handle::Table;
use crate::table::key::Key;
use crate::table::memory::entry::Entry;
use crate::table::memory::layout::MAX_SHARDS;
use crate::table::memory::summary::SLOTS;
use crate::table::memory::writer::Writer;
use crate::table::servers::ServerId;
use crate::table::sync::Ordering;
use crate::time::Span;

/// A session that the table holds, expired or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// As `Table::lookup` returns it.
    pub session: Session,
    /// The session's own time to live.
    pub ttl: Option<Span>,
}

/// What a listener hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The key of the session.
    pub key: Key,
    /// What has happened. Something else may have happened to the session since then.
    pub change: Change,
    /// The session now. None if it has ended.
    pub held: Option<Held>,
}

/// The result of `Table::hear`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// The listener has missed something, or this is its first call: it hears all sessions of one or more
    /// shards in this call and the next ones. It has heard all of them when `more` is false. Ends that it
    /// has not heard until then stay unheard.
    pub missed: bool,
    /// There is more to hear.
    pub more: bool,
}

/// Where a listener is in a table. It lies in the memory of its process, and the table knows nothing of it.
#[derive(Clone, Debug)]
pub struct Listener {
    shards: [Progress; MAX_SHARDS as usize],
    /// The shard where the next call begins.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    cursor: Cursor,
    /// The bucket of the shard where the pass over all of its sessions goes on; `DONE` if there is none.
    pass: u32,
}

const DONE: u32 = u32::MAX;

impl Listener {
    /// A listener of one table. Changes are noted for it from its first call of `Table::hear` on.
    pub const fn new() -> Listener {
        let new = Progress { cursor: Cursor::NEW, pass: DONE };
        Listener { shards: [new; MAX_SHARDS as usize], next: 0 }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self::new()
    }
}

/// Listening.
impl Table {
    /// Calls `heard` for what has happened to the sessions of this table since the listener's last call,
    /// in all processes: at least once for each change, with the session as it is read at that moment. So
    /// the last that is heard of a session is what the table holds. `heard` is called without a lock.
    /// See [`listen`](super) for what may go unheard.
    ///
    /// Looks at up to `max` notes and slots, at least one; without news it reads one cache line of each
    /// shard.
    pub fn hear(
        &self,
        listener: &mut Listener,
        max: usize,
        mut heard: impl FnMut(Heard),
    ) -> Hearing {
        let count = self.region.shards().len().min(listener.shards.len()).max(1);
        let mut left = max.max(1);
        let mut missed = false;
        for _ in 0..count {
            if left == 0 {
                break;
            }
            let number = listener.next % count;
            listener.next = number + 1;
            if let Some(progress) = listener.shards.get_mut(number) {
                missed |= self.take_notes(number, progress, &mut left, &mut heard);
                self.pass_over(number, progress, &mut left, &mut heard);
            }
        }
        let shards = self.region.shards().iter().zip(&listener.shards);
        let more = shards
            .into_iter()
            .any(|(shard, it)| it.pass != DONE || shard.ring.has_news(&it.cursor));
        Hearing { missed, more }
    }

    /// The session of a key, expired or not, as a listener hears it. Takes no lock.
    pub fn held(&self, key: Key) -> Option<Held> {
        let (entry, print, _) = self.read(key)?;
        Self::held_by(&entry, print)
    }

    fn held_by(entry: &Entry, print: u64) -> Option<Held> {
        if print == 0 {
            return None;
        }
        let server = ServerId { index: entry.meta.server(), print };
        let session = Session { server, created: entry.created, used: entry.used };
        Some(Held { session, ttl: entry.meta.ttl() })
    }

    /// Takes notes of a shard. Returns whether something was missed.
    fn take_notes(
        &self,
        number: usize,
        progress: &mut Progress,
        left: &mut usize,
        heard: &mut impl FnMut(Heard),
    ) -> bool {
        let Some(shard) = self.region.shards().get(number) else { return false };
        let mut missed = false;
        while *left > 0 && shard.ring.has_news(&progress.cursor) {
            let ring = Ring { head: &shard.ring, notes: self.region.notes(number) };
            let taken = {
                let Some(_writer) = Writer::lock(&self.region, number) else {
                    // The lock is broken: there are no changes any more.
                    return missed;
                };
                ring.take(&mut progress.cursor, (*left).min(BATCH))
            };
            if taken.missed {
                missed = true;
                progress.pass = 0;
            }
            let mut count = 0;
            for (fingerprint, change) in taken.notes() {
                count += 1;
                if let Some(key) = Key::from_fingerprint(fingerprint) {
                    heard(Heard { key, change, held: self.held(key) });
                }
            }
            *left -= count.max(1).min(*left);
        }
        missed
    }

    /// Goes on with the pass over all sessions of a shard.
    fn pass_over(
        &self,
        number: usize,
        progress: &mut Progress,
        left: &mut usize,
        heard: &mut impl FnMut(Heard),
    ) {
        let per_shard = self.region.buckets_per_shard();
        while progress.pass != DONE && *left > 0 {
            if progress.pass >= per_shard {
                progress.pass = DONE;
                break;
            }
            let bucket = self.bucket(number as u32 * per_shard + progress.pass);
            progress.pass += 1;
            *left -= 1;
            let Some(bucket) = bucket.filter(|it| it.summary(Ordering::Acquire).load() > 0) else {
                continue;
            };
            *left = left.saturating_sub(SLOTS - 1);
            for slot in 0..SLOTS {
                let Some((entry, print)) = bucket.read_slot(slot, |meta| self.print_of(meta))
                else {
                    continue;
                };
                let (key, held) = (Key::of(&entry), Self::held_by(&entry, print));
                if let (Some(key), Some(_)) = (key, held) {
                    heard(Heard { key, change: Change::Present, held });
                }
            }
        }
    }
}
