//! The memory of a zone: taken over from the binary before an upgrade, or new, with the sessions of the former
//! memory.

use core::cell::RefCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::rc::Rc;

use affinity::file::{Header, Lives, Verdict};
use affinity::mcp::SharedTargets;
use affinity::status::{Draining, Tally};
use affinity::table::{Flag, Limits, Span, Table};
use nginx_sys::{ngx_pagesize, ngx_shm_zone_t, ngx_test_config, NGX_LOG_NOTICE};

use crate::nginx;
use crate::storage::clock::clock;
use crate::storage::handover;
use crate::storage::memory::Memory;
use crate::zone::former::{former_zone, Former};
use crate::zone::notes::{Counters, Notes, REPORT_EVERY, TALLIES};
use crate::zone::region::{judge, mine, note_place, notes_at, table_in, table_place};
use crate::zone::sessions::Sessions;

/// How many former memories of a zone stay mapped.
pub(super) const MAX_FORMER: usize = 4;

/// Gives a zone that nginx has just mapped its memory. nginx maps a zone if it is new, if its size has changed,
/// or if the module was replaced.
///
/// # Safety
/// `shm` is mapped, and nginx has made its slab pool.
pub(super) unsafe fn map(
    shm: &ngx_shm_zone_t,
    limits: &Limits,
    former_sessions: unsafe fn(&ngx_shm_zone_t) -> Option<&Sessions>,
) -> Result<Sessions, String> {
    let former = match inherited(shm) {
        Some(Inherited::Attached(sessions)) => {
            // SAFETY: nginx has made the slab pool of `shm`, and no worker uses it yet.
            unsafe { note_place(shm, sessions.memory().pages()) }?;
            return Ok(sessions);
        }
        Some(Inherited::Former(former)) => Some(former),
        None => None,
    };
    let memory = new_memory(shm)?;
    // SAFETY: nginx has made the slab pool of `shm`, and no worker uses it yet. The zones of the running
    // configuration are mapped.
    unsafe {
        note_place(shm, memory.pages())?;
        let old = former_zone(shm);
        let former = former.or_else(|| Former::map(old?));
        let mut sessions = begin(memory, shm.shm.size, former.as_ref())?;
        if former.is_none() && old.is_some() {
            ngx::ngx_log_error!(
                NGX_LOG_NOTICE,
                shm.shm.log,
                "zone \"{}\" has new memory, the old memory has no session table of this module",
                shm.shm.name
            );
        }
        if let Some(former) = former {
            sessions.take_over(former, shm, limits);
        }
        if let Some(older) = old.and_then(|old| former_sessions(old)) {
            sessions.take_over_older(older, limits);
        }
        let evicted = sessions.table.stats().evicted;
        sessions.notes().reported.store(evicted, Ordering::Relaxed);
        Ok(sessions)
    }
}

/// The memory of a zone in the binary before an upgrade.
enum Inherited {
    /// It is kept as it is.
    Attached(Sessions),
    /// Its sessions are copied.
    Former(Former),
}

fn inherited(shm: &ngx_shm_zone_t) -> Option<Inherited> {
    // SAFETY: the name lives as long as the zone.
    let memory = handover::take(unsafe { nginx::bytes(&shm.shm.name) })?;
    let verdict = judge(memory.pages(), &mine(shm.shm.size), Lives::Family).ok()?;
    // SAFETY: the processes of the old binary use the memory by this module.
    let table = unsafe { table_in(memory.pages())? };
    match verdict {
        Verdict::Attach => {
            let live = table.stats().live;
            let sessions = attached(memory, table)?;
            ngx::ngx_log_error!(
                NGX_LOG_NOTICE,
                shm.shm.log,
                "zone \"{}\" keeps its memory over the upgrade, with {live} sessions",
                shm.shm.name
            );
            Some(Inherited::Attached(sessions))
        }
        // SAFETY: the processes of the old binary use the memory by this module.
        Verdict::Import => Some(Inherited::Former(unsafe { Former::of(memory.into_pages())? })),
        Verdict::Begin => None,
    }
}

/// New memory for a zone, all zero. Pages that are never written take no memory.
fn new_memory(shm: &ngx_shm_zone_t) -> Result<Memory, String> {
    // SAFETY: plain words of this process, set when nginx starts.
    let (page, tests) = unsafe { (ngx_pagesize, ngx_test_config != 0) };
    let len = shm.shm.size.next_multiple_of(page);
    let memory = if tests { Memory::anonymous(len) } else { Memory::new(len) };
    let memory = memory.map_err(|error| format!("no memory for the session table: {error}"))?;
    // Not when nginx only tests a configuration: it takes too long.
    if !tests {
        memory.pages().make_huge();
    }
    Ok(memory)
}

/// The sessions in a memory that is kept as it is.
fn attached(memory: Memory, table: Table) -> Option<Sessions> {
    let (_, len) = table_place(memory.pages())?;
    let notes = notes_at(memory.pages(), len)?;
    // A reload of the old binary that was to give the zone new memory may have failed.
    table.reinstate();
    Some(sessions(memory, table, notes))
}

/// Makes a table in new memory of a zone of `size` bytes, with the key of the former one.
///
/// # Safety
/// The memory is zero, and no other process uses it.
unsafe fn begin(memory: Memory, size: usize, former: Option<&Former>) -> Result<Sessions, String> {
    let mine = mine(size);
    let table_len = mine.table_len as usize;
    let notes = notes_at(memory.pages(), table_len).ok_or("too small for a session table")?;
    let start = memory.at(Header::LEN).ok_or("too small for a session table")?;
    let secret = match former {
        Some(former) => former.table.secret(),
        None => draw_secret().map_err(|error| format!("no secret for the hash: {error}"))?,
    };
    // SAFETY: the header, the table and the notes are apart from each other within the memory, which is zero
    // and used by nobody yet. It stays mapped as long as the sessions.
    let table = unsafe {
        let table = Table::create(start, table_len, secret).map_err(|error| error.to_string())?;
        // The first reports need not wait.
        let long_ago = nginx::now().0.wrapping_sub(Span::from_millis(REPORT_EVERY).0);
        notes.write(Notes {
            reported: AtomicU64::new(0),
            reported_at: AtomicU32::new(long_ago),
            draining: Flag::default(),
            troubled: Flag::default(),
            lease: AtomicU64::new(0),
            full_list_at: AtomicU32::new(long_ago),
            shared_targets: SharedTargets::default(),
            tallies: [const { Counters([const { AtomicU64::new(0) }; Tally::LEN]) }; TALLIES],
        });
        Header::at(memory.pages().address()).describe(
            &mine.description(),
            &table.identity(),
            clock(),
        );
        table
    };
    Ok(sessions(memory, table, notes))
}

fn sessions(memory: Memory, table: Table, notes: NonNull<Notes>) -> Sessions {
    Sessions {
        table,
        notes,
        memory: Rc::new(memory),
        former: Vec::new(),
        addresses: RefCell::default(),
    }
}

impl Sessions {
    /// Copies the sessions of the zone's former memory, and keeps that.
    fn take_over(&mut self, former: Former, shm: &ngx_shm_zone_t, limits: &Limits) {
        let table = &former.table;
        table.supersede();
        let live = table.stats().live;
        let taken = self.table.import(table, nginx::now(), limits);
        for server in table.servers() {
            let draining = Draining(table.server_flags(server));
            let mut address = [0; Table::MAX_ADDRESS];
            if let (true, Some(address)) = (draining.is_on(), table.address(server, &mut address)) {
                self.set_draining(address, draining, nginx::now());
            }
        }
        self.note_trouble();
        ngx::ngx_log_error!(
            NGX_LOG_NOTICE,
            shm.shm.log,
            "zone \"{}\" has new memory, {taken} of {live} sessions moved there",
            shm.shm.name
        );
        self.former.push(Rc::new(former));
    }

    /// The same for the memories before the former one, whose sessions are `older`.
    fn take_over_older(&mut self, older: &Sessions, limits: &Limits) {
        for former in &older.former {
            self.table.import(&former.table, nginx::now(), limits);
        }
        self.former.extend(older.former.iter().cloned());
        self.former.truncate(MAX_FORMER);
    }
}

fn draw_secret() -> Result<[u8; 16], getrandom::Error> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
