//! One attempt to reach a server: a TCP connection that is closed as soon as it is established.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use std::alloc::{alloc, Layout};

use affinity::servers::{Event, Reason};
use affinity::table::{ServerId, Table, Tick};
use nginx_sys::{ngx_close_connection, ngx_connection_t, ngx_cycle_t, ngx_event_t, ngx_log_t};

use super::evidence;
use super::socket::{error_of, reason_of, ConnectResult, Socket};
use super::upstreams::{lacks_company, Upstreams};
use crate::conf::zones;
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::zone::Zone;

/// An attempt, running or ended.
struct Attempt {
    /// `None` after the attempt has ended.
    connection: Cell<Option<NonNull<ngx_connection_t>>>,
    zone: ZoneOf,
    server: ServerId,
    begun: Tick,
}

/// A zone of a cycle that may have ended since. An index and a comparison instead of a reference: nothing
/// dangles, and a later cycle at the same address has a zone, or none, of its own at the index.
struct ZoneOf {
    cycle: *const ngx_cycle_t,
    index: usize,
}

impl ZoneOf {
    /// Whether the zone is one of this cycle.
    fn is_of(&self, cycle: Cycle<'_>) -> bool {
        ptr::eq(self.cycle, cycle.raw())
    }

    /// The zone, if it is one of this cycle.
    fn find<'c>(&self, cycle: Cycle<'c>) -> Option<&'c Zone> {
        self.is_of(cycle).then(|| zones(cycle).get(self.index).copied())?
    }
}

/// An attempt in memory of its own, which does not move: nginx's event has its address. Dropping this ends
/// it.
pub(super) struct Running(NonNull<Attempt>);

impl Running {
    /// Begins an attempt to reach a server of the zone with this index; `None` if it has ended at once or could not begin.
    pub(super) fn begin(
        cycle: Cycle<'_>,
        zone: usize,
        server: ServerId,
        address: &[u8],
        log: *mut ngx_log_t,
    ) -> Option<Running> {
        let connection = Cell::new(None);
        let zone = ZoneOf { cycle: cycle.raw(), index: zone };
        let attempt = Attempt { connection, zone, server, begun: nginx::now() };
        let socket = match Socket::connect(address) {
            (Some(socket), ConnectResult::Begun) => socket,
            (_, ConnectResult::Done(result)) => {
                attempt.note(cycle, result);
                return None;
            }
            // The failure is on this machine: no evidence about the server.
            _ => return None,
        };
        // `Box::new` would abort the worker if memory is short.
        // SAFETY: the size of an attempt is not zero; the layout is that of a box.
        let place = unsafe { NonNull::new(alloc(Layout::new::<Attempt>()).cast::<Attempt>())? };
        // SAFETY: the memory was allocated for one attempt.
        unsafe { place.write(attempt) };
        let running = Running(place);
        // SAFETY: the attempt lives until its connection is closed, by its event or by `drop`.
        let connection = unsafe { socket.watch(place.as_ptr().cast(), Some(on_event), log)? };
        running.attempt().connection.set(Some(connection));
        Some(running)
    }

    fn attempt(&self) -> &Attempt {
        // SAFETY: `begin` has written the attempt, and only dropping this value frees it.
        unsafe { self.0.as_ref() }
    }

    /// Whether the attempt must end when the attempts of the zone with this index end. True also for one of a
    /// former cycle.
    pub(super) fn is_over(&self, cycle: Cycle<'_>, zone: usize) -> bool {
        let of = &self.attempt().zone;
        !of.is_of(cycle) || of.index == zone
    }

    /// Ends the attempt; if it still runs, it has failed by timeout.
    pub(super) fn time_out(self, cycle: Cycle<'_>) {
        if self.attempt().connection.get().is_some() {
            self.attempt().note(cycle, Err(Reason::TimedOut));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: `begin` has allocated the attempt with the layout of a box. Only the attempt uses its
        // connection, which is open: an event that closes it sets `None`.
        unsafe {
            let attempt = Box::from_raw(self.0.as_ptr());
            if let Some(connection) = attempt.connection.get() {
                ngx_close_connection(connection.as_ptr());
            }
        }
    }
}

impl Attempt {
    /// Records the result of the attempt, if `cycle`, the running one, has begun it.
    fn note(&self, cycle: Cycle<'_>, result: Result<(), Reason>) {
        let Some(zone) = self.zone.find(cycle) else { return };
        let mut buffer = [0; Table::MAX_ADDRESS];
        let sessions = zone.sessions();
        let name = sessions.and_then(|it| it.table.address(self.server, &mut buffer));
        let Some(name) = name else { return };
        let event = match result {
            Ok(()) => {
                Upstreams::of(cycle, zone).note_answer(name);
                Event::Accepted
            }
            Err(reason) => {
                let alone = lacks_company(cycle, zone, name);
                Event::AttemptFailed { reason, alone }
            }
        };
        evidence::note_begun(zone, self.server, event, self.begun);
    }
}

/// Called when an attempt's connection is established or has failed.
unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: nginx passes an event of a connection that `Socket::watch` has made: its data are the attempt,
    // which lives until the connection is closed.
    unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        let attempt = &*(*connection).data.cast::<Attempt>();
        // A worker that shuts down closes its connections: no evidence about the server.
        let result = match (*connection).close() != 0 {
            true => None,
            false => match error_of((*connection).fd) {
                0 => Some(Ok(())),
                error => reason_of(error).map(Err),
            },
        };
        attempt.connection.set(None);
        ngx_close_connection(connection);
        if let Some(result) = result {
            Cycle::with_running(|cycle| attempt.note(cycle, result));
        }
    }
}
