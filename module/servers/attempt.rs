//! One attempt to reach a server: a TCP connection that is closed when it stands.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use std::alloc::{alloc, Layout};

use affinity::servers::{Event, Reason};
use affinity::table::{ServerId, Table, Tick};
use nginx_sys::{ngx_close_connection, ngx_connection_t, ngx_event_t, ngx_log_t};

use super::evidence;
use super::socket::{error_of, reason_of, Progress, Socket};
use super::upstreams::{lacks_company, Upstreams};
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::zone::Zone;

/// A connection that is being made, or was.
struct Attempt {
    /// `None` when it has ended.
    connection: Cell<Option<NonNull<ngx_connection_t>>>,
    /// The cycle that began it. Both live as long as the cycle.
    cycle: Cycle<'static>,
    zone: &'static Zone,
    server: ServerId,
    begun: Tick,
}

/// An attempt that runs. It stays where it is, for nginx calls back with its address, until it is dropped.
pub(super) struct Running(NonNull<Attempt>);

impl Running {
    /// Begins an attempt to reach a server; `None` if it has ended at once, or could not be begun.
    pub(super) fn begin(
        cycle: Cycle<'static>,
        zone: &'static Zone,
        server: ServerId,
        address: &[u8],
        log: *mut ngx_log_t,
    ) -> Option<Running> {
        let connection = Cell::new(None);
        let attempt = Attempt { connection, cycle, zone, server, begun: nginx::now() };
        let socket = match Socket::connect(address) {
            (Some(socket), Progress::Begun) => socket,
            (_, Progress::Done(result)) => {
                attempt.note(result);
                return None;
            }
            // Something is missing on this machine: that proves nothing.
            _ => return None,
        };
        // `Box::new` would end the worker where there is no memory.
        // SAFETY: an attempt has a size, and the room is as a box has it.
        let place = unsafe { NonNull::new(alloc(Layout::new::<Attempt>()).cast::<Attempt>())? };
        // SAFETY: it has room for an attempt.
        unsafe { place.write(attempt) };
        let running = Running(place);
        // SAFETY: the attempt lives until its connection is closed, at the latest by `drop`.
        let connection = unsafe { socket.watch(place.as_ptr().cast(), Some(on_event), log)? };
        running.attempt().connection.set(Some(connection));
        Some(running)
    }

    fn attempt(&self) -> &Attempt {
        // SAFETY: it was written by `begin`, and goes with this value.
        unsafe { self.0.as_ref() }
    }

    /// Whether its time is over when the attempts of a zone are: or it is of a former cycle.
    pub(super) fn is_over(&self, cycle: Cycle<'_>, zone: &Zone) -> bool {
        let attempt = self.attempt();
        // The zone of a former cycle may be gone.
        attempt.cycle != cycle || ptr::eq(attempt.zone, zone)
    }

    /// Ends it: if nothing has come of it so far, it has failed.
    pub(super) fn time_out(self) {
        if self.attempt().connection.get().is_some() {
            self.attempt().note(Err(Reason::TimedOut));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: `begin` has allocated it as a box is. Nobody else knows the connection.
        unsafe {
            let attempt = Box::from_raw(self.0.as_ptr());
            if let Some(connection) = attempt.connection.get() {
                ngx_close_connection(connection.as_ptr());
            }
        }
    }
}

impl Attempt {
    /// Notes what became of it.
    fn note(&self, result: Result<(), Reason>) {
        // The zone lives if its cycle still runs.
        if self.cycle != Cycle::running() {
            return;
        }
        let mut buffer = [0; Table::MAX_ADDRESS];
        let sessions = self.zone.sessions();
        let name = sessions.and_then(|it| it.table.address(self.server, &mut buffer));
        let Some(name) = name else { return };
        let event = match result {
            Ok(()) => {
                Upstreams::of(self.cycle, self.zone).note_answer(name);
                Event::Accepted
            }
            Err(reason) => {
                let alone = lacks_company(self.cycle, self.zone, name);
                Event::AttemptFailed { reason, alone }
            }
        };
        evidence::note_begun(self.zone, self.server, event, self.begun);
    }
}

/// The connection of an attempt has come to something.
unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: nginx calls with an event of a connection whose data is its attempt, which lives as long
    // as the connection.
    unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        let attempt = &*(*connection).data.cast::<Attempt>();
        // A worker that shuts down closes its connections: that says nothing of the server.
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
            attempt.note(result);
        }
    }
}
