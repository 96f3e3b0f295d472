//! RESP2, the protocol of Redis and Valkey, as far as the commands of this room need it.
//!
//! By hand: the parser of the crate `redis` brings 43 other crates into each worker, and collects a text of any
//! length before it can be refused. A reply is at most [`MAX_REPLY`] bytes here, has no array in an array, and
//! nothing of it is copied.

use crate::net::MAX_BUFFERED;

/// The longest reply, in bytes.
pub const MAX_REPLY: usize = MAX_BUFFERED - 1;

/// The most items of an array.
pub const MAX_ITEMS: usize = 8;

/// The longest line: of a status, an error or a number.
const MAX_LINE: usize = 4 * 1024;

/// A reply, or a part of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A status, as `OK`.
    Simple(&'a [u8]),
    /// An error, its code first.
    Error(&'a [u8]),
    /// A number.
    Number(i64),
    /// A text.
    Bulk(&'a [u8]),
    /// Nothing.
    Nil,
}

/// The items of an array.
#[derive(Clone, Copy, Debug)]
pub struct Items<'a> {
    items: [Item<'a>; MAX_ITEMS],
    len: usize,
}

impl<'a> Items<'a> {
    /// The items.
    pub fn as_slice(&self) -> &[Item<'a>] {
        self.items.get(..self.len).unwrap_or_default()
    }
}

/// A reply.
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// A single value.
    One(Item<'a>),
    /// An array.
    Many(Items<'a>),
}

/// The bytes are not a reply to a command of this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads the first reply of `input`: the reply and its length, `None` if it is not complete.
pub fn read(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Malformed> {
    let mut reader = Reader { input, at: 0 };
    let Some(reply) = reader.reply()? else { return Ok(None) };
    Ok(Some((reply, reader.at)))
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn reply(&mut self) -> Result<Option<Reply<'a>>, Malformed> {
        if self.input.first() != Some(&b'*') {
            return Ok(self.item()?.map(Reply::One));
        }
        let Some((_, line)) = self.line()? else { return Ok(None) };
        if line == b"-1" {
            return Ok(Some(Reply::One(Item::Nil)));
        }
        let len = number(line).and_then(|count| usize::try_from(count).ok()).ok_or(Malformed)?;
        let mut items = Items { items: [Item::Nil; MAX_ITEMS], len };
        for place in items.items.get_mut(..len).ok_or(Malformed)? {
            let Some(item) = self.item()? else { return Ok(None) };
            *place = item;
        }
        Ok(Some(Reply::Many(items)))
    }

    fn item(&mut self) -> Result<Option<Item<'a>>, Malformed> {
        let Some((kind, line)) = self.line()? else { return Ok(None) };
        Ok(Some(match kind {
            b'+' => Item::Simple(line),
            b'-' => Item::Error(line),
            b':' => Item::Number(number(line).ok_or(Malformed)?),
            b'$' if line == b"-1" => Item::Nil,
            b'$' => {
                let len = number(line).and_then(|len| usize::try_from(len).ok());
                let len = len.filter(|len| *len <= MAX_REPLY).ok_or(Malformed)?;
                let rest = self.input.get(self.at..).unwrap_or_default();
                let Some((text, rest)) = rest.split_at_checked(len) else { return Ok(None) };
                match rest {
                    [b'\r', b'\n', ..] => self.at += len + 2,
                    [] | [b'\r'] => return Ok(None),
                    _ => return Err(Malformed),
                }
                Item::Bulk(text)
            }
            _ => return Err(Malformed),
        }))
    }

    /// The first byte of a line, and the rest without its end.
    fn line(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        if rest.first().is_some_and(|kind| !b"+-:$*".contains(kind)) {
            return Err(Malformed);
        }
        let window = rest.get(..MAX_LINE).unwrap_or(rest);
        let Some(end) = window.windows(2).position(|two| two == b"\r\n") else {
            return if rest.len() >= MAX_LINE { Err(Malformed) } else { Ok(None) };
        };
        self.at += end + 2;
        match rest.get(..end) {
            Some([kind, line @ ..]) => Ok(Some((*kind, line))),
            _ => Err(Malformed),
        }
    }
}

fn number(line: &[u8]) -> Option<i64> {
    let is_plain = line.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
    is_plain.then(|| core::str::from_utf8(line).ok()?.parse().ok())?
}

/// Commands as bytes. When memory is short, none of them may be sent: see [`Commands::is_whole`].
#[derive(Debug, Default)]
pub struct Commands {
    bytes: Vec<u8>,
    is_short: bool,
}

impl Commands {
    /// No commands.
    pub const fn new() -> Commands {
        Commands { bytes: Vec::new(), is_short: false }
    }

    /// Appends a command, whose words are made of parts.
    pub fn push(&mut self, words: &[&[&[u8]]]) {
        let mut digits = itoa::Buffer::new();
        self.extend(&[b"*", digits.format(words.len()).as_bytes(), b"\r\n"]);
        for word in words {
            let len: usize = word.iter().map(|part| part.len()).sum();
            self.extend(&[b"$", digits.format(len).as_bytes(), b"\r\n"]);
            self.extend(word);
            self.extend(&[b"\r\n"]);
        }
    }

    fn extend(&mut self, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len()).sum();
        if self.is_short || self.bytes.try_reserve(len).is_err() {
            self.is_short = true;
            return;
        }
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    /// The commands may not be sent: memory is short elsewhere.
    pub fn spoil(&mut self) {
        self.is_short = true;
    }

    /// Whether memory was there for all of them.
    pub fn is_whole(&self) -> bool {
        !self.is_short
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes all of them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.is_short = false;
    }
}
