//! JSON (RFC 8259) in pieces, as it arrives, without recursion.
//!
//! By hand: serde_json needs the whole text or a blocking source. A body arrives in buffers that are cut
//! at any byte; it is neither copied nor waited for.

use core::str;

/// How deep arrays and objects may be nested: one bit of `Json::objects` for each.
const MAX_DEPTH: u32 = u64::BITS;

/// Splits one JSON text into pieces.
pub(crate) struct Json {
    state: State,
    depth: u32,
    /// For each open array or object, whether it is an object; the innermost in the lowest bit.
    objects: u64,
    /// Whether the string is the name of a member.
    is_name: bool,
    utf8: Utf8,
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonPiece<'b> {
    /// The name of a member begins.
    Name,
    /// A value begins.
    Value(Type),
    /// More of a string (ASCII or UTF-8) or of a number.
    Text(&'b [u8]),
    /// An escaped character of a string.
    Char(char),
    /// An array or object ends.
    End,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Number,
    /// `true`, `false` or `null`.
    Literal,
}

/// The text is no JSON, or is nested too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

#[derive(Clone, Copy)]
enum State {
    Value,
    /// After `[`.
    ValueOrEnd,
    Name,
    /// After `{`.
    NameOrEnd,
    Colon,
    /// After a value: a comma or an end.
    After,
    String,
    Escape,
    /// In the digits of `\u`: how many are missing, the value of the others, and the first half of a
    /// surrogate pair if this must be the second half.
    Unicode {
        missing: u8,
        unit: u16,
        first: Option<u16>,
    },
    /// Between the halves of a surrogate pair.
    Backslash {
        first: u16,
    },
    SmallU {
        first: u16,
    },
    /// The rest of a literal.
    Literal(&'static [u8]),
    Number(Number),
    /// After the text.
    Done,
}

#[derive(Clone, Copy)]
enum Number {
    Begin,
    /// After a sign.
    Sign,
    /// After a zero in front.
    Zero,
    Whole,
    Point,
    Fraction,
    /// After the letter.
    Letter,
    ExponentSign,
    Exponent,
}

impl Json {
    pub(crate) fn new() -> Self {
        Json { state: State::Value, depth: 0, objects: 0, is_name: false, utf8: Utf8::new() }
    }

    /// How many arrays and objects are open.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    /// Whether the text is complete, except for white space.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the last piece belongs to a string that has not ended.
    pub(crate) fn is_in_string(&self) -> bool {
        matches!(
            self.state,
            State::String
                | State::Escape
                | State::Unicode { .. }
                | State::Backslash { .. }
                | State::SmallU { .. }
        )
    }

    /// The next piece. Removes what it has read from `bytes`, and all of it if there is no piece.
    pub(crate) fn next<'b>(
        &mut self,
        bytes: &mut &'b [u8],
    ) -> Result<Option<JsonPiece<'b>>, Invalid> {
        while let Some((&byte, rest)) = bytes.split_first() {
            let piece = match self.state {
                State::String => {
                    let text = self.plain_text(bytes)?;
                    if text > 0 {
                        let (text, rest) = bytes.split_at_checked(text).ok_or(Invalid)?;
                        *bytes = rest;
                        return Ok(Some(JsonPiece::Text(text)));
                    }
                    *bytes = rest;
                    self.end_text(byte)?;
                    None
                }
                State::Number(number) => {
                    let text = self.digits(number, bytes)?;
                    if text > 0 {
                        let (text, rest) = bytes.split_at_checked(text).ok_or(Invalid)?;
                        *bytes = rest;
                        return Ok(Some(JsonPiece::Text(text)));
                    }
                    self.end_value();
                    None
                }
                State::Literal(missing) => {
                    *bytes = rest;
                    self.literal(missing, byte)?;
                    None
                }
                State::Escape
                | State::Unicode { .. }
                | State::Backslash { .. }
                | State::SmallU { .. } => {
                    *bytes = rest;
                    self.escape(byte)?
                }
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {
                    *bytes = rest;
                    None
                }
                _ => {
                    let piece = self.structure(byte)?;
                    // A number begins with its first digit.
                    if !matches!(self.state, State::Number(_)) {
                        *bytes = rest;
                    }
                    piece
                }
            };
            if piece.is_some() {
                return Ok(piece);
            }
        }
        Ok(None)
    }

    fn structure(&mut self, byte: u8) -> Result<Option<JsonPiece<'static>>, Invalid> {
        match (self.state, byte) {
            (State::ValueOrEnd, b']') | (State::NameOrEnd, b'}') => Ok(Some(self.close())),
            (State::After, b']') if !self.in_object() => Ok(Some(self.close())),
            (State::After, b'}') if self.in_object() => Ok(Some(self.close())),
            (State::After, b',') => {
                self.state = if self.in_object() { State::Name } else { State::Value };
                Ok(None)
            }
            (State::Colon, b':') => {
                self.state = State::Value;
                Ok(None)
            }
            (State::Name | State::NameOrEnd, b'"') => {
                self.state = State::String;
                self.is_name = true;
                Ok(Some(JsonPiece::Name))
            }
            (State::Value | State::ValueOrEnd, _) => self.value(byte).map(Some),
            _ => Err(Invalid),
        }
    }

    fn value(&mut self, byte: u8) -> Result<JsonPiece<'static>, Invalid> {
        let (state, kind) = match byte {
            b'{' => (State::NameOrEnd, Type::Object),
            b'[' => (State::ValueOrEnd, Type::Array),
            b'"' => (State::String, Type::String),
            b'-' | b'0'..=b'9' => (State::Number(Number::Begin), Type::Number),
            b't' => (State::Literal(b"rue"), Type::Literal),
            b'f' => (State::Literal(b"alse"), Type::Literal),
            b'n' => (State::Literal(b"ull"), Type::Literal),
            _ => return Err(Invalid),
        };
        if matches!(kind, Type::Object | Type::Array) {
            if self.depth == MAX_DEPTH {
                return Err(Invalid);
            }
            self.depth += 1;
            self.objects = self.objects << 1 | u64::from(kind == Type::Object);
        }
        self.state = state;
        self.is_name = false;
        Ok(JsonPiece::Value(kind))
    }

    fn close(&mut self) -> JsonPiece<'static> {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
        self.end_value();
        JsonPiece::End
    }

    fn end_value(&mut self) {
        self.state = if self.depth == 0 { State::Done } else { State::After };
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// How many bytes at the beginning are plain text.
    fn plain_text(&mut self, bytes: &[u8]) -> Result<usize, Invalid> {
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'"' | b'\\' | 0..b' ' => return Ok(at),
                b' '..=0x7f if self.utf8.is_whole() => {}
                _ => self.utf8.push(byte)?,
            }
        }
        Ok(bytes.len())
    }

    /// How many bytes at the beginning belong to the number.
    fn digits(&mut self, mut number: Number, bytes: &[u8]) -> Result<usize, Invalid> {
        let mut len = 0;
        for byte in bytes {
            let Some(next) = number.after(*byte)? else {
                break;
            };
            number = next;
            len += 1;
        }
        self.state = State::Number(number);
        Ok(len)
    }

    fn end_text(&mut self, byte: u8) -> Result<(), Invalid> {
        if !self.utf8.is_whole() {
            return Err(Invalid);
        }
        match byte {
            b'\\' => self.state = State::Escape,
            b'"' if self.is_name => self.state = State::Colon,
            b'"' => self.end_value(),
            _ => return Err(Invalid),
        }
        Ok(())
    }

    fn escape(&mut self, byte: u8) -> Result<Option<JsonPiece<'static>>, Invalid> {
        let (state, char) = match (self.state, byte) {
            (State::Escape, b'u') => (State::Unicode { missing: 4, unit: 0, first: None }, None),
            (State::Escape, _) => (State::String, Some(short_escape(byte)?)),
            (State::Backslash { first }, b'\\') => (State::SmallU { first }, None),
            (State::SmallU { first }, b'u') => {
                (State::Unicode { missing: 4, unit: 0, first: Some(first) }, None)
            }
            (State::Unicode { missing, unit, first }, _) => {
                let digit = (byte as char).to_digit(16).ok_or(Invalid)?;
                let unit = unit << 4 | digit as u16;
                match (missing - 1, first) {
                    (0, None) if (0xd800..0xdc00).contains(&unit) => {
                        (State::Backslash { first: unit }, None)
                    }
                    (0, None) => (State::String, Some(char::from_u32(unit.into()).ok_or(Invalid)?)),
                    (0, Some(first)) => (State::String, Some(pair(first, unit)?)),
                    (missing, first) => (State::Unicode { missing, unit, first }, None),
                }
            }
            _ => return Err(Invalid),
        };
        self.state = state;
        Ok(char.map(JsonPiece::Char))
    }

    fn literal(&mut self, missing: &'static [u8], byte: u8) -> Result<(), Invalid> {
        let (first, rest) = missing.split_first().ok_or(Invalid)?;
        if *first != byte {
            return Err(Invalid);
        }
        if rest.is_empty() {
            self.end_value();
        } else {
            self.state = State::Literal(rest);
        }
        Ok(())
    }
}

impl Number {
    /// The state after the byte; `None` if the number has ended before it.
    fn after(self, byte: u8) -> Result<Option<Self>, Invalid> {
        let next = match (self, byte) {
            (Number::Begin, b'-') => Number::Sign,
            (Number::Begin | Number::Sign, b'0') => Number::Zero,
            (Number::Begin | Number::Sign, b'1'..=b'9') => Number::Whole,
            (Number::Whole, b'0'..=b'9') => Number::Whole,
            (Number::Zero | Number::Whole, b'.') => Number::Point,
            (Number::Point | Number::Fraction, b'0'..=b'9') => Number::Fraction,
            (Number::Zero | Number::Whole | Number::Fraction, b'e' | b'E') => Number::Letter,
            (Number::Letter, b'+' | b'-') => Number::ExponentSign,
            (Number::Letter | Number::ExponentSign | Number::Exponent, b'0'..=b'9') => {
                Number::Exponent
            }
            (Number::Zero | Number::Whole | Number::Fraction | Number::Exponent, _) => {
                return Ok(None);
            }
            _ => return Err(Invalid),
        };
        Ok(Some(next))
    }
}

fn short_escape(byte: u8) -> Result<char, Invalid> {
    match byte {
        b'"' | b'\\' | b'/' => Ok(byte as char),
        b'b' => Ok('\u{8}'),
        b'f' => Ok('\u{c}'),
        b'n' => Ok('\n'),
        b'r' => Ok('\r'),
        b't' => Ok('\t'),
        _ => Err(Invalid),
    }
}

fn pair(first: u16, second: u16) -> Result<char, Invalid> {
    char::decode_utf16([first, second]).next().and_then(Result::ok).ok_or(Invalid)
}

/// The bytes of a character that is not complete yet.
struct Utf8 {
    bytes: [u8; 4],
    len: usize,
}

impl Utf8 {
    fn new() -> Self {
        Utf8 { bytes: [0; 4], len: 0 }
    }

    fn is_whole(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, byte: u8) -> Result<(), Invalid> {
        *self.bytes.get_mut(self.len).ok_or(Invalid)? = byte;
        self.len += 1;
        // Invalid bytes never become valid: the fifth byte or the end of the text is an error.
        if str::from_utf8(self.bytes.get(..self.len).ok_or(Invalid)?).is_ok() {
            self.len = 0;
        }
        Ok(())
    }
}
