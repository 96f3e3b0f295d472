//! One attempt to reach a server: a TCP connection that is closed when it stands.

use crate::servers::evidence;
use crate::servers::socket::reason_of;
use crate::servers::socket::socket_error;
use crate::servers::upstreams::lacks_company;
use crate::servers::upstreams::Upstreams;
use crate::zone::Zone;
use affinity::servers::{Event, Reason};
use affinity::table::{ServerId, Table, Tick};
use core::ptr;
use nginx_sys::{ngx_close_connection, ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_event_t};

/// A connection that is being made, or was.
pub(super) struct Attempt {
    /// Null when it has ended.
    pub(super) connection: *mut ngx_connection_t,
    /// Both live as long as the cycle.
    pub(super) cycle: *const ngx_cycle_t,
    pub(super) zone: *const Zone,
    pub(super) server: ServerId,
    pub(super) begun: Tick,
}

impl Attempt {
    /// # Safety
    /// Called in the event loop.
    pub(super) unsafe fn note(&self, result: Result<(), Reason>) {
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
    pub(super) unsafe fn close(attempt: *mut Attempt) {
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
pub(super) unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
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
