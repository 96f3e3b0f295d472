//! The connection of one worker that hears the messages of all machines.
//!
//! Managed stores refuse other commands on it: it only pings.

use super::link::{error_of, Options};
use super::message::{Message, Senders};
use super::resp::{self, Commands, Item, Reply};
use super::secret::Keys;

/// Milliseconds between two pings.
pub const PING_EVERY: u64 = 1_000;

/// Without any reply for so long, the connection has failed.
pub const SILENT_AFTER: u64 = 3_000;

/// The connection that hears messages.
#[derive(Debug)]
pub struct Subscription {
    options: Options,
    keys: Keys,
    output: Commands,
    senders: Senders,
    /// Replies to come before the one to `SUBSCRIBE`.
    before: u32,
    is_on: bool,
    heard_at: u64,
    pinged_at: u64,
}

/// What a reply has brought.
#[derive(Debug)]
pub enum Heard<'i> {
    /// The reply is not complete.
    Incomplete,
    /// Nothing.
    Quiet,
    /// From now on all messages are heard.
    On,
    /// A message.
    Message(Message<'i>),
    /// A message that no machine of this fleet has made, or that was heard before.
    Foreign,
}

impl Subscription {
    /// A connection that is not open.
    pub fn new(options: Options, keys: Keys) -> Subscription {
        Subscription {
            options,
            keys,
            output: Commands::new(),
            senders: Senders::default(),
            before: 0,
            is_on: false,
            heard_at: 0,
            pinged_at: 0,
        }
    }

    /// The connection is open.
    pub fn connected(&mut self, now: u64) {
        (self.heard_at, self.pinged_at, self.is_on, self.before) = (now, now, false, 0);
        self.output.clear();
        if let Some(password) = &self.options.password {
            self.before = 1;
            match self.options.user.is_empty() {
                true => self.output.push(&[&[b"AUTH"], &[password]]),
                false => self.output.push(&[&[b"AUTH"], &[&self.options.user], &[password]]),
            }
        }
        self.output.push(&[&[b"SUBSCRIBE"], &self.options.channel()]);
    }

    /// Whether messages are heard.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// The bytes to send.
    pub fn output(&mut self) -> &mut Commands {
        &mut self.output
    }

    /// To be called now and then: pings. False if the connection has failed.
    pub fn tick(&mut self, now: u64) -> bool {
        if now.saturating_sub(self.heard_at) >= SILENT_AFTER {
            return false;
        }
        if self.is_on && now.saturating_sub(self.pinged_at) >= PING_EVERY {
            self.pinged_at = now;
            self.output.push(&[&[b"PING"]]);
        }
        true
    }

    /// Reads the next reply. An error is for the log: the connection is to be closed.
    pub fn receive<'i>(
        &mut self,
        input: &'i [u8],
        now: u64,
    ) -> Result<(usize, Heard<'i>), &'static str> {
        let reply = resp::read(input).map_err(|_| "sent an invalid reply")?;
        let Some((reply, len)) = reply else { return Ok((0, Heard::Incomplete)) };
        self.heard_at = now;
        if error_of(&reply).is_some() {
            return Err("does not let this user subscribe");
        }
        let heard = match reply {
            Reply::One(Item::Simple(_)) if self.before > 0 => {
                self.before -= 1;
                Heard::Quiet
            }
            Reply::One(Item::Simple(b"PONG")) => Heard::Quiet,
            Reply::Many(items) => match items.as_slice() {
                [Item::Bulk(b"message"), Item::Bulk(_), Item::Bulk(message)] => {
                    match Message::open(&self.keys, message) {
                        Some((origin, message)) if self.senders.is_new(origin) => {
                            Heard::Message(message)
                        }
                        _ => Heard::Foreign,
                    }
                }
                [Item::Bulk(b"subscribe"), ..] => {
                    self.is_on = true;
                    Heard::On
                }
                [Item::Bulk(b"pong"), ..] => Heard::Quiet,
                _ => return Err("sent a reply to no command"),
            },
            Reply::One(_) => return Err("sent a reply to no command"),
        };
        Ok((len, heard))
    }
}
