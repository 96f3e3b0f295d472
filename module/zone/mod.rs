//! The life of a shared memory zone: declared, joined, mapped, kept over reloads.
//!
//! nginx lays a slab pool over each zone; we take all of its pages as one region, which holds our
//! notes and behind them the session table.

pub mod avoided;
mod counts;
mod flags;
mod former;
mod memory;
mod names;
mod notes;
mod pages;
mod region;
pub mod sessions;
pub mod size;

use crate::nginx::conf::Logged;
use crate::nginx::pool;
use crate::nginx::{self, ERROR, OK};
use crate::zone::memory::map;
use crate::zone::notes::is_time_to_report;
use crate::zone::sessions::Sessions;
use crate::zone::size::size_with_cells;
use crate::zone::size::table_len;
use affinity::servers::Rules;
use affinity::table::{Limits, Span, Table, Tick};
use core::ffi::c_void;
use core::fmt;
use core::ptr::{self};
use core::sync::atomic::Ordering;
use nginx_sys::{
    ngx_conf_t, ngx_int_t, ngx_log_t, ngx_shared_memory_add, ngx_shm_zone_t, ngx_str_t,
    NGX_LOG_EMERG, NGX_LOG_ERR, NGX_LOG_NOTICE,
};

/// A zone of the configuration, and its memory once it has some.
pub struct Zone {
    shm: *mut ngx_shm_zone_t,
    /// Where the configuration gives its size, else where it is mentioned first: for errors that
    /// show later.
    file: ngx_str_t,
    line: usize,
    /// Those of the most patient upstream.
    limits: Limits,
    /// That of the least patient one.
    shortest_timeout: Span,
    /// The shortest and the longest `gone_after` of them.
    gone_after: (Span, Span),
    state: State,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each zone")]
enum State {
    Declared,
    Mapped(Sessions),
}

/// Declares a zone for an upstream, or joins one (size zero: declared elsewhere). Gives whether it is
/// new.
///
/// # Safety
/// `cf` is being read.
pub unsafe fn join(
    cf: &mut ngx_conf_t,
    mut name: ngx_str_t,
    size: usize,
    limits: &Limits,
    gone_after: Span,
) -> Result<(*mut Zone, bool), Logged> {
    let tag = nginx::MODULE.tag();
    // SAFETY: nginx keeps its own copy of what it needs; errors it logs itself.
    unsafe {
        let Some(shm) = ngx_shared_memory_add(cf, &mut name, size, tag).as_mut() else {
            return Err(Logged);
        };
        if let Some(zone) = shm.data.cast::<Zone>().as_mut() {
            if size != 0 {
                (zone.file, zone.line) = ((*cf.conf_file).file.name, (*cf.conf_file).line);
            }
            zone.limits = most_patient(&zone.limits, limits);
            zone.shortest_timeout = zone.shortest_timeout.min(limits.timeout);
            let (shortest, longest) = zone.gone_after;
            zone.gone_after = (shortest.min(gone_after), longest.max(gone_after));
            return Ok((zone, false));
        }
        let zone = Zone {
            shm,
            file: (*cf.conf_file).file.name,
            line: (*cf.conf_file).line,
            limits: *limits,
            shortest_timeout: limits.timeout,
            gone_after: (gone_after, gone_after),
            state: State::Declared,
        };
        let Some(zone) = pool::pool_box(cf.pool, || zone) else {
            return Err(Logged);
        };
        shm.data = ptr::from_mut(zone).cast();
        shm.init = Some(init);
        Ok((zone, true))
    }
}

fn most_patient(one: &Limits, other: &Limits) -> Limits {
    Limits {
        timeout: one.timeout.max(other.timeout),
        lifetime: match (one.lifetime, other.lifetime) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        },
    }
}

/// Complains of a zone that no upstream gave a size, or that is too small for its servers.
///
/// # Safety
/// `cf` has read all of `http {}`, `servers` gives the addresses of a zone's servers, each once.
pub unsafe fn check<'a>(
    cf: &mut ngx_conf_t,
    zones: &[*mut Zone],
    servers: impl Fn(&ngx_conf_t, *const Zone) -> Vec<&'a [u8]>,
) -> Result<(), Logged> {
    for &zone in zones {
        // SAFETY: zones live as long as the configuration.
        let zone = unsafe { &*zone };
        let (name, log) = (zone.name(), cf.log);
        if zone.size() == 0 {
            return Err(zone.conf_error(
                log,
                format_args!(
                    "zone \"{name}\" has no size, write \"zone={name}:SIZE\" in one of its upstreams"
                ),
            ));
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
    fn conf_error(&self, log: *mut ngx_log_t, message: fmt::Arguments<'_>) -> Logged {
        ngx::ngx_log_error!(NGX_LOG_EMERG, log, "{message} in {}:{}", self.file, self.line);
        Logged
    }

    /// The sessions; `None` before the memory is mapped, which is before any request.
    pub fn sessions(&self) -> Option<&Sessions> {
        match &self.state {
            State::Declared => None,
            State::Mapped(sessions) => Some(sessions),
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes of shared memory.
    pub fn size(&self) -> usize {
        // SAFETY: nginx's list of zones lives as long as the configuration.
        unsafe { (*self.shm).shm.size }
    }

    /// By what rules evidence counts: failed attempts no further apart than a quarter of the shortest
    /// `gone_after`.
    pub fn rules(&self) -> Rules {
        let (shortest, longest) = self.gone_after;
        Rules { pause: Span((shortest.0 / 4).max(1)), gone_after: longest }
    }

    /// Time between two attempts to reach a server (milliseconds): a second, or a twelfth of
    /// `gone_after`.
    pub fn attempt_interval(&self) -> u64 {
        const LONGEST: u64 = 1000;
        const SHORTEST: u64 = 20;
        (self.gone_after.0.as_millis() / 12).clamp(SHORTEST, LONGEST)
    }

    pub fn shortest_timeout(&self) -> Span {
        self.shortest_timeout
    }

    pub fn name(&self) -> ngx_str_t {
        // SAFETY: nginx's list of zones lives as long as the configuration.
        unsafe { (*self.shm).shm.name }
    }

    /// Says in the log that sessions were evicted; once a minute, whoever calls.
    pub fn report_evictions(&self, log: *mut ngx_log_t, now: Tick, evicted: u64) {
        let Some(sessions) = self.sessions() else {
            return;
        };
        let notes = sessions.notes();
        let told = notes.reported.load(Ordering::Relaxed);
        // A report that dies with its worker is made up for by the next one's count.
        if evicted <= told || !is_time_to_report(&notes.reported_at, now) {
            return;
        }
        notes.reported.store(evicted, Ordering::Relaxed);
        ngx::ngx_log_error!(
            NGX_LOG_NOTICE,
            log,
            "zone \"{}\" is full, {} sessions were evicted; increase its size",
            self.name(),
            evicted - told
        );
    }

    /// Says in the log that a server has no place in the list of the zone's servers; once a
    /// minute, whoever calls.
    #[cold]
    pub fn report_full_list(&self, log: *mut ngx_log_t, now: Tick, server: ngx_str_t) {
        let notes = self.sessions().map(Sessions::notes);
        if notes.is_some_and(|notes| is_time_to_report(&notes.full_list_at, now)) {
            ngx::ngx_log_error!(
                NGX_LOG_ERR,
                log,
                "zone \"{}\" has no room for server \"{server}\", its sessions are not learned; \
                 increase its size",
                self.name()
            );
        }
    }
}

/// nginx has mapped the zone, or kept it over a reload (`old` is then the former [`Zone`]).
unsafe extern "C" fn init(shm: *mut ngx_shm_zone_t, old: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes the zone that `join` declared; the old configuration is still alive.
    unsafe {
        let zone = &mut *(*shm).data.cast::<Zone>();
        let mapped = match old.cast::<Zone>().as_ref() {
            Some(Zone { state: State::Mapped(sessions), .. }) => {
                // A reload that would have given the zone new memory may have failed.
                sessions.table.reinstate();
                Ok(sessions.clone())
            }
            _ => map(&*shm, &zone.limits),
        };
        match mapped {
            Ok(sessions) => {
                zone.state = State::Mapped(sessions);
                OK
            }
            Err(why) => {
                let name = (*shm).shm.name;
                ngx::ngx_log_error!(NGX_LOG_EMERG, (*shm).shm.log, "zone \"{name}\": {why}");
                ERROR
            }
        }
    }
}
