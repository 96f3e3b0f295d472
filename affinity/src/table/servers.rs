//! The server list: addresses that sessions are bound to, as small numbers.
//!
//! An address takes one cell of 48 bytes of text, or several that follow each other; its number
//! is that of the first. A server is on the list while its print is not zero. Only the holder of the
//! list's lock writes prints; any process reads them. A reader of a cell's text compares it with the
//! print, which is the keyed hash of the text.

use super::handle::Table;
use super::memory::cell::{cells_for, Cell, RecordCell};
use super::memory::layout::{self, count_index, Counter, COUNTERS};
use super::memory::listing::Listing;
use super::memory::lock::{Guard, Locked};
use super::memory::writer::Writer;
use super::sync::Ordering;
use crate::servers::Record;
use crate::time::Tick;

/// A server on the table's list. It is stale when the server has been taken off the list; all methods
/// check that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId {
    /// Number of the server in the list. Another server may get it later.
    pub index: u16,
    /// Keyed hash of the server's address.
    pub print: u64,
}

/// Statistics of a server since it was put on the list. While no process writes, `created` and
/// `moved_in` are together the sum of `live`, `moved_out`, `expired`, `evicted` and `forgotten`. All but
/// `live` and `hits` count modulo 2^32 in each shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Sessions now, including those that have expired but have not been removed yet.
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
    /// Sessions removed before the end of their time to make room.
    pub evicted: u64,
    /// Sessions removed by `forget` and `forget_server`.
    pub forgotten: u64,
}

/// Servers.
impl Table {
    /// Longest address (bytes) that `intern` accepts.
    pub const MAX_ADDRESS: usize = 255;

    /// Cells of the server list that an address takes.
    pub fn cells_for(address: &[u8]) -> usize {
        cells_for(address.len())
    }

    /// Cells of the server list in a region of `len` bytes.
    pub fn cells_in(len: usize) -> usize {
        layout::cells_in(len)
    }

    /// A length (bytes) from which on the server list of a region has so many cells; `None` if no list
    /// has.
    pub fn len_with_cells(cells: usize) -> Option<usize> {
        layout::len_with_cells(cells)
    }

    /// The server of an address, which is added to the list if it is not there. If the list is full, the
    /// least recently used server without sessions, flags and record is taken off.
    ///
    /// None if all servers on the list have one of these three, if the address is longer than
    /// `MAX_ADDRESS` or empty, or if the list's lock is broken. Costs a pass over the list: the caller
    /// keeps the result.
    pub fn intern(&self, address: &[u8], now: Tick) -> Option<ServerId> {
        if address.is_empty() || address.len() > Self::MAX_ADDRESS {
            return None;
        }
        if let Some(server) = self.find_server(address) {
            self.note_use(server, now);
            return Some(server);
        }
        let _guard = self.lock_servers()?;
        if let Some(server) = self.find_server(address) {
            self.note_use(server, now);
            return Some(server);
        }
        let cells = cells_for(address.len());
        loop {
            if let Some(index) = self.free_cells(cells) {
                return self.add_server(index, address, now);
            }
            self.retire_one(now)?;
        }
    }

    /// The server of an address, if it is on the list. Costs a pass over the list: the caller keeps the
    /// result.
    pub fn find_server(&self, address: &[u8]) -> Option<ServerId> {
        let print = self.print(address);
        let index =
            self.region.prints().iter().position(|word| word.load(Ordering::Acquire) == print)?;
        Some(ServerId { index: u16::try_from(index).ok()?, print })
    }

    /// The address text of a server. None if the server has been taken off the list.
    pub fn address<'b>(
        &self,
        server: ServerId,
        buffer: &'b mut [u8; Table::MAX_ADDRESS],
    ) -> Option<&'b [u8]> {
        let cell = self.cell(server)?;
        let address = buffer.get_mut(..cell.address_len())?;
        let run = self.region.cells().get(usize::from(server.index)..)?;
        for (chunk, word) in address.chunks_mut(8).zip(run.iter().flat_map(|cell| &cell.text)) {
            let bytes = word.load(Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(bytes.get(..chunk.len())?);
        }
        // Another server may have been written into the cell meanwhile. Then the print differs, too.
        (self.print(address) == server.print).then_some(address)
    }

    /// All servers on the list.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.region.prints().iter().zip(0..=u16::MAX).filter_map(|(word, index)| {
            let print = word.load(Ordering::Acquire);
            (print != 0).then_some(ServerId { index, print })
        })
    }

    /// The record of a server; blank if it is not on the list.
    pub fn record(&self, server: ServerId) -> Record {
        self.record_cell(server).map(RecordCell::load).unwrap_or_default()
    }

    /// Changes the record of a server; returns it as it was before and is after. None if the server is
    /// not on the list. Takes the list's lock, unless nothing changes.
    pub fn update_record(
        &self,
        server: ServerId,
        change: impl Fn(Record) -> Record,
    ) -> Option<(Record, Record)> {
        let before = self.record_cell(server)?.load();
        if change(before) == before {
            return Some((before, before));
        }
        let _guard = self.lock_servers()?;
        let cell = self.record_cell(server)?;
        let before = cell.load();
        let after = change(before);
        cell.store(&after);
        Some((before, after))
    }

    fn record_cell(&self, server: ServerId) -> Option<&RecordCell> {
        self.cell(server)?;
        self.region.records().get(usize::from(server.index))
    }

    /// Bits of the caller for a server; zero at first, and if it is not on the list.
    pub fn server_flags(&self, server: ServerId) -> u32 {
        self.cell(server).map_or(0, |cell| cell.flags.load(Ordering::Relaxed))
    }

    /// Sets and clears bits of `server_flags`. False if the server is not on the list.
    pub fn set_server_flags(&self, server: ServerId, set: u32, clear: u32) -> bool {
        let Some(cell) = self.cell(server) else {
            return false;
        };
        let _ = cell
            .flags
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |flags| Some(flags & !clear | set));
        true
    }

    /// Counts a request that had a session and went to its server. If the server is not on the list any
    /// more, only the table counts it.
    pub fn count_hit(&self, server: ServerId) {
        let hits = match self.cell(server) {
            Some(_) => self.region.hits().get(usize::from(server.index)),
            None => None,
        };
        hits.unwrap_or(&self.region.header().retired_hits).fetch_add(1, Ordering::Relaxed);
    }

    /// Statistics of a server since it was put on the list; None if it is not on it.
    pub fn server_stats(&self, server: ServerId) -> Option<ServerStats> {
        self.cell(server)?;
        let mut stats = ServerStats {
            hits: self.region.hits().get(usize::from(server.index))?.load(Ordering::Relaxed),
            ..ServerStats::default()
        };
        for shard in 0..self.region.shard_count() as usize {
            let count = |counter| self.count(shard, server.index, counter);
            stats.live += u64::from(self.live_in_shard(shard, server.index));
            stats.created += u64::from(count(Counter::Created));
            stats.moved_in += u64::from(count(Counter::MovedIn));
            stats.moved_out += u64::from(count(Counter::MovedOut));
            stats.expired += u64::from(count(Counter::Expired));
            stats.evicted += u64::from(count(Counter::Evicted));
            stats.forgotten += u64::from(count(Counter::Forgotten));
        }
        Some(stats)
    }

    /// The cell of a server that is on the list.
    fn cell(&self, server: ServerId) -> Option<&Cell> {
        let index = usize::from(server.index);
        let print = self.region.prints().get(index)?.load(Ordering::Acquire);
        if print != server.print || print == 0 {
            return None;
        }
        self.region.cells().get(index)
    }

    /// Whether a session may be bound to the server. The answer holds for the sessions of a shard while
    /// the caller holds that shard's lock.
    pub(super) fn accepts_sessions(&self, server: ServerId) -> bool {
        self.listing(usize::from(server.index)).is_some_and(|place| place.accepts(server.print))
    }

    fn listing(&self, index: usize) -> Option<Listing<'_>> {
        let shape = &self.region.cells().get(index)?.shape;
        Some(Listing { shape, print: self.region.prints().get(index)? })
    }

    pub(super) fn note_use(&self, server: ServerId, now: Tick) {
        if let Some(cell) = self.cell(server) {
            if cell.used.load(Ordering::Relaxed) != now.0 {
                cell.used.store(now.0, Ordering::Relaxed);
            }
        }
    }

    /// Repairs the list after a process that held its lock has died. It may have left the mark of
    /// `retire`. A server that it did not finish has no print, and so is not on the list.
    pub(super) fn unmark_servers(&self) {
        (0..).map_while(|index| self.listing(index)).for_each(|place| place.unmark());
    }

    fn lock_servers(&self) -> Option<Guard<'_>> {
        match self.region.header().servers_lock.lock() {
            Locked::Clean(guard) => Some(guard),
            Locked::OwnerDied(guard) => {
                self.unmark_servers();
                guard.consistent();
                Some(guard)
            }
            Locked::Failed => None,
        }
    }

    /// The first of `count` free cells that follow each other. The caller holds the list's lock.
    fn free_cells(&self, count: usize) -> Option<usize> {
        let prints = self.region.prints();
        let mut start = 0;
        let mut index = 0;
        while index < prints.len() {
            if prints.get(index)?.load(Ordering::Relaxed) != 0 {
                index += self.region.cells().get(index)?.cells();
                start = index;
            } else {
                index += 1;
                if index - start == count {
                    return Some(start);
                }
            }
        }
        None
    }

    /// Writes a server into free cells. The caller holds the list's lock.
    fn add_server(&self, index: usize, address: &[u8], now: Tick) -> Option<ServerId> {
        let server = ServerId { index: u16::try_from(index).ok()?, print: self.print(address) };
        // No other process writes these: a server that is not on the list has no sessions.
        for shard in 0..self.region.shard_count() as usize {
            let first = usize::from(server.index) * COUNTERS;
            for count in self.region.counts(shard).get(first..first + COUNTERS)? {
                count.store(0, Ordering::Relaxed);
            }
        }
        let hits = self.region.hits().get(index)?.swap(0, Ordering::Relaxed);
        self.region.header().retired_hits.fetch_add(hits, Ordering::Relaxed);
        let run = self.region.cells().get(index..)?;
        let cell = run.first()?;
        self.listing(index)?.set_address_len(address.len() as u32);
        cell.flags.store(0, Ordering::Relaxed);
        self.region.records().get(index)?.store(&Record::default());
        cell.used.store(now.0, Ordering::Relaxed);
        for (chunk, word) in address.chunks(8).zip(run.iter().flat_map(|cell| &cell.text)) {
            let mut bytes = [0; 8];
            bytes.get_mut(..chunk.len())?.copy_from_slice(chunk);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.region.prints().get(index)?.store(server.print, Ordering::Release);
        Some(server)
    }

    /// Takes the least recently used server without sessions, flags and record off the list. None if
    /// there is none. The caller holds the list's lock.
    fn retire_one(&self, now: Tick) -> Option<()> {
        loop {
            let idle = |server: &ServerId| {
                self.server_flags(*server) == 0
                    && self.record(*server).is_blank()
                    && self.live(server.index) == 0
            };
            let server = self.servers().filter(idle).max_by_key(|server| {
                self.cell(*server).map(|cell| now.since(Tick(cell.used.load(Ordering::Relaxed))))
            })?;
            if self.retire(server)? {
                return Some(());
            }
        }
    }

    /// Takes a server off the list unless it has sessions. None if a lock is broken. The caller holds
    /// the list's lock.
    fn retire(&self, server: ServerId) -> Option<bool> {
        let place = self.listing(usize::from(server.index))?;
        place.mark();
        let mut sessions = 0;
        for shard in 0..self.region.shard_count() as usize {
            let _writer = Writer::lock(&self.region, shard)?;
            sessions += self.live_in_shard(shard, server.index);
        }
        place.decide(sessions == 0);
        Some(sessions == 0)
    }

    fn live(&self, server: u16) -> u64 {
        (0..self.region.shard_count() as usize)
            .map(|shard| u64::from(self.live_in_shard(shard, server)))
            .sum()
    }

    /// Sessions of a server in a shard: exact under the shard's lock, else as of a moment ago.
    fn live_in_shard(&self, shard: usize, server: u16) -> u32 {
        let count = |counter| self.count(shard, server, counter);
        // Removals are read before additions: a change between the two cannot make the number negative.
        let gone = count(Counter::Expired)
            .wrapping_add(count(Counter::Evicted))
            .wrapping_add(count(Counter::Forgotten))
            .wrapping_add(count(Counter::MovedOut));
        let live = count(Counter::Created).wrapping_add(count(Counter::MovedIn)).wrapping_sub(gone);
        if live > i32::MAX as u32 {
            0
        } else {
            live
        }
    }

    fn count(&self, shard: usize, server: u16, counter: Counter) -> u32 {
        let index = count_index(server, counter) as usize;
        self.region.counts(shard).get(index).map_or(0, |count| count.load(Ordering::Acquire))
    }
}
