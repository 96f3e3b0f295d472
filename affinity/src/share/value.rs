//! What the store has of a session, or of a server that drains.
//!
//! A version and a kind in one byte, then for a session that lives: when it was created (6 bytes, milliseconds
//! since 1970), its own time to live if it has one (4 bytes, ticks), its server's address; at the end a MAC. A
//! short form: with an address of IPv4 it needs no second allocation in Redis.

use super::secret::{Keys, MAC_LEN};
use crate::table::{Span, Table};

/// Of the session, and of nothing else that has a MAC under the same key.
const PURPOSE: &[u8] = b"value";

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 1 + CREATED_LEN + TTL_LEN + Table::MAX_ADDRESS + MAC_LEN;

const CREATED_LEN: usize = 6;
const TTL_LEN: usize = 4;

const HELD: u8 = 0x11;
const HELD_WITH_TTL: u8 = 0x12;
const ENDED: u8 = 0x13;
const DRAINS: u8 = 0x21;
const SERVES: u8 = 0x22;

/// A session that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// Its server's address, as nginx prints it.
    pub server: &'a [u8],
    /// When it was created: milliseconds since 1970.
    pub created: u64,
    /// Its own time to live.
    pub ttl: Option<Span>,
}

/// A session in the store. A server that drains has no fingerprint: zero stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// It lives.
    Held(Held<'a>),
    /// It has ended: a tombstone.
    Ended,
    /// No session, but a server: it drains until this time (milliseconds since 1970; zero: for ever).
    Drains(&'a [u8], u64),
    /// It drains no longer.
    Serves(&'a [u8]),
}

/// A value as bytes.
#[derive(Clone, Copy)]
pub struct Bytes {
    bytes: [u8; MAX_VALUE],
    len: usize,
}

impl Bytes {
    /// No bytes.
    pub(super) const EMPTY: Bytes = Bytes { bytes: [0; MAX_VALUE], len: 0 };

    /// Appends a text; cuts what is too long.
    pub(super) fn extend(&mut self, text: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let len = text.len().min(room.len());
        room.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        self.len += len;
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Value<'_> {
    /// The value of the session with this fingerprint in a zone.
    pub fn seal(&self, keys: &Keys, zone: &[u8], fingerprint: u64) -> Bytes {
        let mut bytes = self.encode();
        let mac = keys.mac(&[PURPOSE, zone, &fingerprint.to_be_bytes(), bytes.as_slice()]);
        bytes.extend(&mac);
        bytes
    }

    /// Without a MAC.
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = Bytes::EMPTY;
        match self {
            Value::Ended => bytes.extend(&[ENDED]),
            Value::Drains(server, until) => {
                bytes.extend(&[DRAINS]);
                let [_, _, until @ ..] = until.to_be_bytes();
                bytes.extend(&until);
                bytes.extend(server);
            }
            Value::Serves(server) => {
                bytes.extend(&[SERVES]);
                bytes.extend(server);
            }
            Value::Held(Held { server, created, ttl }) => {
                bytes.extend(&[if ttl.is_some() { HELD_WITH_TTL } else { HELD }]);
                let [_, _, created @ ..] = created.to_be_bytes();
                bytes.extend(&created);
                if let Some(Span(ticks)) = ttl {
                    bytes.extend(&ticks.to_be_bytes());
                }
                bytes.extend(server);
            }
        }
        bytes
    }
}

impl<'a> Value<'a> {
    /// Reads a value of the store. `None` if [`Value::seal`] has not made it for this session under these keys.
    pub fn open(keys: &Keys, zone: &[u8], fingerprint: u64, bytes: &'a [u8]) -> Option<Value<'a>> {
        let (value, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_LEN)?)?;
        keys.is_mac(&[PURPOSE, zone, &fingerprint.to_be_bytes(), value], mac)
            .then(|| Value::decode(value))?
    }

    /// Without a MAC.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Value<'a>> {
        let (&kind, rest) = bytes.split_first()?;
        if kind == ENDED {
            return rest.is_empty().then_some(Value::Ended);
        }
        let (time, rest) = match kind {
            HELD | HELD_WITH_TTL | DRAINS => {
                let (time, rest) = rest.split_first_chunk::<CREATED_LEN>()?;
                (time.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), rest)
            }
            _ => (0, rest),
        };
        let (ttl, server) = match kind {
            HELD_WITH_TTL => {
                let (ttl, server) = rest.split_first_chunk::<TTL_LEN>()?;
                (Some(Span(u32::from_be_bytes(*ttl))), server)
            }
            _ => (None, rest),
        };
        let fits = (1..=Table::MAX_ADDRESS).contains(&server.len());
        let value = match kind {
            HELD | HELD_WITH_TTL => Value::Held(Held { server, created: time, ttl }),
            DRAINS => Value::Drains(server, time),
            SERVES => Value::Serves(server),
            _ => return None,
        };
        fits.then_some(value)
    }
}
