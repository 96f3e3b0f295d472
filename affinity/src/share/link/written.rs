//! What is asked of the store and written to it.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;

use super::{channel, Link, To};
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
        while let Some(place) = self.is_up().then(|| self.asking.next_due(now)).flatten() {
            // In this order: who announces after this reply has found the store later than this machine.
            let prefix = self.options.prefix.clone();
            self.send(To::Announcing, now, &[&[b"EXISTS"], &[&prefix, b"announcing"]]);
            self.get(To::Asked(place), place, now);
        }
    }

    /// A session was used: it lives on in the store for `ttl` milliseconds.
    pub fn prolong(&mut self, place: Place, ttl: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(ttl.max(1)).as_bytes();
        let key = self.key(place);
        self.send(To::Prolonged(place), now, &[&[b"PEXPIRE"], &key.parts(), &[ttl]]);
    }

    fn get(&mut self, to: To, place: Place, now: u64) {
        let key = self.key(place);
        self.send(to, now, &[&[b"GET"], &key.parts()]);
    }

    /// A session that a server of this machine has created. What the store had of it is heard of.
    pub fn claim(&mut self, place: Place, held: Held<'_>, ttl: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(ttl.max(1)).as_bytes();
        let Some(value) = self.seal(place, Value::Held(held)) else { return };
        let key = self.key(place);
        let words: [&[&[u8]]; 6] =
            [&[b"SET"], &key.parts(), &[value.as_slice()], &[b"PX"], &[ttl], &[b"GET"]];
        self.send(To::Claimed(place), now, &words);
    }

    /// A session that the store has as this machine has it, unless it has it otherwise. That is heard of.
    pub fn keep(&mut self, place: Place, held: Held<'_>, ttl: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(ttl.max(1)).as_bytes();
        let Some(value) = self.seal(place, Value::Held(held)) else { return };
        let key = self.key(place);
        let words: [&[&[u8]]; 6] =
            [&[b"SET"], &key.parts(), &[value.as_slice()], &[b"PX"], &[ttl], &[b"NX"]];
        self.send(To::Plain, now, &[&[b"MULTI"]]);
        self.send(To::Plain, now, &words);
        self.get(To::Plain, place, now);
        self.send(To::Kept(place), now, &[&[b"EXEC"]]);
    }

    /// A session has moved or ended: the store and all machines are told.
    pub fn change(&mut self, place: Place, value: Value<'_>, ttl: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(ttl.max(1)).as_bytes();
        let Some(bytes) = self.seal(place, value) else { return };
        let key = self.key(place);
        self.send(To::Plain, now, &[&[b"MULTI"]]);
        let words: [&[&[u8]]; 5] = [&[b"SET"], &key.parts(), &[bytes.as_slice()], &[b"PX"], &[ttl]];
        self.send(To::Plain, now, &words);
        self.tell(place, value, now);
        self.send(To::Plain, now, &[&[b"EXEC"]]);
    }

    /// All machines are told of a session.
    pub fn tell(&mut self, place: Place, value: Value<'_>, now: u64) {
        self.origin.number += 1;
        let fingerprint = place.fingerprint;
        let message = Message { zone: self.zone(place), fingerprint, value };
        let Some(keys) = self.keys.as_ref() else { return };
        let message = message.seal(keys, self.origin);
        let channel = channel(&self.options);
        self.send(To::Plain, now, &[&[b"PUBLISH"], &[&channel], &[message.as_slice()]]);
    }

    /// Shows the store that the connection is in use.
    pub fn ping(&mut self, now: u64) {
        self.send(To::Plain, now, &[&[b"PING"]]);
    }

    /// This machine is writing its sessions to the store.
    pub fn announce(&mut self, for_millis: u64, now: u64) {
        let mut digits = itoa::Buffer::new();
        let (prefix, ttl) = (self.options.prefix.clone(), digits.format(for_millis).as_bytes());
        self.send(
            To::Plain,
            now,
            &[&[b"SET"], &[&prefix, b"announcing"], &[b"1"], &[b"PX"], &[ttl]],
        );
    }

    fn seal(&self, place: Place, value: Value<'_>) -> Option<Bytes> {
        Some(value.seal(self.keys.as_ref()?, self.zone(place), place.fingerprint))
    }

    fn key(&self, place: Place) -> SessionKey {
        let mut fingerprint = [0; 11];
        // Eight bytes always fit.
        let _ = URL_SAFE_NO_PAD.encode_slice(place.fingerprint.to_be_bytes(), &mut fingerprint);
        let mut start = self.options.prefix.clone();
        start.extend_from_slice(self.zone(place));
        start.push(b':');
        SessionKey { start, fingerprint }
    }
}

/// The key of a session in the store.
struct SessionKey {
    start: Vec<u8>,
    fingerprint: [u8; 11],
}

impl SessionKey {
    fn parts(&self) -> [&[u8]; 2] {
        [&self.start, &self.fingerprint]
    }
}
