//! What a machine tells all others: a session has moved or ended.
//!
//! A version, the sender (8 random bytes of a worker), the number of the message (8 bytes), the zone with its
//! length, the fingerprint, the session as in a value, a MAC. Each sender counts its messages: one that was
//! heard before has no effect again.

use std::collections::HashMap;

use super::secret::{Keys, MAC_LEN};
use super::value::{Value, MAX_VALUE};

const PURPOSE: &[u8] = b"message";
const VERSION: u8 = 1;

/// The longest name of a zone with shared sessions, in bytes.
pub const MAX_ZONE: usize = 64;

/// The longest message.
const MAX_MESSAGE: usize = 1 + 8 + 8 + 1 + MAX_ZONE + 8 + MAX_VALUE;

/// How many senders are known at most.
const MAX_SENDERS: usize = 4096;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The zone of the session.
    pub zone: &'a [u8],
    /// The key of the session.
    pub fingerprint: u64,
    /// What has become of it: it is held by that server now, or has ended.
    pub value: Value<'a>,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A random number of a worker.
    pub sender: u64,
    /// Counts the messages of the sender from one.
    pub number: u64,
}

/// A message as bytes.
pub struct MessageBytes {
    bytes: [u8; MAX_MESSAGE],
    len: usize,
}

impl MessageBytes {
    fn extend(&mut self, text: &[u8]) {
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

impl<'a> Message<'a> {
    /// The message as bytes.
    pub fn seal(&self, keys: &Keys, origin: Origin) -> MessageBytes {
        let mut bytes = MessageBytes { bytes: [0; MAX_MESSAGE], len: 0 };
        bytes.extend(&[VERSION]);
        bytes.extend(&origin.sender.to_be_bytes());
        bytes.extend(&origin.number.to_be_bytes());
        bytes.extend(&[self.zone.len() as u8]);
        bytes.extend(self.zone);
        bytes.extend(&self.fingerprint.to_be_bytes());
        bytes.extend(self.value.encode().as_slice());
        let mac = keys.mac(&[PURPOSE, bytes.as_slice()]);
        bytes.extend(&mac);
        bytes
    }

    /// Reads a message. `None` if [`Message::seal`] has not made it under these keys.
    pub fn open(keys: &Keys, bytes: &'a [u8]) -> Option<(Origin, Message<'a>)> {
        let (text, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_LEN)?)?;
        if !keys.is_mac(&[PURPOSE, text], mac) {
            return None;
        }
        let (&version, rest) = text.split_first()?;
        let (sender, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (&len, rest) = rest.split_first()?;
        let (zone, rest) = rest.split_at_checked(usize::from(len))?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        if version != VERSION {
            return None;
        }
        let origin =
            Origin { sender: u64::from_be_bytes(*sender), number: u64::from_be_bytes(*number) };
        let fingerprint = u64::from_be_bytes(*fingerprint);
        Some((origin, Message { zone, fingerprint, value: Value::decode(rest)? }))
    }
}

/// The last number of each sender that was heard.
#[derive(Debug, Default)]
pub struct Senders {
    last: HashMap<u64, u64>,
}

impl Senders {
    /// Whether a message is new; it is not from then on.
    pub fn is_new(&mut self, origin: Origin) -> bool {
        if let Some(last) = self.last.get_mut(&origin.sender) {
            let is_new = origin.number > *last;
            *last = origin.number.max(*last);
            return is_new;
        }
        if self.last.len() >= MAX_SENDERS {
            // Most of them are workers that are gone.
            self.last.clear();
        }
        if self.last.try_reserve(1).is_ok() {
            self.last.insert(origin.sender, origin.number);
        }
        true
    }
}
