//! The memory of a zone: taken over from the binary before an upgrade, or new, with the sessions of the former
//! memory.

use core::cell::RefCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use affinity::file::{Header, Lives, Mine, Verdict};
use affinity::mcp::SharedTargets;
use affinity::status::{Draining, Tally};
use affinity::table::{Flag, Limits, Span, Table, Tick};
use nginx_sys::{ngx_shm_zone_t, ngx_test_config, NGX_LOG_NOTICE, NGX_LOG_WARN};

use crate::nginx;
use crate::storage::clock::clock;
use crate::storage::file::{FilePath, Identity};
use crate::storage::handover;
use crate::storage::memory::{mapped_len, Memory};
use crate::zone::former::{former_zone, running_zones, Former};
use crate::zone::notes::{Counters, Notes, REPORT_EVERY, TALLIES};
use crate::zone::records::{self, Records};
use crate::zone::region::{describe, identity_of, judge, mine, notes_at, table_in, table_place};
use crate::zone::sessions::{Handle, Origin, Sessions};
use crate::zone::stored::{self, Attached, Left, Old, Source};

/// How many former memories of a zone stay mapped.
pub(super) const MAX_FORMER: usize = 4;

/// Gives a zone its memory: at a start, if its size or its file has changed, or if the module was replaced.
/// `is_kept`: nginx keeps its own memory of the zone, which the running configuration uses as well. `records`: bytes for
/// the records of sessions.
///
/// # Safety
/// 1. `shm` is mapped, and nginx has made its slab pool.
/// 2. Called while nginx initialises the zones of a new configuration.
pub(super) unsafe fn map(
    shm: &ngx_shm_zone_t,
    is_kept: bool,
    (file, records_len): (Option<&FilePath>, usize),
    limits: &Limits,
    former_sessions: unsafe fn(&ngx_shm_zone_t) -> Option<&Sessions>,
) -> Result<Sessions, String> {
    let (mine, log) = (mine(shm.shm.size, records_len), shm.shm.log);
    // SAFETY: the name lives as long as the zone; a plain word of this process.
    let (name, tests) = unsafe { (nginx::bytes(&shm.shm.name), ngx_test_config != 0) };
    // SAFETY: the running configuration's zones stay mapped until the new one is complete (2).
    let old = unsafe {
        if is_kept {
            Some(shm)
        } else {
            former_zone(shm)
        }
    };
    let inherited = handover::take(name);
    let mut origin = Origin::New;
    let (memory, source) = match file.filter(|_| !tests) {
        Some(path) => {
            // SAFETY: condition 2.
            let running = unsafe { running_zones().filter_map(|zone| identity_of(zone)) };
            let mut family: Vec<Identity> = running.collect();
            let before = inherited.and_then(|fd| Memory::inherited(fd).ok());
            let before_file = before.as_ref().and_then(Memory::file_identity);
            family.extend(handover::files());
            // SAFETY: the processes of the old binary use the memory by this module; a zone of the running
            // configuration.
            let running = unsafe {
                let inherited = before.and_then(|before| Former::of(before.into_pages()));
                let inherited = inherited.map(|former| (former, before_file));
                inherited
                    .or_else(|| old.and_then(|old| Some((Former::map(old)?, identity_of(old)))))
            };
            let runs_in = running.as_ref().map(|&(_, file)| file);
            match stored::open(path, &mine, &family, runs_in, log)? {
                Source::Attached(found) => {
                    let live = found.table.stats().live;
                    let sessions =
                        attached(found, shm).ok_or_else(|| path.refused("is damaged"))?;
                    ngx::ngx_log_error!(
                        NGX_LOG_NOTICE,
                        log,
                        "zone \"{}\" has {live} sessions from \"{}\"",
                        shm.shm.name,
                        path.as_text()
                    );
                    return Ok(sessions);
                }
                Source::New { memory, left, begins } => {
                    origin = begins;
                    // What runs is newer than a file.
                    let running = running.map(|(former, _)| former);
                    (memory, running.map(Old::Former).or(left))
                }
            }
        }
        None => {
            if let Some(path) = file {
                stored::inspect(path, &mine, name)?;
            }
            let former = match inherited.and_then(|fd| from_old_binary(fd, &mine, shm)) {
                Some(Inherited::Attached(sessions)) => return Ok(sessions),
                Some(Inherited::Old(old)) => Some(old),
                // SAFETY: a zone of the running configuration.
                None => unsafe { old.and_then(|old| Former::map(old)).map(Old::Former) },
            };
            (new_memory(&mine)?, former)
        }
    };
    if source.is_none() && old.is_some() {
        ngx::ngx_log_error!(
            NGX_LOG_NOTICE,
            log,
            "zone \"{}\" has new memory, the old memory has no session table of this module",
            shm.shm.name
        );
    }
    let key = match &source {
        Some(Old::Former(former)) => Some(&former.table),
        Some(Old::Left(left)) => Some(&left.table),
        None => None,
    };
    // SAFETY: the memory is new, and only this process has it.
    let mut sessions = unsafe { begin(memory, &mine, key)? };
    sessions.origin = origin;
    match source {
        Some(Old::Former(former)) => sessions.take_over(former, shm, limits),
        Some(Old::Left(left)) => sessions.restore(&left, shm, limits),
        None => (),
    }
    // SAFETY: a mapped zone of a live configuration.
    if let Some(older) = old.and_then(|old| unsafe { former_sessions(old) }) {
        sessions.take_over_older(older, limits);
    }
    let evicted = sessions.table.stats().evicted;
    sessions.notes().reported.store(evicted, Ordering::Relaxed);
    Ok(sessions)
}

/// The memory of a zone in the binary before an upgrade.
enum Inherited {
    /// It is kept as it is.
    Attached(Sessions),
    /// Its sessions are copied.
    Old(Old),
}

fn from_old_binary(fd: OwnedFd, mine: &Mine, shm: &ngx_shm_zone_t) -> Option<Inherited> {
    let memory = Memory::inherited(fd).ok()?;
    let verdict = judge(memory.pages(), mine, Lives::Family).ok()?;
    if verdict == Verdict::Begin {
        return None;
    }
    // SAFETY: the processes of the old binary use the memory by this module.
    let Some(table) = (unsafe { table_in(memory.pages()) }) else {
        // It has an older format.
        let description = describe(memory.pages()).ok()?;
        let left = memory.with_file(|file| Left::copy(file, description, mine))?;
        return Some(Inherited::Old(Old::Left(left)));
    };
    // A file stays with the old binary.
    if verdict == Verdict::Attach && memory.file_identity().is_none() {
        let live = table.stats().live;
        // SAFETY: the processes of the old binary use the memory by this module; it is kept beside the records.
        let records = unsafe { records::attach(memory.pages()) };
        let sessions = attached(Attached { memory, table, records }, shm)?;
        ngx::ngx_log_error!(
            NGX_LOG_NOTICE,
            shm.shm.log,
            "zone \"{}\" keeps its memory over the upgrade, with {live} sessions",
            shm.shm.name
        );
        return Some(Inherited::Attached(sessions));
    }
    // SAFETY: the processes of the old binary use the memory by this module.
    Some(Inherited::Old(Old::Former(unsafe { Former::of(memory.into_pages())? })))
}

/// New memory for a zone, all zero. Pages that are never written take no memory.
fn new_memory(mine: &Mine) -> Result<Memory, String> {
    // SAFETY: a plain word of this process, set when nginx starts.
    let tests = unsafe { ngx_test_config != 0 };
    let len = mapped_len(mine.size as usize);
    let memory = if tests { Memory::anonymous(len) } else { Memory::new(len) };
    let memory = memory.map_err(|error| format!("no memory for the session table: {error}"))?;
    // Not when nginx only tests a configuration: it takes too long.
    if !tests {
        memory.pages().make_huge();
    }
    Ok(memory)
}

/// The sessions in a memory that is kept as it is.
fn attached(found: Attached, shm: &ngx_shm_zone_t) -> Option<Sessions> {
    let Attached { memory, table, records } = found;
    let (_, len) = table_place(memory.pages())?;
    let notes = notes_at(memory.pages(), len)?;
    // A reload of the old binary that was to give the zone new memory may have failed.
    table.reinstate();
    memory.note_inode().ok()?;
    if let Records::Renewed(_, error) | Records::Unusable(error) = records {
        records::report_lost((shm.shm.name, shm.shm.log), error);
    }
    let records = records.store();
    Some(Sessions { origin: Origin::Attached, records, ..sessions(memory, table, notes) })
}

/// Makes a table in new memory, with the key of the former one, and a store of records if there is room for one.
///
/// # Safety
/// The memory is zero, and no other process uses it.
unsafe fn begin(memory: Memory, mine: &Mine, former: Option<&Table>) -> Result<Sessions, String> {
    let table_len = mine.table_len as usize;
    let notes = notes_at(memory.pages(), table_len).ok_or("too small for a session table")?;
    let start = memory.at(Header::LEN).ok_or("too small for a session table")?;
    let secret = match former {
        Some(former) => former.secret(),
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
        memory.header().describe(&mine.description(), &table.identity(), clock());
        memory.note_inode().map_err(|error| format!("its file cannot be read: {error}"))?;
        table
    };
    // SAFETY: the memory is used by nobody yet, and stays mapped as long as the sessions.
    let records = unsafe { records::create(memory.pages()) }.map_err(|error| error.to_string())?;
    Ok(Sessions { records, ..sessions(memory, table, notes) })
}

fn sessions(memory: Memory, table: Table, notes: NonNull<Notes>) -> Sessions {
    Sessions {
        table: Handle::new(table),
        notes,
        records: None,
        memory: Rc::new(memory),
        former: Vec::new(),
        addresses: RefCell::default(),
        origin: Origin::New,
    }
}

impl Sessions {
    /// Copies the sessions of the zone's former memory, and keeps that.
    fn take_over(&mut self, former: Former, shm: &ngx_shm_zone_t, limits: &Limits) {
        let table = &former.table;
        table.supersede();
        let live = table.stats().live;
        self.table.import(table, nginx::now(), limits);
        // Without those that were evicted for later ones.
        let taken = self.table.stats().live;
        self.copy_draining(table, nginx::now());
        self.note_trouble();
        ngx::ngx_log_error!(
            NGX_LOG_NOTICE,
            shm.shm.log,
            "zone \"{}\" has new memory{}, {taken} of {live} sessions moved there",
            shm.shm.name,
            self.memory()
                .path()
                .map_or_else(String::new, |path| format!(" in \"{}\"", path.as_text()))
        );
        self.origin = Origin::Imported { taken, of: live, damaged_pages: 0 };
        let whose = (shm.shm.name, shm.shm.log);
        records::copy(
            self.records.as_ref(),
            former.records,
            nginx::now(),
            self.last_uses(*limits),
            whose,
        );
        self.former.push(Rc::new(former));
    }

    /// Lets the servers drain that drain in another table. `then` is the present moment by its clock.
    fn copy_draining(&self, table: &Table, then: Tick) {
        let now = nginx::now();
        for server in table.servers() {
            let draining = Draining(table.server_flags(server));
            let mut address = [0; Table::MAX_ADDRESS];
            if let (true, Some(address)) = (draining.is_on(), table.address(server, &mut address)) {
                let left = |deadline: Tick| Tick(now.0.wrapping_add(deadline.since(then).0));
                let draining = Draining::until(draining.deadline().map(left));
                self.set_draining(address, draining, now);
            }
        }
    }

    /// Copies the sessions of a file that nobody uses.
    fn restore(&mut self, left: &Left, shm: &ngx_shm_zone_t, limits: &Limits) {
        let restored = self.table.restore(&left.table, left.then, nginx::now(), limits);
        self.copy_draining(&left.table, left.then);
        let is_damaged = restored.damaged > 0 || left.damaged_pages > 0;
        let level = if is_damaged { NGX_LOG_WARN } else { NGX_LOG_NOTICE };
        stored::report(
            shm.shm.log,
            level,
            format_args!(
                "zone \"{}\": {} of {} sessions imported from its file, {} expired, {} had no room, {} \
                 damaged; {} damaged pages",
                shm.shm.name,
                restored.taken,
                restored.all(),
                restored.expired,
                restored.left,
                restored.damaged,
                left.damaged_pages
            ),
        );
        let whose = (shm.shm.name, shm.shm.log);
        records::copy(
            self.records.as_ref(),
            left.records,
            left.then,
            self.last_uses(*limits),
            whose,
        );
        self.origin = Origin::Imported {
            taken: restored.taken,
            of: restored.all(),
            damaged_pages: left.damaged_pages as u64,
        };
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
