//! The life of a shared memory zone: declared, joined, mapped, kept over reloads.
//!
//! nginx lays a slab pool over each zone; we take all of its pages as one region, which holds our
//! notes and behind them the session table.

use core::cell::RefCell;
use core::ffi::c_void;
use core::fmt;
use core::iter;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::rc::Rc;

use affinity::policy::{Rejection, Status};
use affinity::servers::{Avoided, Record, Rules};
use affinity::status::{Draining, Tally};
use affinity::table::{
    Bound, Existing, Flag, HandOn, Key, Limits, ServerId, Session, Span, Table, Tick,
};
use nginx_sys::{
    ngx_conf_t, ngx_cycle, ngx_http_upstream_server_t, ngx_int_t, ngx_list_part_t, ngx_log_t,
    ngx_pagesize, ngx_pagesize_shift, ngx_parse_size, ngx_shared_memory_add, ngx_shm_zone_t,
    ngx_slab_alloc, ngx_slab_page_t, ngx_slab_pool_t, ngx_slab_stat_t, ngx_str_t, ngx_test_config,
    ngx_worker, NGX_LOG_EMERG, NGX_LOG_ERR, NGX_LOG_NOTICE,
};

use crate::addresses;
use crate::conf::{MainConf, UpstreamConf};
use crate::mapping::Mapping;
use crate::nginx::{self, Logged, ERROR, OK};
use crate::peers::Candidate;
use crate::versions;

/// nginx's own minimum for zones, in pages.
const MIN_PAGES: usize = 8;
/// Marks a region of ours; the last byte is the version of this layout.
const MAGIC: u64 = u64::from_be_bytes(*b"sticky\0\x03");
/// How many former memories of a zone are kept in sight.
const MAX_FORMER: usize = 4;
/// How often the log tells of evictions, and of a full list of servers (milliseconds).
const REPORT_EVERY: u64 = 60_000;
/// Sets of counters. A worker has one of its own unless there are more workers than that.
const TALLIES: usize = 8;

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

/// The sessions of a zone.
#[derive(Clone)]
pub struct Sessions {
    pub table: Table,
    notes: NonNull<Notes>,
    /// Where both lie, unless that is nginx's mapping.
    _pages: Option<Rc<Mapping>>,
    /// The newest first.
    former: Vec<Rc<Former>>,
    /// Addresses of servers that this worker has asked for, by the server's number.
    addresses: RefCell<Vec<Option<Known>>>,
}

#[derive(Clone)]
struct Known {
    print: u64,
    len: usize,
    text: [u8; Table::MAX_ADDRESS],
}

impl Known {
    /// The address of a server among those that are known.
    #[inline(always)]
    fn address(known: &[Option<Known>], server: ServerId) -> Option<&[u8]> {
        let known = known.get(usize::from(server.index))?.as_ref()?;
        (known.print == server.print).then(|| known.text.get(..known.len))?
    }
}

/// The memory that a zone had before it got its present one. Workers of former configurations go
/// on using it until their last stream has ended: what they learn, refresh, move and end is seen
/// through this second mapping of the same pages.
struct Former {
    table: Table,
    _pages: Mapping,
}

/// What all workers note beside the table.
#[repr(C, align(128))]
struct Notes {
    magic: AtomicU64,
    /// Length of the table's region in bytes.
    table_len: AtomicU64,
    /// Evictions that the log has told of, and when.
    reported: AtomicU64,
    reported_at: AtomicU32,
    /// Set while a server of the zone drains.
    draining: Flag,
    /// Set while something is known of a server that requests must heed.
    troubled: Flag,
    /// Which worker makes the attempts to reach servers: its process in the upper half, and until
    /// when.
    lease: AtomicU64,
    /// When the log has told of a server without a place in the list.
    full_list_at: AtomicU32,
    /// What became of requests.
    tallies: [Counters; TALLIES],
}

/// A [`Tally`] that shares its cache lines with nothing.
#[repr(C, align(128))]
struct Counters([AtomicU64; Tally::LEN]);

/// The smallest zone, in bytes.
pub fn min_size() -> usize {
    // SAFETY: set once when nginx starts.
    MIN_PAGES * unsafe { ngx_pagesize }
}

/// Declares a zone for an upstream, or joins one (size zero: declared elsewhere).
///
/// # Safety
/// `cf` is being read.
pub unsafe fn join(
    cf: &mut ngx_conf_t,
    mut name: ngx_str_t,
    size: usize,
    limits: &Limits,
    gone_after: Span,
) -> Result<*mut Zone, Logged> {
    let tag = (&raw mut crate::ngx_http_sticky_learn_module).cast();
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
            return Ok(zone);
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
        let main = nginx::main_conf::<MainConf>(cf, &raw const crate::ngx_http_sticky_learn_module);
        let (Some(zone), Some(main)) = (nginx::pool_box(cf.pool, || zone), main) else {
            return Err(Logged);
        };
        shm.data = ptr::from_mut(zone).cast();
        shm.init = Some(init);
        main.zones.push(zone);
        Ok(zone)
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
/// `cf` has read all of `http {}`, `main` belongs to it.
pub unsafe fn check(cf: &mut ngx_conf_t, main: &MainConf) -> Result<(), Logged> {
    for &zone in &main.zones {
        // SAFETY: zones live as long as the configuration.
        let zone = unsafe { &*zone };
        let (name, log) = (zone.name(), cf.log);
        if zone.size() == 0 {
            // SAFETY: nginx reads the string only.
            let is_size = unsafe { ngx_parse_size(&mut { name }) } > 0;
            return Err(match is_size {
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
        // SAFETY: by this function's contract.
        let servers = unsafe { servers(cf, zone) };
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

/// Addresses of the servers of a zone's upstreams, each once. Those that DNS gives later are not
/// known yet.
///
/// # Safety
/// `cf` has read all of `http {}`, and the zone belongs to it.
unsafe fn servers<'a>(cf: &ngx_conf_t, zone: *const Zone) -> Vec<&'a [u8]> {
    let mut addresses = Vec::new();
    // SAFETY: by this function's contract; what the configuration holds lives as long as it does.
    unsafe {
        for &us in nginx::upstreams(nginx::main_conf(cf, nginx::upstream_module())) {
            let affinity = UpstreamConf::of(us).and_then(|conf| conf.affinity.as_ref());
            let Some(servers) = (*us).servers.as_ref() else { continue };
            if !affinity.is_some_and(|affinity| ptr::eq(affinity.zone, zone)) {
                continue;
            }
            for server in servers.as_slice::<ngx_http_upstream_server_t>() {
                if server.naddrs > 0 && !versions::is_resolved_later(server) {
                    let peers = slice::from_raw_parts(server.addrs, server.naddrs);
                    addresses.extend(peers.iter().map(|peer| nginx::bytes(&peer.name)));
                }
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Size in bytes from which on zones have so many cells for servers, in whole pages; `None` if none
/// has.
fn size_with_cells(cells: usize) -> Option<usize> {
    // SAFETY: set once when nginx starts.
    let page = unsafe { ngx_pagesize };
    let len = Table::len_with_cells(cells)?;
    let enough = (MIN_PAGES..).map(|pages| pages * page).find(|size| table_len(*size) >= len)?;
    // A region of any length may be that long, a zone only some.
    let smaller = |size: &usize| size.checked_sub(page).filter(|size| *size >= min_size());
    let has_room = |size: &usize| Table::cells_in(table_len(*size)) >= cells;
    iter::successors(Some(enough), smaller).take_while(has_room).last()
}

/// Bytes that the table gets of a zone of so many: all pages that nginx's slab pool gives away
/// (`ngx_slab_init`) but what holds the notes.
fn table_len(size: usize) -> usize {
    /// Set by `ngx_init_zone_pool`.
    const MIN_SHIFT: usize = 3;
    // SAFETY: set once when nginx starts.
    let (page, page_shift) = unsafe { (ngx_pagesize, ngx_pagesize_shift) };
    let note = size_of::<ngx_slab_page_t>();
    let slot = note + size_of::<ngx_slab_stat_t>();
    let head = size_of::<ngx_slab_pool_t>() + (page_shift - MIN_SHIFT) * slot;
    let noted = size.saturating_sub(head) / (page + note);
    let start = (head + noted * note).next_multiple_of(page);
    let pages = noted.min(size.saturating_sub(start) / page);
    (pages * page).saturating_sub(size_of::<Notes>())
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

/// Whether a report is due, of which `at` notes the last; true for one worker each time.
fn is_time_to_report(at: &AtomicU32, now: Tick) -> bool {
    let last = at.load(Ordering::Relaxed);
    now.since(Tick(last)) >= Span::from_millis(REPORT_EVERY)
        && at.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

impl Sessions {
    /// What [`Table::visit_at_once`] finds, unless old workers may have changed the session.
    #[inline(always)]
    pub fn visit_at_once(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        if !self.former.is_empty() && self.is_behind(key) {
            return None;
        }
        self.table.visit_at_once(key, now, limits)
    }

    /// The session of a key, unless it has expired.
    pub fn lookup(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.catch_up(key, now, limits);
        let session = self.table.lookup_at_once(key, now, limits);
        let session = session.or_else(|| self.table.lookup(key, now, limits));
        session.or_else(|| self.lookup_former(key, now, limits))
    }

    /// The same, and the session is used now; after [`Table::visit_at_once`] has found none.
    pub fn visit(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.catch_up(key, now, limits);
        self.table.visit(key, now, limits).or_else(|| {
            self.lookup_former(key, now, limits)?;
            self.table.visit(key, now, limits)
        })
    }

    /// What [`Table::bind`] does, after what old workers have done with the session.
    pub fn bind(
        &self,
        key: Key,
        server: ServerId,
        ttl: Option<Span>,
        now: Tick,
        limits: &Limits,
        existing: Existing,
    ) -> Bound {
        self.catch_up(key, now, limits);
        self.table.bind(key, server, ttl, now, limits, existing)
    }

    #[inline(never)]
    fn is_behind(&self, key: Key) -> bool {
        self.former.iter().any(|former| former.table.is_ahead(key))
    }

    /// Does here what old workers have done with the session of a key.
    fn catch_up(&self, key: Key, now: Tick, limits: &Limits) {
        for (index, former) in self.former.iter().enumerate().rev() {
            if former.table.is_ahead(key) {
                former.table.hand_on(key, self.successors(index), now, limits);
            }
        }
    }

    /// Does here what old workers have done with the sessions in some slots. Whether the pass goes on.
    pub fn catch_up_some(
        &self,
        pass: &mut CatchUp,
        now: Tick,
        limits: &Limits,
        max_slots: usize,
    ) -> bool {
        let Some(former) = self.former.get(pass.former) else {
            return false;
        };
        let successors = self.successors(pass.former);
        if !former.table.hand_on_some(&mut pass.slots, successors, now, limits, max_slots) {
            pass.former += 1;
        }
        pass.former < self.former.len()
    }

    /// The tables that have taken over from a former one, the oldest first.
    fn successors(&self, former: usize) -> impl Iterator<Item = &Table> + Clone {
        let newer = self.former.iter().take(former).rev().map(|newer| &newer.table);
        newer.chain(iter::once(&self.table))
    }

    #[cold]
    fn lookup_former(&self, key: Key, now: Tick, limits: &Limits) -> Option<Session> {
        self.former.iter().find_map(|former| {
            former.table.lookup(key, now, limits)?;
            self.table.import_session(&former.table, key, now, limits);
            self.table.lookup(key, now, limits)
        })
    }

    /// The address of a server, if this worker has asked for it before.
    ///
    /// # Safety
    /// The reference must go before any address is asked for.
    #[inline(always)]
    pub unsafe fn known_address(&self, server: ServerId) -> Option<&[u8]> {
        // SAFETY: by this function's contract, nobody changes them meanwhile.
        let known = unsafe { self.addresses.try_borrow_unguarded() }.ok()?;
        Known::address(known, server)
    }

    /// Calls `f` with the address of a server; `None` if the server has been taken off the list.
    #[inline]
    pub fn with_address<T>(&self, server: ServerId, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let known = self.addresses.try_borrow().ok();
        let mut buffer = MaybeUninit::uninit();
        let address = match known.as_ref().and_then(|known| Known::address(known, server)) {
            Some(address) => address,
            None => {
                drop(known);
                self.learn_address(server);
                self.table.address(server, buffer.write([0; Table::MAX_ADDRESS]))?
            }
        };
        Some(f(address))
    }

    /// Notes the address of a server, so that it need not be asked for again; without memory for
    /// that, it will be.
    #[cold]
    fn learn_address(&self, server: ServerId) {
        let Ok(mut known) = self.addresses.try_borrow_mut() else { return };
        let mut text = [0; Table::MAX_ADDRESS];
        let Some(len) = self.table.address(server, &mut text).map(<[u8]>::len) else { return };
        let index = usize::from(server.index);
        let missing = (index + 1).saturating_sub(known.len());
        if known.try_reserve(missing).is_err() {
            return;
        }
        known.extend((0..missing).map(|_| None));
        if let Some(place) = known.get_mut(index) {
            *place = Some(Known { print: server.print, len, text });
        }
    }

    /// Counts a request that has ended; `server` is that of its session.
    #[inline(always)]
    pub fn count_request(&self, status: Status, server: Option<ServerId>) {
        match (status, server) {
            (Status::Hit, Some(server)) => self.table.count_hit(server),
            (Status::Hit, None) => (),
            (status, _) => self.count_other(status),
        }
    }

    #[cold]
    fn count_other(&self, status: Status) {
        if let Some(counter) = Tally::of_status(status) {
            self.count(counter);
        }
    }

    /// Counts a request that was answered so.
    pub fn count_rejection(&self, rejection: Rejection) {
        self.count(Tally::of_rejection(rejection));
    }

    fn count(&self, counter: usize) {
        // SAFETY: a plain word, written when the worker starts.
        let worker = unsafe { ngx_worker };
        let counter = self.notes().tallies.get(worker % TALLIES).and_then(|set| set.0.get(counter));
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What all workers have counted.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for set in &self.notes().tallies {
            for (sum, counter) in tally.0.iter_mut().zip(&set.0) {
                *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
            }
        }
        tally
    }

    fn notes(&self) -> &Notes {
        // SAFETY: the notes lie in the zone, which lives as long as this configuration.
        unsafe { self.notes.as_ref() }
    }

    /// Removes the session of a key.
    pub fn forget(&self, key: Key) {
        // The oldest first: what has gone here must not be found there.
        for former in self.former.iter().rev() {
            former.table.forget(key);
        }
        self.table.forget(key);
    }

    /// Removes the sessions of a server from the next `max_slots` slots. Returns how many there
    /// were; none when the pass has seen everything.
    pub fn forget_server(
        &self,
        address: &[u8],
        pass: &mut Pass,
        max_slots: usize,
    ) -> Option<usize> {
        let former = self.former.iter().map(|former| &former.table);
        let table = iter::once(&self.table).chain(former).nth(pass.memory)?;
        let forgotten = table
            .find_server(address)
            .map_or(0, |server| table.forget_server(server, &mut pass.cursor, max_slots));
        // What a former memory has is a copy.
        let counts = pass.memory == 0;
        if pass.cursor == 0 {
            pass.memory += 1;
        }
        Some(if counts { forgotten } else { 0 })
    }

    /// Lets a server drain, or no longer. False if the table has no room for it.
    pub fn set_draining(&self, address: &[u8], draining: Draining, now: Tick) -> bool {
        let server = match draining.is_on() {
            true => self.table.intern(address, now),
            false => self.table.find_server(address),
        };
        let Some(server) = server else {
            return !draining.is_on();
        };
        self.table.set_server_flags(server, draining.0, u32::MAX);
        self.note_draining();
        true
    }

    /// Whether any server drains.
    #[inline]
    pub fn drains(&self) -> bool {
        self.notes().draining.is_set()
    }

    /// Servers that drain.
    pub fn draining(&self) -> impl Iterator<Item = (ServerId, Draining)> + '_ {
        let flags = |server| (server, Draining(self.table.server_flags(server)));
        self.table.servers().map(flags).filter(|(_, draining)| draining.is_on())
    }

    fn note_draining(&self) {
        self.notes().draining.note(|| self.draining().next().is_some());
    }

    /// Whether something is known of a server that requests must heed: some cannot be reached, are
    /// slow, or are missing in DNS.
    #[inline]
    pub fn is_troubled(&self) -> bool {
        self.notes().troubled.is_set()
    }

    /// The servers that new sessions are to avoid, and why; `None` without memory for them.
    pub fn avoided(&self, heeds_evidence: bool) -> Option<AvoidedServers> {
        let mut list = Vec::new();
        for server in self.table.servers() {
            let record = self.table.record(server);
            let drains = Draining(self.table.server_flags(server)).is_on();
            if drains || (heeds_evidence && !record.is_plain()) {
                let mut text = [0; Table::MAX_ADDRESS];
                let len = self.table.address(server, &mut text).map_or(0, <[u8]>::len);
                list.try_reserve(1).ok()?;
                list.push(AvoidedServer { text, len, drains, record });
            }
        }
        list.sort_unstable_by(|one, other| one.address().cmp(other.address()));
        Some(AvoidedServers(list))
    }

    /// What is known of a server has changed.
    pub fn note_trouble(&self) {
        self.notes()
            .troubled
            .note(|| self.table.servers().any(|server| !self.table.record(server).is_plain()));
    }

    /// Takes the lease on attempts for this process, or prolongs it; `None` if another one has it. Gives
    /// whether it is new.
    pub fn take_lease(&self, process: u32, now: Tick, length: Span) -> Option<bool> {
        let lease = &self.notes().lease;
        let seen = lease.load(Ordering::SeqCst);
        let (holder, until) = ((seen >> 32) as u32, Tick(seen as u32));
        if holder != process && holder != 0 && until.since(now).0 > 0 {
            return None;
        }
        let until = Tick(now.0.wrapping_add(length.0));
        let taken = u64::from(process) << 32 | u64::from(until.0);
        let result = lease.compare_exchange(seen, taken, Ordering::SeqCst, Ordering::SeqCst);
        result.is_ok().then_some(holder != process)
    }

    /// Gives the lease up, if this process has it.
    pub fn drop_lease(&self, process: u32) {
        let lease = &self.notes().lease;
        let seen = lease.load(Ordering::SeqCst);
        if (seen >> 32) as u32 == process {
            // If another one has taken it meanwhile, it stays.
            let _ = lease.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

/// Servers that new sessions are to avoid, by address.
pub struct AvoidedServers(Vec<AvoidedServer>);

struct AvoidedServer {
    text: [u8; Table::MAX_ADDRESS],
    len: usize,
    drains: bool,
    record: Record,
}

impl AvoidedServer {
    fn address(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

impl AvoidedServers {
    /// Whether and why one of an upstream's servers is to be avoided.
    pub fn rank(&self, candidate: &Candidate<'_>) -> Avoided {
        let found = self.0.binary_search_by(|server| server.address().cmp(candidate.address()));
        match found.ok().and_then(|place| self.0.get(place)) {
            None => Avoided::No,
            Some(AvoidedServer { drains: true, .. }) => Avoided::Draining,
            Some(server) => {
                server.record.avoids_new(addresses::fail_timeout(candidate), nginx::now())
            }
        }
    }
}

/// How far a pass over all memories of a zone has come.
#[derive(Default)]
pub struct Pass {
    memory: usize,
    cursor: usize,
}

/// How far a pass over the former memories of a zone has come.
#[derive(Default)]
pub struct CatchUp {
    former: usize,
    slots: HandOn,
}

impl Former {
    /// # Safety
    /// `shm` is a zone of a live configuration.
    unsafe fn map(shm: &ngx_shm_zone_t) -> Option<Former> {
        // SAFETY: by this function's contract.
        unsafe {
            let pages = Mapping::again(shm)?;
            Some(Former { table: table_in(shm, pages.address())?, _pages: pages })
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

/// Lays a table over fresh memory, and takes over the sessions of the zone that had its name:
/// nginx gives a zone of another size (or of a replaced module) new memory.
///
/// # Safety
/// `shm` is mapped, and nginx has made its slab pool.
unsafe fn map(shm: &ngx_shm_zone_t, limits: &Limits) -> Result<Sessions, String> {
    // SAFETY: by this function's contract; nobody else knows the memory yet.
    unsafe {
        let pool = &mut *shm.shm.addr.cast::<ngx_slab_pool_t>();
        let len = pool.pfree * ngx_pagesize;
        let memory = ngx_slab_alloc(pool, len);
        if memory.is_null() {
            return Err("no memory for the session table".into());
        }
        // The zone is fresh from the kernel, hence zero. What was never written takes no memory, which
        // matters where nginx only tests a configuration; but an nginx built with NGX_DEBUG_MALLOC
        // has filled it (`ngx_slab_init`).
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
        let table = Table::create(start, table_len, secret)
            .map_err(|error| format!("no session table: {error:?}"))?;
        // The first reports are made at once.
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
            tallies: [const { Counters([const { AtomicU64::new(0) }; Tally::LEN]) }; TALLIES],
        });
        pool.data = memory;
        // Where nginx only tests a configuration that is not worth the time.
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
            sessions.take_over(old, limits);
            let evicted = sessions.table.stats().evicted;
            notes.as_ref().reported.store(evicted, Ordering::Relaxed);
        }
        Ok(sessions)
    }
}

impl Sessions {
    /// Copies the sessions of the zone's former memory, and keeps an eye on it.
    ///
    /// # Safety
    /// `old` is a zone of the running configuration.
    unsafe fn take_over(&mut self, old: &ngx_shm_zone_t, limits: &Limits) {
        // SAFETY: by this function's contract.
        let Some(table) = (unsafe { table_in(old, old.shm.addr) }) else {
            ngx::ngx_log_error!(
                NGX_LOG_NOTICE,
                old.shm.log,
                "zone \"{}\" has new memory, the former one holds no sessions of this module",
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
        // SAFETY: as above; `data` of a zone with our table and our tag is a `Zone`.
        unsafe {
            self.former.extend(Former::map(old).map(Rc::new));
            let ours = (&raw mut crate::ngx_http_sticky_learn_module).cast();
            if old.tag == ours {
                if let Some(older) = (*old.data.cast::<Zone>()).sessions() {
                    for former in &older.former {
                        self.table.import(&former.table, nginx::now(), limits);
                    }
                    self.former.extend(older.former.iter().cloned());
                }
            }
        }
        self.former.truncate(MAX_FORMER);
    }
}

/// The running configuration's zone of that name, if it has one with other memory.
///
/// # Safety
/// Called while nginx initialises the zones of a new configuration.
unsafe fn former_zone<'a>(shm: &ngx_shm_zone_t) -> Option<&'a ngx_shm_zone_t> {
    // SAFETY: `ngx_cycle` is the running configuration until the new one is complete, and its
    // zones stay mapped as long.
    unsafe {
        let mut part: *const ngx_list_part_t = &raw const (*ngx_cycle).shared_memory.part;
        while let Some(list) = part.as_ref() {
            for i in 0..list.nelts {
                let old = &*list.elts.cast::<ngx_shm_zone_t>().add(i);
                if old.shm.name == shm.shm.name && !ptr::eq(old.shm.addr, shm.shm.addr) {
                    return Some(old);
                }
            }
            part = list.next;
        }
        None
    }
}

/// The table in a zone that is mapped at `address`, if it is one of ours.
///
/// # Safety
/// `shm` is a zone of a live configuration, `address` a mapping of it.
unsafe fn table_in(shm: &ngx_shm_zone_t, address: *mut u8) -> Option<Table> {
    if address.is_null() || shm.shm.addr.is_null() || shm.shm.size < min_size() {
        return None;
    }
    // SAFETY: every zone starts with a slab pool; what its owner noted (as an address in the first
    // mapping) is believed only if it points into the zone and bears our mark.
    unsafe {
        let noted = (*shm.shm.addr.cast::<ngx_slab_pool_t>()).data as usize;
        let offset = noted.checked_sub(shm.shm.addr as usize)?;
        let room = shm.shm.size.checked_sub(offset)?.checked_sub(size_of::<Notes>())?;
        if offset % align_of::<Notes>() != 0 {
            return None;
        }
        let notes = address.add(offset).cast::<Notes>();
        if (*notes).magic.load(Ordering::Relaxed) != MAGIC {
            return None;
        }
        let len = usize::try_from((*notes).table_len.load(Ordering::Relaxed)).ok()?;
        if len > room {
            return None;
        }
        Table::attach(NonNull::new(notes.add(1))?.cast(), len).ok()
    }
}

fn draw_secret() -> Result<[u8; 16], getrandom::Error> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
