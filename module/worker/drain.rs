//! Empties servers whose time to drain is over.

use crate::worker::STEP;
use crate::zone::sessions::Pass;
use crate::zone::Zone;
use affinity::table::{ServerId, Span, Tick};

/// Servers whose time to drain is over lose their sessions: one after the other, each at most once
/// in a turn.
pub(super) struct Drains {
    /// All of this turn have been seen to.
    done: bool,
    /// There has been one in this turn.
    begun: bool,
    /// It is at work on one.
    at_work: bool,
    /// That one, or the last: number of its zone, and in its list.
    zone: usize,
    server: ServerId,
    pass: Pass,
}

impl Drains {
    /// A turn begins.
    pub(super) fn again(&mut self) {
        self.done = false;
        self.begun = self.at_work;
    }

    /// Forgets some sessions of a server. Whether there may be more to do in this turn.
    ///
    /// # Safety
    /// The zones are those of a live cycle.
    pub(super) unsafe fn step(&mut self, zones: &[*mut Zone], now: Tick) -> bool {
        if !self.at_work && !self.done {
            // SAFETY: by this function's contract.
            unsafe { self.choose(zones, now) };
        }
        if self.at_work {
            // SAFETY: as above. After a reload of a process that is its own master, there may be
            // another zone, which does not know the server.
            let sessions = zones.get(self.zone).and_then(|&zone| unsafe { (*zone).sessions() });
            let forgotten = sessions.and_then(|sessions| {
                sessions.with_address(self.server, |address| {
                    sessions.forget_server(address, &mut self.pass, STEP)
                })
            });
            self.at_work = forgotten.flatten().is_some();
        }
        !self.done
    }

    /// Takes on the next server.
    ///
    /// # Safety
    /// The zones are those of a live cycle.
    unsafe fn choose(&mut self, zones: &[*mut Zone], now: Tick) {
        let last = self.begun.then_some((self.zone, self.server.index));
        let next = zones.iter().enumerate().find_map(|(number, &zone)| {
            // SAFETY: by this function's contract.
            let sessions = unsafe { (*zone).sessions() }.filter(|sessions| sessions.drains())?;
            let is_over = |deadline: Tick| deadline.since(now) == Span(0);
            let (server, _) = sessions.draining().find(|(server, draining)| {
                let live = || sessions.table.server_stats(*server).is_some_and(|it| it.live > 0);
                Some((number, server.index)) > last
                    && draining.deadline().is_some_and(is_over)
                    && live()
            })?;
            Some((number, server))
        });
        self.done = next.is_none();
        if let Some((zone, server)) = next {
            (self.begun, self.at_work) = (true, true);
            (self.zone, self.server, self.pass) = (zone, server, Pass::default());
        }
    }
}
