//! What is asked of the store and written to it.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;

use super::{Link, Options, To, Unconfirmed};
use crate::share::asking::{NoMemory, Place};
use crate::share::message::Message;
use crate::share::value::{Bytes, Held, Value};

impl<T> Link<T> {
    /// Asks for a session that this machine does not know; if the link is not up yet, as soon as it is.
    pub fn ask(&mut self, place: Place, request: T, now: u64) -> Result<(), NoMemory> {
        match self.asking.add(place, request, now)? {
            true if self.is_up() => self.get(To::Asked(place), place, now),
            true => self.asking.defer(place),
            false => (),
        }
        Ok(())
    }

    /// Asks again what is due.
    pub fn ask_again(&mut self, now: u64) {
        let due = if self.is_up() { self.asking.due(now) } else { Vec::new() };
        for place in due {
            // In this order: who announces after this reply has found the store later than this machine.
            let key: [&[u8]; 2] = [&self.options.prefix, b"announcing"];
            self.wire.send(To::Announcing, now, &[&[b"EXISTS"], &key]);
            self.get(To::Asked(place), place, now);
        }
    }

    /// A session was used: it lives on in the store for `ttl` milliseconds.
    pub fn prolong(&mut self, place: Place, ttl: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(ttl.max(1)).as_bytes();
        let key = SessionKey::new(&self.options, place);
        self.wire.send(To::Prolonged(place), now, &[&[b"PEXPIRE"], &key.parts(), &[ttl]]);
    }

    fn get(&mut self, to: To, place: Place, now: u64) {
        let key = SessionKey::new(&self.options, place);
        self.wire.send(to, now, &[&[b"GET"], &key.parts()]);
    }

    /// A session that a server of this machine has created. What the store had of it is heard of.
    pub fn claim(&mut self, place: Place, held: Held<'_>, ttl: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(ttl.max(1)).as_bytes();
        let Some(value) = self.seal(place, Value::Held(held)) else { return };
        let key = SessionKey::new(&self.options, place);
        let words: [&[&[u8]]; 6] =
            [&[b"SET"], &key.parts(), &[value.as_slice()], &[b"PX"], &[ttl], &[b"GET"]];
        self.wire.send(To::Claimed(place), now, &words);
    }

    /// A session that the store has as this machine has it, unless it has it otherwise. That is heard of.
    pub fn keep(&mut self, place: Place, held: Held<'_>, ttl: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(ttl.max(1)).as_bytes();
        let Some(value) = self.seal(place, Value::Held(held)) else { return };
        let key = SessionKey::new(&self.options, place);
        let words: [&[&[u8]]; 6] =
            [&[b"SET"], &key.parts(), &[value.as_slice()], &[b"PX"], &[ttl], &[b"NX"]];
        self.wire.send(To::Plain, now, &[&[b"MULTI"]]);
        self.wire.send(To::Plain, now, &words);
        self.get(To::Plain, place, now);
        self.wire.send(To::Kept(place), now, &[&[b"EXEC"]]);
    }

    /// A session has moved or ended: the store and all machines are told.
    pub fn change(&mut self, place: Place, value: Value<'_>, ttl: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(ttl.max(1)).as_bytes();
        let Some(bytes) = self.seal(place, value) else { return };
        let key = SessionKey::new(&self.options, place);
        self.wire.send(To::Plain, now, &[&[b"MULTI"]]);
        let words: [&[&[u8]]; 5] = [&[b"SET"], &key.parts(), &[bytes.as_slice()], &[b"PX"], &[ttl]];
        self.wire.send(To::Plain, now, &words);
        self.tell(place, value, now);
        let change = match value {
            Value::Ended => Unconfirmed::Ended(place),
            _ => Unconfirmed::Moved(place),
        };
        self.wire.send(To::Changed(change), now, &[&[b"EXEC"]]);
    }

    /// A server of a zone drains until this time (milliseconds since 1970; zero: for ever), or drains no longer.
    /// The store keeps that for `ttl` milliseconds.
    pub fn drain(&mut self, zone: u16, server: &[u8], until: Option<u64>, ttl: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(ttl.max(1)).as_bytes();
        let place = Place { zone, fingerprint: 0 };
        let value = until.map_or(Value::Serves(server), |until| Value::Drains(server, until));
        let Some(bytes) = self.seal(place, value) else { return };
        self.wire.send(To::Plain, now, &[&[b"MULTI"]]);
        let key = drain_key(&self.options, place, server);
        let words: [&[&[u8]]; 5] = [&[b"SET"], &key, &[bytes.as_slice()], &[b"PX"], &[ttl]];
        self.wire.send(To::Plain, now, &words);
        self.tell(place, value, now);
        self.wire.send(To::Plain, now, &[&[b"EXEC"]]);
    }

    /// Asks whether a server drains.
    pub fn ask_whether_drains(&mut self, zone: u16, server: &[u8], now: u64) {
        let place = Place { zone, fingerprint: 0 };
        let key = drain_key(&self.options, place, server);
        self.wire.send(To::Drains(place), now, &[&[b"GET"], &key]);
    }

    /// All machines are told of a session.
    pub fn tell(&mut self, place: Place, value: Value<'_>, now: u64) {
        self.origin.number += 1;
        let zone = self.options.zone(place);
        let message = Message { zone, fingerprint: place.fingerprint, value };
        let Some(keys) = self.keys.as_ref() else { return };
        let message = message.seal(keys, self.origin);
        let words: [&[&[u8]]; 3] = [&[b"PUBLISH"], &self.options.channel(), &[message.as_slice()]];
        self.wire.send(To::Plain, now, &words);
    }

    /// Shows the store that the connection is in use.
    pub fn ping(&mut self, now: u64) {
        self.wire.send(To::Plain, now, &[&[b"PING"]]);
    }

    /// This machine is writing its sessions to the store.
    pub fn announce(&mut self, for_millis: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(for_millis).as_bytes();
        let key: [&[u8]; 2] = [&self.options.prefix, b"announcing"];
        self.wire.send(To::Plain, now, &[&[b"SET"], &key, &[b"1"], &[b"PX"], &[ttl]]);
    }

    fn seal(&self, place: Place, value: Value<'_>) -> Option<Bytes> {
        Some(value.seal(self.keys.as_ref()?, self.options.zone(place), place.fingerprint))
    }
}

/// The key of a server that may drain. That of a session has eleven characters behind the last colon, and no `=`.
fn drain_key<'a>(options: &'a Options, place: Place, server: &'a [u8]) -> [&'a [u8]; 4] {
    [&options.prefix, options.zone(place), b":drain=", server]
}

/// The key of a session in the store.
struct SessionKey<'a> {
    prefix: &'a [u8],
    zone: &'a [u8],
    fingerprint: [u8; 11],
}

impl<'a> SessionKey<'a> {
    fn new(options: &'a Options, place: Place) -> SessionKey<'a> {
        let mut fingerprint = [0; 11];
        // Eight bytes always fit.
        let _ = URL_SAFE_NO_PAD.encode_slice(place.fingerprint.to_be_bytes(), &mut fingerprint);
        SessionKey { prefix: &options.prefix, zone: options.zone(place), fingerprint }
    }

    fn parts(&self) -> [&[u8]; 4] {
        [self.prefix, self.zone, b":", &self.fingerprint]
    }
}
