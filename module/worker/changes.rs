//! Repeats the changes of old workers to a zone's former memories in its present memory.

use affinity::table::Tick;

use super::sweep::SLOTS;
use crate::zone::sessions::{CatchUp, Sessions};
use crate::zone::Zone;

/// The sessions that old workers have removed or moved in the former memories are removed or moved in the
/// present ones: one pass over all memories in a turn. Lookups do not need it: they check the former memories
/// themselves.
pub(super) struct Changes {
    /// The index of the zone.
    zone: usize,
    /// `None` before the zone's pass has begun.
    pass: Option<CatchUp>,
}

impl Changes {
    pub(super) const NOTHING: Changes = Changes { zone: 0, pass: None };

    /// Begins a turn. An unfinished pass of the last turn continues.
    pub(super) fn again(&mut self, zones: &[&Zone]) {
        if self.zone >= zones.len() {
            (self.zone, self.pass) = (0, None);
        }
    }

    /// Works on some slots. Returns whether there is more to do in this turn.
    pub(super) fn step(&mut self, zones: &[&Zone], now: Tick) -> bool {
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
