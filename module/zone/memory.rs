//! New memory of a zone: makes a table in it, and copies the sessions of the former memory.

use core::cell::RefCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::rc::Rc;

use affinity::mcp::SharedTargets;
use affinity::status::{Draining, Tally};
use affinity::table::{Flag, Limits, Span, Table};
use nginx_sys::{
    ngx_pagesize, ngx_shm_zone_t, ngx_slab_alloc, ngx_slab_pool_t, ngx_test_config, NGX_LOG_NOTICE,
};

use crate::nginx;
use crate::zone::former::{former_zone, Former};
use crate::zone::notes::{Counters, Notes, MAGIC, REPORT_EVERY, TALLIES};
use crate::zone::pages::Mapping;
use crate::zone::region::table_in;
use crate::zone::sessions::Sessions;

/// How many former memories of a zone stay mapped.
pub(super) const MAX_FORMER: usize = 4;

/// Makes a table in new memory, and copies the sessions of the former zone of the same name. nginx gives a
/// zone new memory if its size has changed or the module was replaced.
///
/// # Safety
/// `shm` is mapped, and nginx has made its slab pool.
pub(super) unsafe fn map(
    shm: &ngx_shm_zone_t,
    limits: &Limits,
    former_sessions: unsafe fn(&ngx_shm_zone_t) -> Option<&Sessions>,
) -> Result<Sessions, String> {
    // SAFETY: a mapped zone begins with its slab pool, and no other process uses the new memory yet.
    unsafe {
        let pool = &mut *shm.shm.addr.cast::<ngx_slab_pool_t>();
        let len = pool.pfree * ngx_pagesize;
        let memory = ngx_slab_alloc(pool, len);
        if memory.is_null() {
            return Err("no memory for the session table".into());
        }
        // New memory from the kernel is zero. Pages that are never written take no memory, which matters when
        // nginx only tests a configuration. An nginx built with NGX_DEBUG_MALLOC has filled the memory
        // (`ngx_slab_init`).
        if memory.cast::<u64>().read() != 0 {
            memory.cast::<u8>().write_bytes(0, len);
        }
        let pages = Mapping::for_huge_pages(shm);
        let zone = pages.as_ref().map_or(shm.shm.addr, Mapping::address);
        let offset = memory.addr() - shm.shm.addr.addr();
        let notes = NonNull::new(zone.add(offset).cast::<Notes>()).ok_or("no address")?;
        let table_len = len - size_of::<Notes>();
        let start = notes.add(1).cast::<u8>();

        let former = former_zone(shm);
        let secret = match former.as_ref().and_then(|old| table_in(old, old.shm.addr)) {
            Some(table) => table.secret(),
            None => draw_secret().map_err(|error| format!("no secret for the hash: {error}"))?,
        };
        let table = Table::create(start, table_len, secret).map_err(|error| error.to_string())?;
        // The first reports need not wait.
        let long_ago = nginx::now().0.wrapping_sub(Span::from_millis(REPORT_EVERY).0);
        notes.write(Notes {
            magic: AtomicU64::new(MAGIC),
            table_len: AtomicU64::new(table_len as u64),
            reported: AtomicU64::new(0),
            reported_at: AtomicU32::new(long_ago),
            draining: Flag::default(),
            troubled: Flag::default(),
            lease: AtomicU64::new(0),
            full_list_at: AtomicU32::new(long_ago),
            shared_targets: SharedTargets::default(),
            tallies: [const { Counters([const { AtomicU64::new(0) }; Tally::LEN]) }; TALLIES],
        });
        pool.data = memory;
        // Not when nginx only tests a configuration: it takes too long.
        if let Some(pages) = pages.as_ref().filter(|_| ngx_test_config == 0) {
            pages.make_huge();
        }

        let mut sessions = Sessions {
            table,
            notes,
            _pages: pages.map(Rc::new),
            former: Vec::new(),
            addresses: RefCell::default(),
        };
        if let Some(old) = former {
            sessions.take_over(old, limits, former_sessions);
            let evicted = sessions.table.stats().evicted;
            notes.as_ref().reported.store(evicted, Ordering::Relaxed);
        }
        Ok(sessions)
    }
}

impl Sessions {
    /// Copies the sessions of the zone's former memory, and keeps a mapping of it.
    ///
    /// # Safety
    /// `old` is a zone of the running configuration.
    pub(super) unsafe fn take_over(
        &mut self,
        old: &ngx_shm_zone_t,
        limits: &Limits,
        former_sessions: unsafe fn(&ngx_shm_zone_t) -> Option<&Sessions>,
    ) {
        // SAFETY: a zone of the running configuration, mapped by nginx at this address.
        let Some(table) = (unsafe { table_in(old, old.shm.addr) }) else {
            ngx::ngx_log_error!(
                NGX_LOG_NOTICE,
                old.shm.log,
                "zone \"{}\" has new memory, the old memory has no session table of this module",
                old.shm.name
            );
            return;
        };
        table.supersede();
        let live = table.stats().live;
        let taken = self.table.import(&table, nginx::now(), limits);
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
            old.shm.log,
            "zone \"{}\" has new memory, {taken} of {live} sessions moved there",
            old.shm.name
        );
        // SAFETY: `old` is a zone of the running configuration, and nginx has mapped it.
        unsafe {
            self.former.extend(Former::map(old).map(Rc::new));
            if let Some(older) = former_sessions(old) {
                for former in &older.former {
                    self.table.import(&former.table, nginx::now(), limits);
                }
                self.former.extend(older.former.iter().cloned());
            }
        }
        self.former.truncate(MAX_FORMER);
    }
}

pub(super) fn draw_secret() -> Result<[u8; 16], getrandom::Error> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
