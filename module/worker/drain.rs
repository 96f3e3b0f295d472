//! Removes the sessions of servers whose drain deadline has passed.

use affinity::table::{End, ServerId, Span, Tick};

use super::sweep::SLOTS;
use crate::zone::sessions::Pass;
use crate::zone::Zone;

/// The servers whose drain deadline has passed: one after the other, each at most once in a turn.
pub(super) struct Drains {
    /// Whether all servers of this turn are done.
    done: bool,
    /// Whether a server was chosen in this turn.
    begun: bool,
    /// Whether the pass over the current server's sessions runs.
    at_work: bool,
    /// The current or the last server: the index of its zone, and its id there.
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

    /// Begins a turn. An unfinished pass of the last turn continues.
    pub(super) fn again(&mut self) {
        self.done = false;
        self.begun = self.at_work;
    }

    /// Removes some sessions of a server. Returns whether there may be more to do in this turn.
    pub(super) fn step(&mut self, zones: &[&Zone], now: Tick) -> bool {
        if !self.at_work && !self.done {
            self.choose(zones, now);
        }
        if self.at_work {
            // With `master_process off` a reload may have put another zone at this index, without the server.
            let sessions = zones.get(self.zone).and_then(|zone| zone.sessions());
            let forgotten = sessions.and_then(|sessions| {
                sessions.with_address(self.server, |address| {
                    sessions.forget_server(address, End::Drained, &mut self.pass, SLOTS)
                })
            });
            self.at_work = forgotten.flatten().is_some();
        }
        !self.done
    }

    /// Chooses the next server.
    fn choose(&mut self, zones: &[&Zone], now: Tick) {
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
