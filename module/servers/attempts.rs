//! What nginx does by itself to know its servers: while one cannot be reached, one worker tries to
//! connect to it, once in an interval, so that it is known to be back before a client asks, and known
//! to be gone if it is. The same worker sees which addresses have left DNS.

use core::cell::{Ref, UnsafeCell};
use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr;
use std::alloc::{alloc, Layout};
use std::io::Error;

use affinity::servers::{Event, Known, Reason, Record};
use affinity::table::{ServerId, Span, Table, Tick};
use nginx_sys::{
    ngx_add_timer, ngx_close_connection, ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_event_t,
    ngx_exiting, ngx_get_connection, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_log_t,
    ngx_msec_t, ngx_process, sockaddr, socklen_t, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};

use crate::conf::method::Sticky;
use crate::conf::{self, Affinity, UpstreamConf};
use crate::nginx::{self, millis, ERROR};
use crate::peers::addresses::{Address, Addresses, Route};
use crate::peers::list::Candidate;
use crate::servers::evidence;
use crate::zone::{Sessions, Zone};

/// Longest time between two turns (milliseconds).
const MAX_INTERVAL: u64 = 1000;

/// What a worker holds.
struct Attempts {
    timer: ngx_event_t,
    /// nginx's debug log wants a connection to every timer.
    connection: ngx_connection_t,
    running: Vec<*mut Attempt>,
    /// Which of those that are due comes first.
    next: usize,
    /// When each zone has its turn, in milliseconds of nginx's clock.
    due: Vec<u64>,
}

/// A connection that is being made, or was.
struct Attempt {
    /// Null when it has ended.
    connection: *mut ngx_connection_t,
    /// Both live as long as the cycle.
    cycle: *const ngx_cycle_t,
    zone: *const Zone,
    server: ServerId,
    begun: Tick,
}

extern "C" {
    fn sticky_learn_watch_connection(c: *mut ngx_connection_t) -> ngx_int_t;
}

struct Local(UnsafeCell<mem::MaybeUninit<Attempts>>);

// SAFETY: nginx runs its event loop, and all that is called from it, in one thread.
unsafe impl Sync for Local {}

static ATTEMPTS: Local = Local(UnsafeCell::new(mem::MaybeUninit::uninit()));
static STARTED: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// # Safety
/// Called from nginx's event loop thread, after `start` has begun; references must not overlap.
unsafe fn attempts<'a>() -> &'a mut Attempts {
    // SAFETY: `start` has written it.
    unsafe { (*ATTEMPTS.0.get()).assume_init_mut() }
}

/// Copies the addresses, and starts the timer, if the configuration has zones.
///
/// # Safety
/// Called from `init_process`.
pub unsafe fn start(cycle: *mut ngx_cycle_t) {
    // SAFETY: by this function's contract; zeroes are an event and a connection.
    unsafe {
        let process = ngx_process as u32;
        if process != NGX_PROCESS_WORKER && process != NGX_PROCESS_SINGLE {
            return;
        }
        if conf::zones(cycle).is_empty() {
            return;
        }
        (*ATTEMPTS.0.get()).write(Attempts {
            timer: mem::zeroed(),
            connection: mem::zeroed(),
            running: Vec::new(),
            next: 0,
            due: Vec::new(),
        });
        STARTED.store(true, core::sync::atomic::Ordering::Relaxed);
        refresh(cycle);
        let attempts = attempts();
        attempts.connection.fd = -1;
        attempts.timer.data = (&raw mut attempts.connection).cast();
        attempts.timer.log = (*cycle).log;
        attempts.timer.handler = Some(turn);
        attempts.timer.set_cancelable(1);
        ngx_add_timer(&mut attempts.timer, interval(cycle));
    }
}

/// Ends what is left when the worker exits.
///
/// # Safety
/// Called from `exit_process`.
pub unsafe fn stop() {
    if STARTED.load(core::sync::atomic::Ordering::Relaxed) {
        // SAFETY: by this function's contract.
        unsafe {
            drop_leases(ngx_cycle);
            attempts().running.drain(..).for_each(|attempt| Attempt::close(attempt));
        }
    }
}

/// Time between two turns: the shortest of all zones.
unsafe fn interval(cycle: *const ngx_cycle_t) -> ngx_msec_t {
    // SAFETY: the cycle is live.
    let zones = unsafe { conf::zones(cycle) };
    // SAFETY: as are its zones.
    let intervals = zones.iter().map(|&zone| unsafe { (*zone).attempt_interval() });
    intervals.min().unwrap_or(MAX_INTERVAL) as ngx_msec_t
}

/// The upstreams of a cycle that have sessions, and a list of servers.
///
/// # Safety
/// The cycle is live.
unsafe fn upstreams<'a>(
    cycle: *const ngx_cycle_t,
) -> impl Iterator<Item = (*const ngx_http_upstream_srv_conf_t, &'a UpstreamConf, &'a Affinity)> {
    // SAFETY: by this function's contract.
    unsafe {
        let all = nginx::upstreams(nginx::cycle_main_conf(cycle, nginx::upstream_module()));
        all.iter().filter_map(|&us| {
            let us = us.cast_const();
            let conf: &UpstreamConf = UpstreamConf::of(us)?;
            let is_listed = conf.balancer.keeps_round_robins_list;
            Some((us, conf, conf.affinity.as_ref().filter(|_| is_listed)?))
        })
    }
}

/// Copies the addresses of all upstreams whose list has changed.
///
/// # Safety
/// The cycle is the running one.
pub unsafe fn refresh(cycle: *const ngx_cycle_t) {
    // SAFETY: by this function's contract.
    for (us, conf, _) in unsafe { upstreams(cycle) } {
        if let Ok(mut addresses) = conf.addresses.try_borrow_mut() {
            // SAFETY: as above.
            unsafe { addresses.refresh(us, |candidate| route(&conf.sticky, candidate)) };
        }
    }
}

/// The route of a server, which is copied while its group is locked.
fn route(sticky: &Sticky, candidate: &Candidate<'_>) -> Option<Route> {
    #[cfg(not(nginx_own_sticky))]
    let route = sticky.ids.route(candidate);
    #[cfg(nginx_own_sticky)]
    let route = {
        let () = sticky;
        crate::peers::version::route(candidate)
    };
    route.and_then(Route::new)
}

unsafe extern "C" fn turn(event: *mut ngx_event_t) {
    // SAFETY: nginx calls with the timer that `start` set.
    unsafe {
        // A process that is its own master outlives the cycle that it has started with.
        let cycle = ngx_cycle.cast_const();
        (*event).log = (*cycle).log;
        let log = (*event).log;
        refresh(cycle);
        drop_addresses(cycle);
        let zones = conf::zones(cycle);
        for (number, &zone) in zones.iter().enumerate() {
            if attempts().is_due(number, (*zone).attempt_interval()) {
                attempts().end(cycle, zone);
                if ngx_exiting == 0 {
                    look_after(cycle, &*zone, log);
                }
            }
        }
        if ngx_exiting != 0 {
            drop_leases(cycle);
        }
        ngx_add_timer(event, interval(cycle));
    }
}

unsafe fn drop_leases(cycle: *const ngx_cycle_t) {
    // SAFETY: the cycle is live, as are its zones.
    unsafe {
        for &zone in conf::zones(cycle) {
            if let Some(sessions) = (*zone).sessions() {
                sessions.drop_lease(std::process::id());
            }
        }
    }
}

/// Does for the servers of a zone what there is to do in this turn, if that is this worker's task.
///
/// # Safety
/// The cycle is the running one, the zone is its own.
unsafe fn look_after(cycle: *const ngx_cycle_t, zone: &Zone, log: *mut ngx_log_t) {
    /// Intervals after which another worker takes over.
    const LEASE: u64 = 3;

    let Some(sessions) = zone.sessions() else { return };
    let lease = Span::from_millis(LEASE * zone.attempt_interval());
    let Some(is_first) = sessions.take_lease(std::process::id(), nginx::now(), lease) else {
        return;
    };
    // SAFETY: by this function's contract.
    unsafe {
        let upstreams = Upstreams::of(cycle, zone);
        // Mostly there is nothing to see. What another worker has left shows at the first turn.
        if is_first || sessions.is_troubled() || upstreams.need_a_look() {
            upstreams.look(cycle, zone, sessions, log);
        }
    }
}

/// The addresses of the upstreams of a zone.
struct Upstreams<'a>(Vec<Ref<'a, Addresses>>);

/// What they have of one server.
#[derive(Default)]
struct Found<'a> {
    listed: bool,
    down: bool,
    resolved: bool,
    fail_timeout: Span,
    address: Option<&'a Address>,
}

impl Found<'_> {
    fn of<'a>(addresses: impl Iterator<Item = &'a Address>) -> Found<'a> {
        let mut found = Found::default();
        for address in addresses {
            found.listed |= address.listed;
            found.down |= address.listed && address.down;
            found.resolved |= address.is_resolved();
            found.fail_timeout = found.fail_timeout.max(address.fail_timeout);
            if found.address.is_none_or(|other| other.down) {
                found.address = Some(address);
            }
        }
        found
    }

    /// Whether an attempt to reach it is due.
    fn is_due(&self, record: &Record) -> bool {
        match record.known {
            Known::Unreachable => true,
            Known::Gone => {
                let since = record.last_failure.map(|last| nginx::now().since(last));
                since.is_none_or(|since| since >= self.fail_timeout)
            }
            Known::Up | Known::Slow => false,
        }
    }
}

impl<'a> Upstreams<'a> {
    /// # Safety
    /// As for [`look_after`].
    unsafe fn of(cycle: *const ngx_cycle_t, zone: &Zone) -> Upstreams<'a> {
        let mut all = Vec::new();
        // SAFETY: by this function's contract.
        for (_, conf, affinity) in unsafe { upstreams(cycle) } {
            if let (true, Ok(addresses)) =
                (ptr::eq(affinity.zone, zone), conf.addresses.try_borrow())
            {
                if all.try_reserve(1).is_ok() {
                    all.push(addresses);
                }
            }
        }
        Upstreams(all)
    }

    /// Whether any server may change its state without a request or an attempt.
    fn need_a_look(&self) -> bool {
        let mut all = self.0.iter().flat_map(|addresses| addresses.iter());
        all.any(|address| address.down || address.is_resolved())
    }

    /// Notes that a server can be reached.
    fn note_answer(&self, name: &[u8]) {
        let has_it = |address: &Address| address.name() == name && address.listed && !address.down;
        for addresses in self.0.iter().filter(|addresses| addresses.iter().any(has_it)) {
            addresses.answered.set(Some(nginx::now()));
        }
    }

    /// Whether an address that no upstream lists counts as missing in DNS.
    fn is_missing(&self, name: &[u8]) -> bool {
        let mut resolved = self.0.iter().filter(|addresses| addresses.are_resolved()).peekable();
        resolved.peek().is_some() && resolved.all(|addresses| addresses.is_missing(name))
    }

    /// Notes what is to be noted of each server that the zone knows, and begins the attempts to reach
    /// servers that are due.
    ///
    /// # Safety
    /// As for [`look_after`].
    unsafe fn look(
        &self,
        cycle: *const ngx_cycle_t,
        zone: &Zone,
        sessions: &Sessions,
        log: *mut ngx_log_t,
    ) -> Option<()> {
        let mut by_name: Vec<(&[u8], usize, &Address)> = Vec::new();
        by_name.try_reserve(self.0.iter().map(|addresses| addresses.iter().count()).sum()).ok()?;
        for (number, addresses) in self.0.iter().enumerate() {
            by_name.extend(addresses.iter().map(|address| (address.name(), number, address)));
        }
        by_name.sort_unstable_by_key(|(name, ..)| *name);
        let named = |name: &[u8]| {
            let start = by_name.partition_point(|(other, ..)| *other < name);
            let rest = by_name.get(start..).unwrap_or_default();
            let len = rest.partition_point(|(other, ..)| *other == name);
            rest.get(..len).unwrap_or_default()
        };
        let mut company: Vec<Company<'_>> = Vec::new();
        company.try_reserve(self.0.len()).ok()?;
        company.extend(self.0.iter().map(|_| Company::default()));
        let mut due: Vec<(ServerId, &Address)> = Vec::new();
        for server in sessions.table.servers() {
            let mut buffer = [0; Table::MAX_ADDRESS];
            let Some(name) = sessions.table.address(server, &mut buffer) else { continue };
            let entries = named(name);
            let found = Found::of(entries.iter().map(|(.., address)| *address));
            self.note(zone, sessions, server, name, &found);
            let record = sessions.table.record(server);
            for (_, number, address) in entries {
                if let Some(company) = company.get_mut(*number) {
                    company.add(server, &record, address);
                }
            }
            // Another upstream may have it in service.
            let address = found.address.filter(|address| !address.down);
            if let (true, Some(address)) = (found.is_due(&record), address) {
                due.try_reserve(1).ok()?;
                due.push((server, address));
            }
        }
        for (addresses, company) in self.0.iter().zip(&company) {
            addresses.answered.set(company.answered);
            due.try_reserve(1).ok()?;
            due.extend(company.to_ask(addresses, sessions));
        }
        // SAFETY: by this function's contract.
        unsafe { attempts().begin_some(cycle, zone, &due, log) };
        Some(())
    }

    /// Notes what the configuration and the resolver say of a server.
    fn note(
        &self,
        zone: &Zone,
        sessions: &Sessions,
        server: ServerId,
        name: &[u8],
        found: &Found<'_>,
    ) {
        let now = nginx::now();
        let record = sessions.table.record(server);
        let has_sessions =
            || sessions.table.server_stats(server).is_some_and(|stats| stats.live > 0);
        if found.address.is_none() && record != Record::default() && !has_sessions() {
            // No upstream has it, and nobody asks for it any more: who gets the address begins anew.
            sessions.table.update_record(server, |_| Record::default());
            sessions.note_trouble();
            return;
        }
        let down_since = found.down.then(|| record.down_since.unwrap_or(now));
        let resolved = record.resolved || found.resolved;
        if (down_since, resolved) != (record.down_since, record.resolved) {
            let change = |record| Record { down_since, resolved, ..record };
            sessions.table.update_record(server, change);
        }
        if resolved && !found.listed && self.is_missing(name) {
            evidence::note(zone, server, Event::Missing);
        } else if record.missing.is_some() {
            evidence::note(zone, server, Event::Listed);
        }
    }
}

/// Whether anything of an upstream can be reached while some of it cannot.
#[derive(Default)]
struct Company<'a> {
    /// A server of it cannot be reached.
    fails: bool,
    /// When one that can be reached has answered last, or accepted a connection.
    answered: Option<Tick>,
    /// That one, or any of which nothing bad is known.
    server: Option<(ServerId, &'a Address)>,
}

impl<'a> Company<'a> {
    fn add(&mut self, server: ServerId, record: &Record, address: &'a Address) {
        if matches!(record.known, Known::Unreachable | Known::Gone) {
            self.fails |= !address.down;
            return;
        }
        if !address.listed || address.down {
            return;
        }
        let is_later = match (record.last_success, self.answered) {
            (Some(success), Some(other)) => success.since(other) > Span(0),
            (success, None) => success.is_some() || self.server.is_none(),
            (None, Some(_)) => false,
        };
        if is_later {
            self.answered = record.last_success;
            self.server = Some((server, address));
        }
    }

    /// Which server to ask whether it can be reached: silence is no evidence that it can.
    fn to_ask(
        &self,
        addresses: &'a Addresses,
        sessions: &Sessions,
    ) -> Option<(ServerId, &'a Address)> {
        if !self.fails {
            return None;
        }
        self.server.or_else(|| {
            // One that the zone does not know yet.
            let is_unknown = |address: &&Address| {
                address.listed
                    && !address.down
                    && sessions.table.find_server(address.name()).is_none()
            };
            let address = addresses.iter().find(is_unknown)?;
            Some((sessions.table.intern(address.name(), nginx::now())?, address))
        })
    }
}

/// Whether no upstream of a zone that has a server has another one that has answered lately: then a
/// failed attempt proves nothing, for the fault may be nearer.
///
/// # Safety
/// As for [`look_after`].
unsafe fn lacks_company(cycle: *const ngx_cycle_t, zone: &Zone, name: &[u8]) -> bool {
    let (now, pause) = (nginx::now(), zone.rules().pause);
    // SAFETY: by this function's contract.
    let upstreams = unsafe { Upstreams::of(cycle, zone) };
    let has_company = |addresses: &Ref<'_, Addresses>| {
        addresses.answered.get().is_some_and(|answered| now.since(answered) <= pause)
            && addresses.find(name).is_some()
    };
    !upstreams.0.iter().any(has_company)
}

/// Drops the copies of addresses that have left DNS and have no session any more.
///
/// # Safety
/// The cycle is the running one.
unsafe fn drop_addresses(cycle: *const ngx_cycle_t) {
    // SAFETY: by this function's contract, and so are its zones.
    for (_, conf, affinity) in unsafe { upstreams(cycle) } {
        let (Some(sessions), Ok(mut addresses)) =
            (unsafe { (*affinity.zone).sessions() }, conf.addresses.try_borrow_mut())
        else {
            continue;
        };
        let (now, gone_after) = (nginx::now(), affinity.policy.gone_after);
        addresses.drop_unlisted(|address, left| {
            // A request that is still on its way there may begin a session.
            let stats = || {
                let server = sessions.table.find_server(address.name())?;
                sessions.table.server_stats(server)
            };
            now.since(left) <= gone_after || stats().is_some_and(|stats| stats.live > 0)
        });
    }
}

impl Attempts {
    /// Whether a zone has its turn; if so, the next one is an interval (milliseconds) later.
    fn is_due(&mut self, number: usize, interval: u64) -> bool {
        let now = millis();
        let missing = (number + 1).saturating_sub(self.due.len());
        if self.due.try_reserve(missing).is_err() {
            return false;
        }
        self.due.extend((0..missing).map(|_| now));
        // Turns come a little early or late: the nearest one counts.
        match self.due.get_mut(number) {
            Some(due) if now + interval / 8 >= *due => {
                *due = now + interval;
                true
            }
            _ => false,
        }
    }

    /// Attempts of a zone that have not come to an end in their time have failed.
    ///
    /// # Safety
    /// Called in the event loop.
    unsafe fn end(&mut self, cycle: *const ngx_cycle_t, zone: *const Zone) {
        // A former cycle's are nobody's any more.
        let is_over = |attempt: &Attempt| attempt.zone == zone || attempt.cycle != cycle;
        let mut index = 0;
        while let Some(&attempt) = self.running.get(index) {
            // SAFETY: what runs is closed only here, and when the worker exits.
            if !is_over(unsafe { &*attempt }) {
                index += 1;
                continue;
            }
            let attempt = self.running.swap_remove(index);
            // SAFETY: by this function's contract; the attempt is no other's any more.
            unsafe {
                if !(*attempt).connection.is_null() {
                    (*attempt).note(Err(Reason::TimedOut));
                }
                Attempt::close(attempt);
            }
        }
    }

    /// Begins attempts, as many at once as leave nginx connections enough; the others have their turn
    /// at the next look.
    ///
    /// # Safety
    /// As above; the zone is of the running cycle.
    unsafe fn begin_some(
        &mut self,
        cycle: *const ngx_cycle_t,
        zone: &Zone,
        due: &[(ServerId, &Address)],
        log: *mut ngx_log_t,
    ) {
        /// Part of nginx's free connections that attempts may take.
        const SHARE: usize = 4;

        // SAFETY: by this function's contract.
        let free = unsafe { (*cycle).free_connection_n };
        let count = due.len().min(free / SHARE);
        let start = if due.is_empty() { 0 } else { self.next % due.len() };
        for (server, address) in due.iter().cycle().skip(start).take(count) {
            // SAFETY: as above.
            unsafe { self.begin(cycle, zone, *server, address.sockaddr(), log) };
        }
        self.next = start + count;
    }

    /// # Safety
    /// As above.
    unsafe fn begin(
        &mut self,
        cycle: *const ngx_cycle_t,
        zone: &Zone,
        server: ServerId,
        address: &[u8],
        log: *mut ngx_log_t,
    ) {
        if self.running.try_reserve(1).is_err() {
            return;
        }
        let (connection, begun) = (ptr::null_mut(), nginx::now());
        // `Box::new` would end the worker where there is no memory.
        // SAFETY: an attempt has a size.
        let attempt = unsafe { alloc(Layout::new::<Attempt>()) }.cast::<Attempt>();
        if attempt.is_null() {
            return;
        }
        // SAFETY: it has room for an attempt, as a box has. By this function's contract; the address is a
        // whole socket address. What nginx calls back with lives until it is closed.
        unsafe {
            attempt.write(Attempt { connection, cycle, zone, server, begun });
            match Socket::connect(address.as_ptr().cast(), address.len() as socklen_t) {
                (_, Progress::Done(result)) => (*attempt).note(result),
                (Some(socket), Progress::Begun) => {
                    (*attempt).connection = socket.watch(attempt, log);
                }
                // Something is missing on this machine: that proves nothing.
                _ => (),
            }
            match (*attempt).connection.is_null() {
                true => Attempt::close(attempt),
                false => self.running.push(attempt),
            }
        }
    }
}

impl Attempt {
    /// # Safety
    /// Called in the event loop.
    unsafe fn note(&self, result: Result<(), Reason>) {
        // SAFETY: the cycle and its zones live if it still runs; by this function's contract.
        unsafe {
            if !ptr::eq(self.cycle, ngx_cycle) {
                return;
            }
            let zone = &*self.zone;
            let mut buffer = [0; Table::MAX_ADDRESS];
            let sessions = zone.sessions();
            let name = sessions.and_then(|it| it.table.address(self.server, &mut buffer));
            let Some(name) = name else { return };
            let event = match result {
                Ok(()) => {
                    Upstreams::of(self.cycle, zone).note_answer(name);
                    Event::Accepted
                }
                Err(reason) => {
                    let alone = lacks_company(self.cycle, zone, name);
                    Event::AttemptFailed { reason, alone }
                }
            };
            evidence::note_begun(zone, self.server, event, self.begun);
        }
    }

    /// # Safety
    /// Called once, in the event loop.
    unsafe fn close(attempt: *mut Attempt) {
        // SAFETY: by this function's contract; `begin` has allocated it as a box is. Nobody else knows the
        // connection.
        unsafe {
            let attempt = Box::from_raw(attempt);
            if !attempt.connection.is_null() {
                ngx_close_connection(attempt.connection);
            }
        }
    }
}

/// The connection of an attempt has come to something.
unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: nginx calls with an event of a connection whose data is its attempt, which lives as long
    // as the connection.
    unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        let attempt = &mut *(*connection).data.cast::<Attempt>();
        if (*connection).close() != 0 {
            // The worker is shutting down: that says nothing of the server.
            attempt.connection = ptr::null_mut();
            ngx_close_connection(connection);
            return;
        }
        let result = match socket_error((*connection).fd) {
            0 => Ok(()),
            error => match reason_of(error) {
                Some(reason) => Err(reason),
                None => {
                    attempt.connection = ptr::null_mut();
                    ngx_close_connection(connection);
                    return;
                }
            },
        };
        attempt.connection = ptr::null_mut();
        ngx_close_connection(connection);
        attempt.note(result);
    }
}

/// What became of a `connect`.
enum Progress {
    Done(Result<(), Reason>),
    Begun,
    /// It failed for want of something here.
    Local,
}

struct Socket(c_int);

impl Socket {
    /// # Safety
    /// `address` is the start of a socket address of `len` bytes.
    unsafe fn connect(address: *const sockaddr, len: socklen_t) -> (Option<Socket>, Progress) {
        // SAFETY: by this function's contract.
        unsafe {
            let family = c_int::from((*address).sa_family);
            let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let socket = match libc::socket(family, flags, 0) {
                -1 => return (None, Progress::Local),
                number => Socket(number),
            };
            if libc::connect(socket.0, address.cast(), len) == 0 {
                return (Some(socket), Progress::Done(Ok(())));
            }
            let progress = match Error::last_os_error().raw_os_error().unwrap_or(0) {
                libc::EINPROGRESS => Progress::Begun,
                error => match reason_of(error) {
                    Some(reason) => Progress::Done(Err(reason)),
                    None => Progress::Local,
                },
            };
            (Some(socket), progress)
        }
    }

    /// Has nginx tell what becomes of it; null if that cannot be.
    ///
    /// # Safety
    /// Called in the event loop; `attempt` lives as long as the connection.
    unsafe fn watch(self, attempt: *mut Attempt, log: *mut ngx_log_t) -> *mut ngx_connection_t {
        // SAFETY: by this function's contract. A connection takes the socket over.
        unsafe {
            let connection = ngx_get_connection(self.0, log);
            let Some(c) = connection.as_mut() else { return ptr::null_mut() };
            mem::forget(self);
            c.data = attempt.cast::<c_void>();
            c.log = log;
            for event in [c.read, c.write] {
                (*event).handler = Some(on_event);
                (*event).log = log;
            }
            let added = sticky_learn_watch_connection(connection);
            if added == ERROR {
                ngx_close_connection(connection);
                return ptr::null_mut();
            }
            connection
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: the socket is nobody else's.
        unsafe { libc::close(self.0) };
    }
}

/// Why a server cannot be reached, if one more `connect` says so at once; `None` if it does not, or if
/// the reason is on this machine.
///
/// # Safety
/// As for [`Socket::connect`].
pub unsafe fn connect_once(address: *const sockaddr, len: socklen_t) -> Option<Reason> {
    if address.is_null() {
        return None;
    }
    // SAFETY: by this function's contract.
    match unsafe { Socket::connect(address, len) } {
        (_, Progress::Done(Err(reason))) => Some(reason),
        _ => None,
    }
}

fn socket_error(socket: c_int) -> c_int {
    let mut error: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: both are writable, and as large as is said.
    let result = unsafe {
        let at = (&raw mut error).cast();
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_ERROR, at, &mut len)
    };
    match result {
        0 => error,
        _ => Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
    }
}

/// What an error of `connect` says of the server; `None` if it is about this machine (`EADDRNOTAVAIL`,
/// `ENETUNREACH`, `EMFILE` and the like).
fn reason_of(error: c_int) -> Option<Reason> {
    match error {
        // A missing file is a Unix socket that nobody listens at.
        libc::ECONNREFUSED | libc::ENOENT => Some(Reason::Refused),
        libc::ECONNRESET | libc::ECONNABORTED => Some(Reason::Reset),
        // Of a Unix socket whose queue is full.
        libc::ETIMEDOUT | libc::EAGAIN => Some(Reason::TimedOut),
        libc::EHOSTUNREACH | libc::EHOSTDOWN => Some(Reason::NoRoute),
        _ => None,
    }
}
