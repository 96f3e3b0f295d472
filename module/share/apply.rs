//! What the store and other machines say, applied to the tables.

use affinity::ask::Ticket;
use affinity::share::asking::Place;
use affinity::share::link::{self, Event, Known};
use affinity::share::message::Message;
use affinity::share::value::{Held, Value};
use affinity::status::Draining;
use affinity::table::{Bound, End, Existing, Key, Span, Tick};
use nginx_sys::NGX_LOG_NOTICE;

use super::member::{Member, Unsent};
use super::write::ttl_of;
use crate::conf::source::Answer;
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::wait;
use crate::zone::Zone;

impl Member {
    /// A reply of the store. Called within a call of the connection: what is written here is sent after it.
    pub(super) fn hear(&self, event: Event<'_, Ticket>) {
        match event {
            Event::Incomplete | Event::Quiet => (),
            Event::Joined => self.joined(),
            Event::JoinedWith(root) => {
                self.take_secret(root);
                self.joined();
            }
            Event::NoSecret => self.note_secretless(),
            Event::Answer(place, answer, waiting) => self.answer(place, answer, waiting),
            Event::Known(place, known) => self.take_known(place, known),
        }
    }

    /// The store can be used.
    fn joined(&self) {
        self.secretless_since.set(None);
        if let Some(away) = self.fleet.standing.found(nginx::millis()) {
            let (name, seconds) = (self.fleet.name, away / 1000);
            Cycle::with_running(|cycle| {
                ngx::ngx_log_error!(
                    NGX_LOG_NOTICE,
                    cycle.log(),
                    "sticky_share \"{name}\": the store is back after {seconds} s"
                );
            });
        }
        let unsent = core::mem::take(&mut *self.unsent.borrow_mut());
        unsent.into_iter().for_each(|unsent| self.write(unsent));
        let drains = core::mem::take(&mut *self.unsent_drains.borrow_mut());
        for (zone, server, draining) in drains {
            self.drain(zone, &server, draining);
        }
        self.link.borrow_mut().ask_again(nginx::millis());
    }

    fn answer(&self, place: Place, answer: link::Answer<'_>, waiting: Vec<Ticket>) {
        let Some((zone, key)) = self.zone(place).zip(Key::from_fingerprint(place.fingerprint))
        else {
            return;
        };
        let now = nginx::millis();
        let tell = |answer: fn() -> Answer<'static>| {
            waiting.iter().for_each(|ticket| wait::answer(*ticket, answer()));
        };
        match answer {
            link::Answer::Held(held) => {
                bind(zone, key, &held);
                let ttl = ttl_of(zone, key);
                for ticket in &waiting {
                    wait::answer(*ticket, Answer::Server(held.server));
                }
                if let Some(ttl) = ttl.filter(|_| held.ttl.is_none()) {
                    self.link.borrow_mut().prolong(place, ttl, now);
                }
            }
            link::Answer::Ended => {
                end(zone, key);
                tell(|| Answer::Nobody);
            }
            link::Answer::Nothing if self.fleet.standing.is_proof(now) => tell(|| Answer::Nobody),
            link::Answer::Nothing | link::Answer::Unproven => tell(|| Answer::Failed),
        }
    }

    fn take_known(&self, place: Place, known: Known<'_>) {
        if let (0, Known::Is(value), Some(zone)) = (place.fingerprint, known, self.zone(place)) {
            return drain(zone, &value);
        }
        let Some((zone, key)) = self.zone(place).zip(Key::from_fingerprint(place.fingerprint))
        else {
            return;
        };
        match known {
            Known::Is(Value::Held(held)) => {
                if has(zone, key) {
                    bind(zone, key, &held);
                }
            }
            Known::Is(Value::Ended) => end(zone, key),
            Known::Lost => self.write(Unsent::Kept(place)),
            // The newest session of an id counts: others that know the old one are told.
            Known::Was(Value::Held(held)) => {
                let is_other = |address: &[u8]| address != held.server;
                let sessions = zone.sessions();
                let own = sessions.and_then(|sessions| {
                    let server = sessions.table.held(key)?.session.server;
                    sessions.with_address(server, is_other)
                });
                if own == Some(true) {
                    self.write(Unsent::Told(place));
                }
            }
            Known::Was(_) | Known::Is(_) => (),
        }
    }
}

/// A message of another machine, or of this one.
pub(super) fn apply(zone: &Zone, message: &Message<'_>) {
    let Some(key) = Key::from_fingerprint(message.fingerprint) else {
        return drain(zone, &message.value);
    };
    match message.value {
        Value::Held(held) if has(zone, key) => bind(zone, key, &held),
        // This machine asks when it needs the session.
        Value::Held(_) => (),
        Value::Ended => end(zone, key),
        Value::Drains(..) | Value::Serves(_) => (),
    }
}

/// Whether a server drains, by the store or a message.
fn drain(zone: &Zone, value: &Value<'_>) {
    let (wall, now) = (nginx::wall_clock_millis(), nginx::now());
    let (server, draining) = match *value {
        Value::Drains(server, 0) => (server, Draining::until(None)),
        Value::Drains(server, until) => {
            let left = Span::from_millis(until.saturating_sub(wall));
            (server, Draining::until(Some(Tick(now.0.wrapping_add(left.0)))))
        }
        Value::Serves(server) => (server, Draining::NO),
        Value::Held(_) | Value::Ended => return,
    };
    if let Some(sessions) = zone.sessions() {
        sessions.set_draining(server, draining, now);
    }
}

fn has(zone: &Zone, key: Key) -> bool {
    zone.sessions().is_some_and(|sessions| sessions.table.held(key).is_some())
}

fn bind(zone: &Zone, key: Key, held: &Held<'_>) {
    let (now, limits) = (nginx::now(), zone.limits());
    let age = nginx::wall_clock_millis().saturating_sub(held.created);
    let created = Tick(now.0.wrapping_sub(Span::from_millis(age).0));
    let Some(sessions) = zone.sessions() else { return };
    let bound = sessions.table.intern(held.server, now).map(|server| {
        let ttl = (held.ttl, created);
        sessions.bind_since(key, server, ttl, now, &limits, Existing::Move)
    });
    if bound.is_none_or(|bound| bound == Bound::Refused) {
        zone.report_full_list(Cycle::running_log(), now, held.server);
    }
}

fn end(zone: &Zone, key: Key) {
    if let Some(sessions) = zone.sessions() {
        sessions.forget(key, End::Deleted);
    }
}
