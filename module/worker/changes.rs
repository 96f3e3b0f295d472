//! Does in the present memory of a zone what old workers do in its former ones.

use affinity::table::Tick;

use super::sweep::SLOTS;
use crate::zone::sessions::{CatchUp, Sessions};
use crate::zone::Zone;

/// What old workers have ended and moved in the former memories of zones is done in the present ones:
/// a pass over all in a turn. Lookups do not wait for it: they see for themselves.
pub(super) struct Changes {
    /// Number of the zone.
    zone: usize,
    /// `None` before it has begun.
    pass: Option<CatchUp>,
}

impl Changes {
    pub(super) const NOTHING: Changes = Changes { zone: 0, pass: None };

    /// A turn begins. What is left of the last one is done first.
    pub(super) fn again(&mut self, zones: &[&'static Zone]) {
        if self.zone >= zones.len() {
            (self.zone, self.pass) = (0, None);
        }
    }

    /// Works on some slots. Whether there is more to do in this turn.
    pub(super) fn step(&mut self, zones: &[&'static Zone], now: Tick) -> bool {
        let Some(&zone) = zones.get(self.zone) else { return false };
        let pass = self.pass.get_or_insert_with(CatchUp::default);
        let catch_up =
            |sessions: &Sessions| sessions.catch_up_some(pass, now, &zone.limits(), SLOTS);
        if !zone.sessions().is_some_and(catch_up) {
            self.zone += 1;
            self.pass = None;
        }
        self.zone < zones.len()
    }
}
