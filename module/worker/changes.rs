//! Does in the present memory of a zone what old workers do in its former ones.

use crate::worker::STEP;
use crate::zone::sessions::{CatchUp, Sessions};
use crate::zone::Zone;
use affinity::table::Tick;

/// What old workers have ended and moved in the former memories of zones is done in the present ones:
/// a pass over all in a turn. Lookups do not wait for it: they see for themselves.
pub(super) struct Changes {
    /// Number of the zone.
    zone: usize,
    pass: CatchUp,
}

impl Changes {
    /// A turn begins. What is left of the last one is done first.
    pub(super) fn again(&mut self, zones: &[*mut Zone]) {
        if self.zone >= zones.len() {
            (self.zone, self.pass) = (0, CatchUp::default());
        }
    }

    /// Works on some slots. Whether there is more to do in this turn.
    ///
    /// # Safety
    /// The zones are those of a live cycle.
    pub(super) unsafe fn step(&mut self, zones: &[*mut Zone], now: Tick) -> bool {
        let Some(&zone) = zones.get(self.zone) else { return false };
        // SAFETY: by this function's contract.
        let zone = unsafe { &*zone };
        let catch_up =
            |sessions: &Sessions| sessions.catch_up_some(&mut self.pass, now, zone.limits(), STEP);
        if !zone.sessions().is_some_and(catch_up) {
            self.zone += 1;
            self.pass = CatchUp::default();
        }
        self.zone < zones.len()
    }
}
