//! What nginx does by itself to know its servers: while one cannot be reached, one worker tries to
//! connect to it, once in an interval, so that it is known to be back before a client asks, and known
//! to be gone if it is. The same worker sees which addresses have left DNS.

use crate::conf::{self};
use crate::nginx::{self, millis};
use crate::peers::addresses::Address;
use crate::servers::attempt::Attempt;
use crate::servers::socket::Progress;
use crate::servers::socket::Socket;
use crate::servers::upstreams::drop_addresses;
use crate::servers::upstreams::refresh;
use crate::servers::upstreams::Upstreams;
use crate::zone::Zone;
use affinity::servers::Reason;
use affinity::table::{ServerId, Span};
use core::cell::UnsafeCell;
use core::mem;
use core::ptr;
use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_event_t, ngx_exiting, ngx_log_t,
    ngx_msec_t, ngx_process, socklen_t, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};
use std::alloc::{alloc, Layout};

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
            if let Some(due) = upstreams.look(zone, sessions) {
                attempts().begin_some(cycle, zone, &due, log);
            }
        }
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
