//! A shared memory zone: declared, joined, mapped, kept over reloads.
//!
//! The module's memory of a zone is not nginx's: `storage/` makes it, so that it can outlive this nginx. nginx's
//! own memory of the zone stays almost unused; by it nginx tells which zones a reload keeps.

pub mod avoided;
mod counts;
mod flags;
mod former;
mod memory;
mod names;
mod notes;
pub mod records;
mod region;
pub mod sessions;
pub mod size;
mod stored;

use core::cell::{Cell, OnceCell, RefCell};
use core::ffi::c_void;
use core::fmt;
use core::ptr;
use core::sync::atomic::Ordering;

use affinity::servers::Thresholds;
use affinity::status::Text;
use affinity::table::{Limits, Span, Table, Tick};
use nginx_sys::{
    ngx_int_t, ngx_log_t, ngx_shared_memory_add, ngx_shm_zone_t, ngx_str_t, NGX_LOG_EMERG,
    NGX_LOG_ERR, NGX_LOG_NOTICE, NGX_LOG_WARN,
};

use crate::nginx::conf::{fail, Conf, Logged, Word};
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::{is_master, is_test, old_binary_lives};
use crate::nginx::pool::string;
use crate::nginx::{self, ERROR, OK};
use crate::storage::file::FilePath;
use crate::storage::handover;
use crate::storage::memory::{Memory, Returned};
use crate::zone::memory::map;
use crate::zone::notes::is_time_to_report;
use crate::zone::sessions::Sessions;
use crate::zone::size::{is_size, size_with_cells, table_len};

/// Default of the bytes for the records of sessions.
const DEFAULT_RECORDS: usize = 4 * 1024 * 1024;

/// A zone of the configuration, with its memory after that is mapped.
///
/// It is in the pool of the configuration and lives as long. References to it are `'static`: only values that
/// the configuration outlives keep them.
pub struct Zone {
    shm: *mut ngx_shm_zone_t,
    /// The file and line with the zone's size, else of its first use: for errors that are found later.
    place: Cell<(Word, usize)>,
    /// The longest limits of its upstreams.
    limits: Cell<Limits>,
    shortest_timeout: Cell<Span>,
    /// The shortest and the longest `gone_after` of its upstreams.
    gone_after: Cell<(Span, Span)>,
    /// The file that the memory is in.
    file: RefCell<Option<FilePath>>,
    /// The bytes for the records of sessions, zero without any; and whether an upstream says how many.
    records: Cell<(usize, bool)>,
    /// Set when the memory is mapped.
    sessions: OnceCell<Sessions>,
    /// How the sessions are shared with other machines.
    share: Cell<Option<Share>>,
}

/// A zone that several machines share: the numbers of its store, and of the zone there.
#[derive(Clone, Copy)]
pub struct Share {
    pub fleet: u16,
    pub zone: u16,
}

/// Declares a zone for an upstream, or joins one. A size of zero means that another upstream gives it.
/// Returns the zone and whether it is new.
pub fn join(
    cf: &mut Conf<'_>,
    name: Word,
    size: usize,
    file: Option<Word>,
    limits: &Limits,
    gone_after: Span,
    revives: bool,
) -> Result<(&'static Zone, bool), Logged> {
    let file = file.map(|file| FilePath::new(file.as_bytes()));
    // SAFETY: the configuration is being read; nginx copies the name and logs errors itself. The data of a
    // zone with our tag are null or a `Zone`.
    let (shm, joined) = unsafe {
        let shm = ngx_shared_memory_add(cf.raw(), &mut name.raw(), size, nginx::MODULE.tag());
        if shm.is_null() {
            return Err(Logged);
        }
        (shm, (*shm).data.cast::<Zone>().as_ref())
    };
    if let Some(zone) = joined {
        // An upstream without it would not know the ids of revived sessions, and end them.
        if (zone.records.get().0 != 0) != revives {
            fail!(cf, "zone \"{name}\" is used with and without \"gone=revive\"");
        }
        if size != 0 {
            zone.place.set(cf.place());
        }
        zone.limits.set(longest(&zone.limits.get(), limits));
        zone.shortest_timeout.set(zone.shortest_timeout.get().min(limits.timeout));
        let (shortest, longest) = zone.gone_after.get();
        zone.gone_after.set((shortest.min(gone_after), longest.max(gone_after)));
        if let Some(file) = file {
            let mut known = zone.file.borrow_mut();
            if known.as_ref().is_some_and(|known| *known != file) {
                fail!(cf, "zone \"{name}\" has two files");
            }
            *known = Some(file);
        }
        return Ok((zone, false));
    }
    let zone = cf.pool().make(|| Zone {
        shm,
        place: Cell::new(cf.place()),
        limits: Cell::new(*limits),
        shortest_timeout: Cell::new(limits.timeout),
        gone_after: Cell::new((gone_after, gone_after)),
        file: RefCell::new(file),
        records: Cell::new((0, false)),
        sessions: OnceCell::new(),
        share: Cell::new(None),
    });
    let Some(zone) = zone else { return Err(Logged) };
    let zone = ptr::from_mut(zone);
    // SAFETY: nginx has just returned `shm`, an element of its list. Both `shm` and the zone live as long as
    // the configuration, which outlives each value that keeps the reference (see `Zone`).
    unsafe {
        (*shm).data = zone.cast();
        (*shm).init = Some(init);
        Ok((&*zone, true))
    }
}

fn longest(one: &Limits, other: &Limits) -> Limits {
    Limits {
        timeout: one.timeout.max(other.timeout),
        lifetime: match (one.lifetime, other.lifetime) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        },
    }
}

/// Reports a zone without a size, or one that is too small for its servers, as an error. `servers` returns
/// the addresses of a zone's servers, each once.
pub fn check<'c>(
    cf: &mut Conf<'c>,
    zones: &[&'static Zone],
    servers: impl Fn(&mut Conf<'c>, &Zone) -> Vec<&'c [u8]>,
) -> Result<(), Logged> {
    for (index, &zone) in zones.iter().enumerate() {
        let (name, log) = (zone.log_name(), cf.log());
        let shares_file = |other: &&&Zone| match (&*zone.file.borrow(), &*other.file.borrow()) {
            (Some(file), Some(other)) => file.is_same_file(other),
            _ => false,
        };
        if let Some(other) = zones.iter().take(index).find(shares_file) {
            let other = other.log_name();
            return Err(zone.conf_error(
                log,
                format_args!("zones \"{other}\" and \"{name}\" have the same file"),
            ));
        }
        if zone.size() == 0 {
            return Err(match is_size(name.as_bytes()) {
                true => zone.conf_error(
                    log,
                    format_args!("\"zone={name}\" has no name, write \"zone=NAME:{name}\""),
                ),
                false => zone.conf_error(
                    log,
                    format_args!(
                        "zone \"{name}\" has no size, write \"zone={name}:SIZE\" in one of its upstreams"
                    ),
                ),
            });
        }
        let servers = servers(cf, zone);
        let cells = servers.iter().map(|address| Table::cells_for(address)).sum();
        if cells <= Table::cells_in(table_len(zone.size())) {
            continue;
        }
        let count = servers.len();
        return Err(match size_with_cells(cells) {
            Some(size) => zone.conf_error(
                log,
                format_args!(
                    "zone \"{name}\" is too small for the {count} servers of its upstreams, it needs \
                     {}k or more",
                    size / 1024
                ),
            ),
            None => zone.conf_error(
                log,
                format_args!("zone \"{name}\" has too many servers in its upstreams: {count}"),
            ),
        });
    }
    Ok(())
}

impl Zone {
    /// Logs a configuration error with file and line of the zone.
    pub fn conf_error(&self, log: *mut ngx_log_t, message: fmt::Arguments<'_>) -> Logged {
        let (file, line) = self.place.get();
        ngx::ngx_log_error!(NGX_LOG_EMERG, log, "{message} in {file}:{line}");
        Logged
    }

    /// Has the zone keep records of its sessions, in so many bytes; `None` if the upstream does not say how many.
    pub fn keep_records(&self, cf: &mut Conf<'_>, bytes: Option<usize>) -> Result<(), Logged> {
        match (self.records.get(), bytes) {
            ((known, true), Some(bytes)) if known != bytes => {
                fail!(cf, "zone \"{}\" has two sizes of \"revive_zone\"", self.log_name())
            }
            (_, Some(bytes)) => self.records.set((bytes, true)),
            ((0, _), None) => self.records.set((DEFAULT_RECORDS, false)),
            _ => (),
        }
        Ok(())
    }

    /// The sessions; `None` before the memory is mapped. It is mapped before the first request.
    pub fn sessions(&self) -> Option<&Sessions> {
        self.sessions.get()
    }

    #[inline(always)]
    pub fn share(&self) -> Option<Share> {
        self.share.get()
    }

    /// To be called before the memory is mapped.
    pub fn set_share(&self, share: Share) {
        self.share.set(Some(share));
    }

    pub fn limits(&self) -> Limits {
        self.limits.get()
    }

    /// The size of the shared memory in bytes.
    pub fn size(&self) -> usize {
        // SAFETY: `shm` is an element of nginx's list of zones, which lives as long as the configuration.
        unsafe { (*self.shm).shm.size }
    }

    /// The rules for evidence: failed attempts count together if they are no further apart than a quarter of
    /// the shortest `gone_after`.
    pub fn rules(&self) -> Thresholds {
        let (shortest, longest) = self.gone_after.get();
        Thresholds { pause: Span((shortest.0 / 4).max(1)), gone_after: longest }
    }

    /// Time between two attempts to reach a server (milliseconds): a twelfth of the shortest `gone_after`,
    /// but at most a second and at least 20 ms.
    pub fn attempt_interval(&self) -> u64 {
        const LONGEST: u64 = 1000;
        const SHORTEST: u64 = 20;
        (self.gone_after.get().0.as_millis() / 12).clamp(SHORTEST, LONGEST)
    }

    pub fn shortest_timeout(&self) -> Span {
        self.shortest_timeout.get()
    }

    pub fn name(&self) -> Text<'_> {
        // SAFETY: `shm` is an element of nginx's list of zones, which lives as long as the configuration.
        Text(unsafe { nginx::bytes(&(*self.shm).shm.name) })
    }

    /// The name for the log, where bytes that are not UTF-8 are shown as `\xNN`.
    pub fn log_name(&self) -> ngx_str_t {
        string(self.name().0)
    }

    /// Logs that sessions were evicted, at most once a minute in all workers.
    pub fn report_evictions(&self, log: *mut ngx_log_t, now: Tick, evicted: u64) {
        let Some(sessions) = self.sessions() else {
            return;
        };
        let notes = sessions.notes();
        let reported = notes.reported.load(Ordering::Relaxed);
        // If the worker dies before it reports, the next report includes these evictions.
        if evicted <= reported || !is_time_to_report(&notes.reported_at, now) {
            return;
        }
        notes.reported.store(evicted, Ordering::Relaxed);
        ngx::ngx_log_error!(
            NGX_LOG_NOTICE,
            log,
            "zone \"{}\" is full, {} sessions were evicted; increase its size",
            self.name(),
            evicted - reported
        );
    }

    /// Logs that the zone's list of servers has no room for a server, at most once a minute in all workers.
    #[cold]
    pub fn report_full_list(&self, log: *mut ngx_log_t, now: Tick, server: &[u8]) {
        let notes = self.sessions().map(Sessions::notes);
        if notes.is_some_and(|notes| is_time_to_report(&notes.full_list_at, now)) {
            ngx::ngx_log_error!(
                NGX_LOG_ERR,
                log,
                "zone \"{}\" has no room for server \"{}\", its sessions are not learned; \
                 increase its size",
                self.log_name(),
                string(server)
            );
        }
    }
}

/// Puts new files of zones in their place, and passes the memory of all zones to an upgrade of nginx's binary. To be
/// called when a configuration is complete. An error only at the start of nginx: a reload cannot fail any more.
pub fn commit(cycle: Cycle<'_>, zones: &[&Zone]) -> Result<(), Logged> {
    if is_test() {
        return Ok(());
    }
    let old_binary = handover::files();
    for zone in zones {
        let Some(sessions) = zone.sessions() else { continue };
        if let Some(records) = &sessions.records {
            // The servers may be others now.
            records.trust_all();
        }
        // SAFETY: `shm` is an element of nginx's list of zones, mapped, and its configuration is about to run.
        unsafe { region::note_place(&*zone.shm, sessions.memory()) };
        let (log, name) = (cycle.log(), zone.log_name());
        match sessions.memory().put_in_place(&old_binary) {
            Ok(None) => (),
            Ok(Some(kept)) => {
                ngx::ngx_log_error!(NGX_LOG_WARN, log, "zone \"{name}\": {kept}");
            }
            Err(why) => {
                ngx::ngx_log_error!(NGX_LOG_EMERG, log, "zone \"{name}\": {why}");
                if !is_master() {
                    return Err(Logged);
                }
            }
        }
    }
    let memories = zones.iter().filter_map(|zone| Some((zone.name().0, zone.sessions()?.memory())));
    handover::offer(cycle, memories);
    handover::finish();
    Ok(())
}

/// Closes the files of the zones. To be called by a master whose workers have ended.
pub fn close(cycle: Cycle<'_>, zones: &[&Zone]) {
    let is_rollback = old_binary_lives();
    for zone in zones {
        let Some(memory) = zone.sessions().map(Sessions::memory) else { continue };
        let (log, name) = (cycle.log(), zone.log_name());
        match memory.close_file(is_rollback) {
            Ok(None) => (),
            Ok(Some(how)) => report_return(log, &name, memory, how),
            Err(why) => {
                ngx::ngx_log_error!(NGX_LOG_ERR, log, "zone \"{name}\": {why}");
            }
        }
    }
}

/// Says that the file of a zone has been given its name again.
fn report_return(log: *mut ngx_log_t, name: &ngx_str_t, memory: &Memory, how: Returned) {
    let Some(path) = memory.path() else { return };
    let why = match how {
        Returned::RolledBack => {
            "is the file of the old binary again, since the upgrade is rolled back"
        }
        Returned::Lost => "was removed or replaced while nginx used it, it is written again",
    };
    ngx::ngx_log_error!(NGX_LOG_WARN, log, "zone \"{name}\": {}", path.refused(why));
}

/// Called when nginx has mapped the zone, or has kept it over a reload (`old` is then the former [`Zone`]).
unsafe extern "C" fn init(shm: *mut ngx_shm_zone_t, old: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the zone that `join` declared, and null or the zone of the former configuration,
    // which is still alive.
    let (shm, zone, old) =
        unsafe { (&*shm, &*(*shm).data.cast::<Zone>(), old.cast::<Zone>().as_ref()) };
    let file = zone.file.borrow();
    let kept = old.and_then(Zone::sessions).filter(|sessions| {
        let memory = sessions.memory();
        let records = records::len(memory.pages());
        if memory.path() != file.as_ref() || records != zone.records.get().0 {
            return false;
        }
        if memory.is_in_place() {
            return true;
        }
        let is_back = memory.take_back();
        let how = if is_back { Returned::RolledBack } else { Returned::Lost };
        report_return(shm.shm.log, &shm.shm.name, memory, how);
        is_back
    });
    let mapped = match kept {
        Some(sessions) => {
            // A reload that was to give the zone new memory may have failed: old workers use this table
            // again.
            sessions.table.reinstate();
            Ok(sessions.clone())
        }
        // SAFETY: nginx has mapped `shm` and initialised its slab pool, and initialises the zones.
        None => unsafe {
            let place = (file.as_ref(), zone.records.get().0);
            map(shm, old.is_some(), place, &zone.limits(), former_sessions)
        },
    };
    match mapped {
        Ok(sessions) => {
            // nginx calls this once for each zone of a configuration.
            let _ = zone.sessions.set(sessions);
            OK
        }
        Err(why) => {
            let name = shm.shm.name;
            ngx::ngx_log_error!(NGX_LOG_EMERG, shm.shm.log, "zone \"{name}\": {why}");
            ERROR
        }
    }
}

/// The sessions of a zone, if it is one of ours.
///
/// # Safety
/// `old` is a mapped zone of a live configuration.
unsafe fn former_sessions(old: &ngx_shm_zone_t) -> Option<&Sessions> {
    // SAFETY: the `data` of a mapped zone with our tag are a `Zone`, which lives as long as its
    // configuration.
    unsafe { (old.tag == nginx::MODULE.tag()).then(|| (*old.data.cast::<Zone>()).sessions())? }
}
