//! Removes the records of sessions that have ended.

use crate::zone::Zone;

/// A pass over the records of a zone takes so long (milliseconds). They are not found without their session: the pass
/// only frees their memory.
const PASS: u64 = 60_000;

/// The position of the sweep.
pub(super) struct Records {
    turn: usize,
    /// The index of the zone that is being swept, and how many of its shards were swept in this turn.
    zone: usize,
    swept: usize,
}

impl Records {
    pub(super) const NOTHING: Records = Records { turn: 0, zone: 0, swept: 0 };

    /// Begins a turn.
    pub(super) fn again(&mut self) {
        *self = Records { turn: self.turn.wrapping_add(1), ..Records::NOTHING };
    }

    /// Sweeps a shard, or goes on to the next zone. A turn begins every `interval` milliseconds. Returns whether there is
    /// more to do in this turn.
    pub(super) fn step(&mut self, zones: &[&Zone], interval: u64) -> bool {
        let Some(&zone) = zones.get(self.zone) else { return false };
        let swept = zone.sessions().and_then(|sessions| {
            let records = sessions.records.as_ref()?;
            let share = (records.shards() as u64 * interval).div_ceil(PASS) as usize;
            let mut next = self.turn.wrapping_mul(share).wrapping_add(self.swept);
            (self.swept < share)
                .then(|| records.sweep(&mut next, sessions.last_uses(zone.limits())))
        });
        match swept {
            Some(_) => self.swept += 1,
            None => (self.zone, self.swept) = (self.zone + 1, 0),
        }
        self.zone < zones.len()
    }
}
