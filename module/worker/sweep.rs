//! Removes expired sessions from the zones.

use affinity::table::Tick;

use crate::zone::Zone;

/// A worker passes over a whole zone in this part of the sessions' timeout, within these bounds
/// (milliseconds). Lookups do not wait for it: they see for themselves what has expired.
const SWEEPS: u64 = 4;
const MIN_SWEEP: u64 = 60_000;
const MAX_SWEEP: u64 = 600_000;

/// Slots that are worked on before requests have their turn again: a twentieth of a millisecond if
/// all sessions in them go.
pub(super) const SLOTS: usize = 240;

/// How far the sweep of this turn has come.
pub(super) struct Sweep {
    /// Number of the zone that is being swept.
    zone: usize,
    /// Slots of it that have been seen in this turn.
    swept: usize,
}

impl Sweep {
    pub(super) const NOTHING: Sweep = Sweep { zone: 0, swept: 0 };

    /// A turn begins. What is left of the last one is done first.
    pub(super) fn again(&mut self, zones: &[&'static Zone]) {
        if self.zone >= zones.len() {
            self.zone = 0;
        }
    }

    /// Sweeps some slots of a zone, then of the next one when the zone's share of a turn is done. There is a turn
    /// every `interval` milliseconds. Gives whether there is more to do in this turn.
    pub(super) fn step(&mut self, zones: &[&'static Zone], now: Tick, interval: u64) -> bool {
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
