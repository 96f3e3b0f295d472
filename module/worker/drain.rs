//! Empties servers whose time to drain is over.

use affinity::table::{ServerId, Span, Tick};

use super::sweep::SLOTS;
use crate::zone::sessions::Pass;
use crate::zone::Zone;

/// Servers whose time to drain is over lose their sessions: one after the other, each at most once
/// in a turn.
pub(super) struct Drains {
    /// All of this turn are done.
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
    pub(super) const NOTHING: Drains = Drains {
        done: false,
        begun: false,
        at_work: false,
        zone: 0,
        server: ServerId { index: 0, print: 0 },
        pass: Pass::START,
    };

    /// A turn begins.
    pub(super) fn again(&mut self) {
        self.done = false;
        self.begun = self.at_work;
    }

    /// Forgets some sessions of a server. Whether there may be more to do in this turn.
    pub(super) fn step(&mut self, zones: &[&'static Zone], now: Tick) -> bool {
        if !self.at_work && !self.done {
            self.choose(zones, now);
        }
        if self.at_work {
            // After a reload of a process that is its own master, there may be another zone, which does not
            // know the server.
            let sessions = zones.get(self.zone).and_then(|zone| zone.sessions());
            let forgotten = sessions.and_then(|sessions| {
                sessions.with_address(self.server, |address| {
                    sessions.forget_server(address, &mut self.pass, SLOTS)
                })
            });
            self.at_work = forgotten.flatten().is_some();
        }
        !self.done
    }

    /// Takes on the next server.
    fn choose(&mut self, zones: &[&'static Zone], now: Tick) {
        let last = self.begun.then_some((self.zone, self.server.index));
        let next = zones.iter().enumerate().find_map(|(number, &zone)| {
            let sessions = zone.sessions().filter(|sessions| sessions.drains())?;
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
            (self.zone, self.server, self.pass) = (zone, server, Pass::START);
        }
    }
}
