//! Removes expired sessions from the zones.

use affinity::table::Tick;

use crate::zone::Zone;

/// A pass over a zone takes a quarter of the sessions' timeout, within these bounds (milliseconds). Lookups
/// do not need it: they check themselves whether a session has expired.
const SWEEPS: u64 = 4;
const MIN_SWEEP: u64 = 60_000;
const MAX_SWEEP: u64 = 600_000;

/// The slots of one step; requests are handled between two steps. A step takes 50 µs if all sessions in the
/// slots are removed.
pub(super) const SLOTS: usize = 240;

/// The position of the sweep in this turn.
pub(super) struct Sweep {
    /// The index of the zone that is being swept.
    zone: usize,
    /// The slots of this zone that were swept in this turn.
    swept: usize,
}

impl Sweep {
    pub(super) const NOTHING: Sweep = Sweep { zone: 0, swept: 0 };

    /// Begins a turn. An unfinished part of the last turn continues.
    pub(super) fn again(&mut self, zones: &[&Zone]) {
        if self.zone >= zones.len() {
            self.zone = 0;
        }
    }

    /// Sweeps some slots of the current zone, and goes on to the next zone when its share of the turn is
    /// done. A turn begins every `interval` milliseconds. Returns whether there is more to do in this turn.
    pub(super) fn step(&mut self, zones: &[&Zone], now: Tick, interval: u64) -> bool {
        let Some(&zone) = zones.get(self.zone) else { return false };
        let from = self.swept;
        self.swept += SLOTS;
        let share = zone.sessions().map_or(0, |sessions| {
            let pass = (zone.limits().timeout.as_millis() / SWEEPS).clamp(MIN_SWEEP, MAX_SWEEP);
            let share = (sessions.table.capacity() * interval / pass) as usize + 1;
            sessions.table.sweep(now, &zone.limits(), SLOTS.min(share.saturating_sub(from)));
            share
        });
        if self.swept >= share {
            self.zone += 1;
            self.swept = 0;
        }
        self.zone < zones.len()
    }
}
