//! The connection of a worker for commands: what is sent, and what each reply means.
//!
//! Replies come in the order of the commands. After an error or a reply that fits no command the connection is
//! not used any more: what it had not answered is unknown.

mod written;

use core::fmt;
use std::collections::VecDeque;

use super::asking::{Asking, Place};
use super::message::Origin;
use super::resp::{self, Commands, Item, Reply};
use super::secret::{Keys, Root, Stored};
use super::value::{Held, Value};

/// How the store is used.
#[derive(Clone)]
pub struct Options {
    /// What all keys and the channel begin with.
    pub prefix: Vec<u8>,
    /// The name to authenticate with; empty for the store's default user.
    pub user: Vec<u8>,
    /// The password, if the store wants one.
    pub password: Option<Vec<u8>>,
    /// The number of the database.
    pub database: u32,
    /// How long a request waits, in milliseconds.
    pub timeout: u64,
    /// The names of the zones, by their numbers.
    pub zones: Vec<Vec<u8>>,
    /// Whether the machines have the secret from a file.
    pub has_file: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the password.
        f.debug_struct("Options").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What a reply is to.
#[derive(Clone, Copy, Debug)]
enum To {
    /// A command whose reply says nothing but that it was done.
    Plain,
    Secret,
    Announcing,
    /// A question of requests.
    Asked(Place),
    /// A known session that was used.
    Prolonged(Place),
    /// The value before this worker has set it.
    Claimed(Place),
    /// The value, after this worker has set it if there was none.
    Kept(Place),
    /// A server that may drain.
    Drains(Place),
    /// A change that was told to all machines.
    Changed(Unconfirmed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Joining,
    /// The store has no secret, and this machine none either.
    WithoutSecret,
    Up,
}

/// A change that may not have reached the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// The session has moved.
    Moved(Place),
    /// It has ended.
    Ended(Place),
}

/// The connection for commands. `T` names a request.
#[derive(Debug)]
pub struct Link<T> {
    options: Options,
    phase: Phase,
    root: Option<Root>,
    /// Whether `root` is new: another machine may have been faster.
    is_offer: bool,
    keys: Option<Keys>,
    wire: Wire,
    asking: Asking<T>,
    /// Whether another machine is writing its sessions to the store.
    others_announce: bool,
    origin: Origin,
    round_trip: Option<u64>,
}

/// The commands to send, and what their replies will be to.
#[derive(Debug, Default)]
struct Wire {
    output: Commands,
    /// What the next replies are to, and when that was sent.
    awaited: VecDeque<(To, u64)>,
}

impl Wire {
    fn send(&mut self, to: To, now: u64, words: &[&[&[u8]]]) {
        self.output.push(words);
        match self.awaited.try_reserve(1) {
            Ok(()) => self.awaited.push_back((to, now)),
            // A connection without its output is closed.
            Err(_) => self.output.spoil(),
        }
    }
}

/// What a reply has brought.
#[derive(Debug)]
pub enum Event<'i, T> {
    /// The reply is not complete.
    Incomplete,
    /// Nothing.
    Quiet,
    /// The store can be used.
    Joined,
    /// The same, with the secret of the fleet, which this machine did not have.
    JoinedWith(Root),
    /// The store has no secret: [`Link::offer_secret`] after a while, if it is still so.
    NoSecret,
    /// The answer to some requests.
    Answer(Place, Answer<'i>, Vec<T>),
    /// What the store has of a session that this machine knows.
    Known(Place, Known<'i>),
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'i> {
    /// The session lives.
    Held(Held<'i>),
    /// It has ended.
    Ended,
    /// The store has nothing.
    Nothing,
    /// The store has nothing, and another machine is writing its sessions to it.
    Unproven,
}

/// What the store has of a known session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'i> {
    /// This is the session, whatever this machine has thought.
    Is(Value<'i>),
    /// Nothing: the store has lost it.
    Lost,
    /// This was it, before this machine set it.
    Was(Value<'i>),
}

impl<T> Link<T> {
    /// A connection that is not open. `root` is the secret, if this machine has it.
    pub fn new(options: Options, root: Option<Root>, sender: u64) -> Link<T> {
        Link {
            asking: Asking::new(options.timeout),
            options,
            phase: Phase::Closed,
            keys: root.as_ref().map(Root::keys),
            root,
            is_offer: false,
            wire: Wire::default(),
            others_announce: false,
            origin: Origin { sender, number: 0 },
            round_trip: None,
        }
    }

    /// Takes over the secret that another worker of this machine has found.
    pub fn set_root(&mut self, root: Root) {
        (self.root, self.keys, self.is_offer) = (Some(root), Some(root.keys()), false);
    }

    /// Drops all questions. Returns the requests that waited.
    pub fn drop_questions(&mut self) -> Vec<T> {
        self.asking.clear()
    }

    /// The keys of MACs, if the secret is known.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether sessions can be asked for and written.
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Whether the store waits for a secret.
    pub fn lacks_secret(&self) -> bool {
        self.phase == Phase::WithoutSecret
    }

    /// The time of the last reply, in milliseconds since its command.
    pub fn round_trip(&self) -> Option<u64> {
        self.round_trip
    }

    /// The number of sessions that requests wait for.
    pub fn questions(&self) -> usize {
        self.asking.len()
    }

    /// The connection is open.
    pub fn connected(&mut self, now: u64) {
        self.phase = Phase::Joining;
        let Options { user, password, database, .. } = &self.options;
        match password {
            Some(password) if user.is_empty() => {
                self.wire.send(To::Plain, now, &[&[b"AUTH"], &[password]]);
            }
            Some(password) => {
                self.wire.send(To::Plain, now, &[&[b"AUTH"], &[user], &[password]]);
            }
            None => (),
        }
        if *database != 0 {
            let mut digits = itoa::Buffer::new();
            let database = digits.format(*database).as_bytes();
            self.wire.send(To::Plain, now, &[&[b"SELECT"], &[database]]);
        }
        self.ask_for_secret(now);
    }

    /// The connection is closed. Returns the requests that waited, and the changes without a reply.
    pub fn closed(&mut self) -> (Vec<T>, Vec<Unconfirmed>) {
        self.phase = Phase::Closed;
        let mut unconfirmed = Vec::new();
        for (to, _) in self.wire.awaited.drain(..) {
            match to {
                To::Changed(change) if unconfirmed.try_reserve(1).is_ok() => {
                    unconfirmed.push(change)
                }
                _ => (),
            }
        }
        self.wire.output.clear();
        self.others_announce = false;
        if self.is_offer {
            (self.root, self.keys, self.is_offer) = (None, None, false);
        }
        (self.asking.clear(), unconfirmed)
    }

    /// The bytes to send.
    pub fn output(&mut self) -> &mut Commands {
        &mut self.wire.output
    }

    /// Whether a reply is due for longer than a store may take.
    pub fn is_overdue(&self, now: u64) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    fn deadline(&self) -> Option<u64> {
        let (_, since) = self.wire.awaited.front()?;
        Some(since.saturating_add(self.options.timeout.saturating_mul(3)))
    }

    /// When [`Self::ask_again`] or [`Self::is_overdue`] has something to say.
    pub fn next_at(&self) -> Option<u64> {
        let again_at = if self.is_up() { self.asking.next_at() } else { None };
        [again_at, self.deadline()].into_iter().flatten().min()
    }

    /// Makes a secret for a fleet that has none.
    pub fn offer_secret(&mut self, root: Root, now: u64) {
        if self.lacks_secret() {
            self.set_root(root);
            self.is_offer = true;
            self.phase = Phase::Joining;
            self.set_secret(&root, now);
        }
    }

    /// Asks again for the secret that the store did not have.
    pub fn ask_for_secret_again(&mut self, now: u64) {
        if self.lacks_secret() {
            self.phase = Phase::Joining;
            self.ask_for_secret(now);
        }
    }

    fn set_secret(&mut self, root: &Root, now: u64) {
        let text = Stored::write(root, !self.options.has_file);
        let key: [&[u8]; 2] = [&self.options.prefix, b"secret"];
        self.wire.send(To::Plain, now, &[&[b"SET"], &key, &[text.as_bytes()], &[b"NX"]]);
        self.ask_for_secret(now);
    }

    fn ask_for_secret(&mut self, now: u64) {
        self.wire.send(To::Secret, now, &[&[b"GET"], &[&self.options.prefix, b"secret"]]);
    }

    /// Reads the next reply. An error is for the log: the connection is to be closed.
    pub fn receive<'i>(
        &mut self,
        input: &'i [u8],
        now: u64,
    ) -> Result<(usize, Event<'i, T>), &'static str> {
        let reply = resp::read(input).map_err(|_| "sent an invalid reply")?;
        let Some((reply, len)) = reply else { return Ok((0, Event::Incomplete)) };
        let (to, since) = self.wire.awaited.pop_front().ok_or("sent a reply to no command")?;
        self.round_trip = Some(now.saturating_sub(since));
        if let Some(error) = error_of(&reply) {
            return self.refused(to, error).map(|event| (len, event));
        }
        self.apply(to, reply, now).map(|event| (len, event))
    }

    /// A command was refused.
    fn refused<'i>(&mut self, to: To, error: &[u8]) -> Result<Event<'i, T>, &'static str> {
        let code = error.split(|byte| *byte == b' ').next().unwrap_or_default();
        Err(match code {
            // What is not written is asked for at this machine's own clients only.
            b"OOM" | b"EXECABORT" if !matches!(to, To::Secret | To::Asked(_)) => {
                return Ok(Event::Quiet)
            }
            b"NOAUTH" => "wants a password, write \"password_file=FILE\"",
            b"WRONGPASS" => "does not accept the user or its password",
            b"NOPERM" => "does not allow this user what is needed",
            b"LOADING" => "is loading its data",
            b"READONLY" | b"MASTERDOWN" => "is a replica",
            b"OOM" => "is out of memory",
            b"MOVED" | b"ASK" | b"CROSSSLOT" | b"CLUSTERDOWN" => "is a node of a cluster",
            _ => "refused a command",
        })
    }

    fn apply<'i>(
        &mut self,
        to: To,
        reply: Reply<'i>,
        now: u64,
    ) -> Result<Event<'i, T>, &'static str> {
        let item = match reply {
            Reply::One(item) => item,
            // Of a transaction the last result counts.
            Reply::Many(items) => items.as_slice().last().copied().unwrap_or(Item::Nil),
        };
        Ok(match to {
            To::Plain | To::Changed(_) => Event::Quiet,
            To::Secret => return self.take_secret(item, now),
            To::Announcing => {
                self.others_announce = item == Item::Number(1);
                Event::Quiet
            }
            To::Asked(place) => {
                let (answer, waiting) = match self.open(place, item) {
                    Some(Value::Held(held)) => (Answer::Held(held), self.asking.answered(place)),
                    Some(Value::Ended) => (Answer::Ended, self.asking.answered(place)),
                    None | Some(Value::Drains(..) | Value::Serves(_)) => {
                        let answer = match self.others_announce {
                            true => Answer::Unproven,
                            false => Answer::Nothing,
                        };
                        (answer, self.asking.nothing(place))
                    }
                };
                match waiting.is_empty() {
                    true => Event::Quiet,
                    false => Event::Answer(place, answer, waiting),
                }
            }
            To::Prolonged(place) if item == Item::Number(0) => Event::Known(place, Known::Lost),
            To::Prolonged(_) => Event::Quiet,
            To::Kept(place) => {
                let value = self.open(place, item);
                Event::Known(place, value.map_or(Known::Lost, Known::Is))
            }
            To::Drains(place) => match self.open(place, item) {
                Some(value) => Event::Known(place, Known::Is(value)),
                None => Event::Quiet,
            },
            To::Claimed(place) => match self.open(place, item) {
                Some(value) => Event::Known(place, Known::Was(value)),
                None => Event::Quiet,
            },
        })
    }

    fn open<'i>(&self, place: Place, item: Item<'i>) -> Option<Value<'i>> {
        let Item::Bulk(bytes) = item else { return None };
        let zone = self.options.zone(place);
        Value::open(self.keys.as_ref()?, zone, place.fingerprint, bytes)
    }

    fn take_secret<'i>(&mut self, item: Item<'i>, now: u64) -> Result<Event<'i, T>, &'static str> {
        let stored = match item {
            Item::Bulk(text) => Stored::read(text).ok_or("is used by another version")?,
            _ => {
                let Some(root) = self.root else {
                    self.phase = Phase::WithoutSecret;
                    return Ok(Event::NoSecret);
                };
                self.set_secret(&root, now);
                return Ok(Event::Quiet);
            }
        };
        match (self.root, stored.root) {
            (Some(root), _) if root.check() == stored.check => {
                self.phase = Phase::Up;
                Ok(match core::mem::take(&mut self.is_offer) {
                    true => Event::JoinedWith(root),
                    false => Event::Joined,
                })
            }
            (None, Some(root)) => {
                self.set_root(root);
                self.phase = Phase::Up;
                Ok(Event::JoinedWith(root))
            }
            (Some(_), Some(root)) if self.is_offer => {
                self.set_root(root);
                self.phase = Phase::Up;
                Ok(Event::JoinedWith(root))
            }
            (Some(_), _) => Err("is used with another secret, this machine stays alone"),
            (None, None) => Err("is used with a file of secrets, write \"secret=FILE\""),
        }
    }
}

impl Options {
    /// The channel of messages, in parts.
    pub(super) fn channel(&self) -> [&[u8]; 2] {
        [&self.prefix, b"messages"]
    }

    fn zone(&self, place: Place) -> &[u8] {
        self.zones.get(usize::from(place.zone)).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn error_of<'i>(reply: &Reply<'i>) -> Option<&'i [u8]> {
    let errors = |item: &Item<'i>| match item {
        Item::Error(error) => Some(*error),
        _ => None,
    };
    match reply {
        Reply::One(item) => errors(item),
        Reply::Many(items) => items.as_slice().iter().find_map(errors),
    }
}
