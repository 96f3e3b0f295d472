//! One attempt to reach a server: a TCP connection that is closed as soon as it is established.

use affinity::net::{Next, Output, Protocol};
use affinity::servers::{Event, Reason};
use affinity::table::{ServerId, Table, Tick};

use super::evidence;
use super::socket::reason_of;
use super::upstreams::{lacks_company, Upstreams};
use crate::conf::zones;
use crate::net::address::Address;
use crate::net::connection::{open, Exchange};
use crate::net::error::Error;
use crate::net::to::{Times, To};
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::try_box;

struct Attempt {
    /// The index of the zone in its cycle.
    zone: usize,
    server: ServerId,
    begun: Tick,
}

/// Begins an attempt to reach a server of the zone with this index. It ends within `deadline` milliseconds.
pub(super) fn begin(
    cycle: Cycle<'_>,
    zone: usize,
    server: ServerId,
    address: &[u8],
    deadline: u64,
) {
    let attempt = try_box(Attempt { zone, server, begun: nginx::now() });
    if let (Some(attempt), Some(address)) = (attempt, Address::new(address)) {
        open(cycle, To::Address(address), Times { delay: 0, deadline, lasts: false }, attempt);
    }
}

impl Protocol for Attempt {
    fn connected(&mut self, _: &mut Output) -> Next {
        Next::Done
    }

    fn received(&mut self, input: &[u8], _: &mut Output) -> (usize, Next) {
        (input.len(), Next::Done)
    }

    fn closed(&mut self) -> Next {
        Next::Done
    }
}

impl Exchange for Attempt {
    fn ended(self: Box<Self>, cycle: Cycle<'_>, result: Result<(), Error>) {
        match result {
            Ok(()) => self.note(cycle, Ok(())),
            Err(Error::TimedOut(_)) => self.note(cycle, Err(Reason::TimedOut)),
            Err(Error::Connect(error)) => {
                if let Some(reason) = reason_of(error) {
                    self.note(cycle, Err(reason));
                }
            }
            // The failure is on this machine: no evidence about the server.
            Err(_) => {}
        }
    }
}

impl Attempt {
    /// Records the result.
    fn note(&self, cycle: Cycle<'_>, result: Result<(), Reason>) {
        let Some(&zone) = zones(cycle).get(self.zone) else { return };
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
