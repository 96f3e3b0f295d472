//! What this machine has learned, moved or ended: told to the store.

use affinity::share::asking::Place;
use affinity::share::value::{Held, Value};
use affinity::status::Draining;
use affinity::table::{Bound, End, Existing, Key};

use super::member::{self, Member, Unsent, MAX_UNSENT};
use crate::nginx;
use crate::zone::Zone;

/// The store keeps for so long that a server drains, or did (milliseconds): thirty days.
const DRAIN_TTL: u64 = 30 * 24 * 3600 * 1000;

/// A key was bound in a zone. To be called before the response goes on to the client.
#[inline]
pub fn bound(zone: &Zone, key: Key, bound: Bound, existing: Existing) {
    if zone.share().is_some() {
        match (bound, existing) {
            (Bound::Created, Existing::Move) => tell(zone, key, Unsent::Claimed),
            (Bound::Created, Existing::Keep) => tell(zone, key, Unsent::Kept),
            (Bound::Moved, _) => tell(zone, key, Unsent::Moved),
            (Bound::Refreshed | Bound::Kept | Bound::Refused, _) => (),
        }
    }
}

/// The session of a key has ended, for all machines.
#[inline]
pub fn ended(zone: &Zone, key: Key) {
    if zone.share().is_some() {
        tell(zone, key, Unsent::Ended);
    }
}

/// A server of a zone drains, or drains no longer, for all machines.
pub fn drains(zone: &Zone, server: &[u8], draining: Draining) {
    if let Some((share, member)) = zone.share().and_then(|it| Some((it, member::of(it)?))) {
        member.drain(share.zone, server, draining);
        member.flush();
    }
}

#[cold]
fn tell(zone: &Zone, key: Key, what: fn(Place) -> Unsent) {
    if let Some((share, member)) = zone.share().and_then(|it| Some((it, member::of(it)?))) {
        let place = Place { zone: share.zone, fingerprint: key.fingerprint() };
        member.write(what(place));
        member.flush();
    }
}

impl Member {
    /// Writes whether a server drains. [`Member::flush`] has to follow.
    pub(super) fn drain(&self, zone: u16, server: &[u8], draining: Draining) {
        let left = draining.deadline().map(|deadline| deadline.since(nginx::now()).as_millis());
        let until = match (draining.is_on(), left) {
            (false, _) => None,
            (true, None) => Some(0),
            (true, Some(left)) => Some(nginx::wall_clock_millis() + left),
        };
        let mut link = self.link.borrow_mut();
        if link.is_up() {
            let ttl = left.unwrap_or_default().saturating_add(DRAIN_TTL);
            return link.drain(zone, server, until, ttl, nginx::millis());
        }
        drop(link);
        let mut all = self.unsent_drains.borrow_mut();
        all.retain(|(number, known, _)| (*number, known.as_slice()) != (zone, server));
        let server = nginx::try_copy(server).filter(|_| all.try_reserve(1).is_ok());
        if let Some(server) = server.filter(|_| all.len() < MAX_UNSENT) {
            all.push((zone, server, draining));
        }
    }

    /// Writes about a session, or keeps that for later. [`Member::flush`] has to follow.
    pub(super) fn write(&self, unsent: Unsent) {
        if !self.link.borrow().is_up() {
            return self.keep_unsent(unsent);
        }
        let (Unsent::Claimed(place)
        | Unsent::Kept(place)
        | Unsent::Moved(place)
        | Unsent::Ended(place)
        | Unsent::Told(place)) = unsent;
        let Some((zone, key)) = self.zone(place).zip(Key::from_fingerprint(place.fingerprint))
        else {
            return;
        };
        let now = nginx::millis();
        if let Unsent::Ended(place) = unsent {
            let ttl = idle_ttl(zone);
            return self.link.borrow_mut().change(place, Value::Ended, ttl, now);
        }
        let sessions = zone.sessions();
        let held = sessions.and_then(|it| Some((it, it.table.held(key)?, ttl_of(zone, key)?)));
        let Some((sessions, held, ttl)) = held else { return };
        let created = self.wall_of(held.session.created);
        sessions.with_address(held.session.server, |server| {
            let held = Held { server, created, ttl: held.ttl };
            let mut link = self.link.borrow_mut();
            match unsent {
                Unsent::Claimed(_) => link.claim(place, held, ttl, now),
                Unsent::Kept(_) => link.keep(place, held, ttl, now),
                Unsent::Moved(_) => link.change(place, Value::Held(held), ttl, now),
                Unsent::Told(_) => link.tell(place, Value::Held(held), now),
                Unsent::Ended(_) => (),
            }
        });
    }

    /// See [`super::take_over`].
    pub(super) fn take_over(&self, zone: &Zone, own: Key, key: Key) -> bool {
        let (Some(sessions), now, limits) = (zone.sessions(), nginx::now(), zone.limits()) else {
            return false;
        };
        let held = sessions.lookup(own, now, &limits).and_then(|_| sessions.table.held(own));
        let Some(held) = held else { return false };
        let (ttl, created) = (held.ttl, held.session.created);
        let existing = Existing::Keep;
        let taken =
            sessions.bind_since(key, held.session.server, (ttl, created), now, &limits, existing);
        bound(zone, key, taken, existing);
        sessions.forget(own, End::Replaced);
        true
    }
}

/// For how long the store keeps a session that is idle (milliseconds): two passes later than the machines.
fn idle_ttl(zone: &Zone) -> u64 {
    let timeout = zone.limits().timeout.as_millis();
    timeout.saturating_add(timeout / 2)
}

/// For how long the store keeps a session of this machine from now on (milliseconds).
pub(super) fn ttl_of(zone: &Zone, key: Key) -> Option<u64> {
    let held = zone.sessions()?.table.held(key)?;
    let age = nginx::now().since(held.session.created).as_millis();
    let left = |span: affinity::table::Span| span.as_millis().saturating_sub(age);
    let ttl = held.ttl.map_or_else(|| idle_ttl(zone), left);
    let ttl = zone.limits().lifetime.map_or(ttl, |lifetime| ttl.min(left(lifetime)));
    (ttl > 0).then_some(ttl)
}
