//! Passes over the tables of a machine, by the worker that listens.
//!
//! After an absence of the store all sessions are written to it. A few times within their timeout, those in use are
//! prolonged there. And what the administrator has ended, all sessions of a server at once, is told.

use affinity::share::asking::Place;
use affinity::table::{Change, End, Key, Listener, Span, Tick};

use super::member::{Member, Unsent};
use super::write::ttl_of;
use crate::nginx;
use crate::nginx::try_box;
use crate::zone::Zone;

/// A session is prolonged so often within its timeout.
const PASSES: u64 = 4;

/// The slots of one step, and the time to the next (milliseconds).
const SLOTS: usize = 240;
const PACE: u64 = 10;

/// The key that says that this machine announces lives for so long, and is written so often (milliseconds).
const ANNOUNCED_FOR: u64 = 3_000;
const ANNOUNCE_EVERY: u64 = 1_000;

/// The passes of a worker.
#[derive(Default)]
pub(super) struct Passes {
    zones: Vec<Pass>,
    /// Whether the sessions are written to the store; if not, prolonged.
    announces: bool,
    announced_at: u64,
}

struct Pass {
    /// Hears all sessions of the zone, once.
    walk: Option<Box<Listener>>,
    /// When the last pass began, and since when sessions count as used.
    begun: u64,
    used_since: Tick,
    /// Hears what ends, and whether it has begun to.
    ends: Option<Box<Listener>>,
    hears_ends: bool,
}

impl Member {
    /// Does one step. Returns when the next is due.
    pub(super) fn pass(&self, passes: &mut Passes, now: u64) -> u64 {
        if !self.listening.has_lease() || !self.link.borrow().is_up() {
            *passes = Passes::default();
            return u64::MAX;
        }
        let zones = self.fleet.zones.borrow();
        if passes.zones.is_empty() {
            let begin = |_: &&Zone| Pass {
                walk: None,
                begun: now,
                used_since: nginx::now(),
                ends: try_box(Listener::new()),
                hears_ends: false,
            };
            passes.zones.extend(zones.iter().map(begin));
        }
        let standing = self.fleet.standing;
        if standing.has_to_announce() && !passes.announces {
            standing.announces();
            (passes.announces, passes.announced_at) = (true, 0);
            passes.zones.iter_mut().for_each(|pass| pass.walk = try_box(Listener::new()));
            for (number, sessions) in zones
                .iter()
                .enumerate()
                .filter_map(|(number, zone)| Some((number, zone.sessions()?)))
            {
                for (server, draining) in sessions.draining() {
                    let drain = |address: &[u8]| self.drain(number as u16, address, draining);
                    let _ = sessions.with_address(server, drain);
                }
            }
        }
        if passes.announces && now.saturating_sub(passes.announced_at) >= ANNOUNCE_EVERY {
            passes.announced_at = now;
            self.link.borrow_mut().announce(ANNOUNCED_FOR, now);
        }
        let announces = passes.announces;
        let mut is_at_work = false;
        for (number, (zone, pass)) in zones.iter().zip(&mut passes.zones).enumerate() {
            let place = |key: Key| Place { zone: number as u16, fingerprint: key.fingerprint() };
            is_at_work |= self.tell_ends(zone, pass, place);
            let every = zone.limits().timeout.as_millis() / PASSES;
            if pass.walk.is_none() && now.saturating_sub(pass.begun) >= every && !announces {
                // A tick earlier, so that none is between two passes.
                let since = now.saturating_sub(pass.begun) + 2 * Span(1).as_millis();
                let since = Span::from_millis(since);
                pass.used_since = Tick(nginx::now().0.wrapping_sub(since.0));
                (pass.walk, pass.begun) = (try_box(Listener::new()), now);
            }
            is_at_work |= self.walk(zone, pass, announces, place);
        }
        if passes.zones.iter().all(|pass| pass.walk.is_none()) {
            passes.announces = false;
        }
        match is_at_work {
            true => now + PACE,
            false => u64::MAX,
        }
    }

    /// Goes on with the pass over a zone. False if there is none.
    fn walk(
        &self,
        zone: &Zone,
        pass: &mut Pass,
        announces: bool,
        place: impl Fn(Key) -> Place,
    ) -> bool {
        let (Some(sessions), Some(walk)) = (zone.sessions(), pass.walk.as_mut()) else {
            return false;
        };
        let mut found = [None; 2 * SLOTS];
        let mut places = found.iter_mut();
        let now = nginx::now();
        let hearing = sessions.table.hear(walk, SLOTS, |heard| {
            let used = heard.held.map(|held| now.since(held.session.used));
            let is_used = used.is_some_and(|idle| idle <= now.since(pass.used_since));
            if let Some(slot) = places.next().filter(|_| announces || is_used) {
                *slot = Some(heard.key);
            }
        });
        for key in found.into_iter().flatten() {
            if announces {
                self.write(Unsent::Kept(place(key)));
            } else if let Some(ttl) = ttl_of(zone, key) {
                self.link.borrow_mut().prolong(place(key), ttl, nginx::millis());
            }
        }
        if !hearing.more {
            pass.walk = None;
        }
        hearing.more
    }

    /// Tells of the sessions that the administrator has ended. Returns whether there is more to tell.
    fn tell_ends(&self, zone: &Zone, pass: &mut Pass, place: impl Fn(Key) -> Place) -> bool {
        let (Some(sessions), Some(ends)) = (zone.sessions(), pass.ends.as_mut()) else {
            return false;
        };
        // The first time all of it, at once: a part of the table has no notes before its turn.
        let slots = if pass.hears_ends { SLOTS } else { usize::MAX };
        pass.hears_ends = true;
        let mut ended = [None; 2 * SLOTS];
        let mut places = ended.iter_mut();
        let hearing = sessions.table.hear(ends, slots, |heard| {
            let is_told = matches!(heard.change, Change::Ended(End::Drained | End::Forgotten));
            if heard.held.is_none() && is_told {
                if let Some(slot) = places.next() {
                    *slot = Some(heard.key);
                }
            }
        });
        ended.into_iter().flatten().for_each(|key| self.write(Unsent::Ended(place(key))));
        hearing.more
    }
}
