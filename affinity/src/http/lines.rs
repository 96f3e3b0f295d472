//! Lines up to an empty one: a head, or a trailer.
//!
//! `httparse` accepts a bare line feed as the end of a line, and reads a head as a whole. This finds the
//! end of the lines, byte by byte, and is stricter.

use super::error::HttpError;

/// Finds the empty line.
pub(super) struct LineBlock {
    state: LineState,
    left: usize,
    too_long: HttpError,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineState {
    /// At the beginning of a line.
    Begin,
    Line,
    /// After the carriage return.
    Return {
        is_empty: bool,
    },
    /// After the empty line.
    End,
}

impl LineBlock {
    /// `too_long`: the error for more than `limit` bytes.
    pub(super) fn new(limit: usize, too_long: HttpError) -> Self {
        LineBlock { state: LineState::Begin, left: limit, too_long }
    }

    /// Begins other lines, with what is left of the limit.
    pub(super) fn restart(&mut self) {
        self.state = LineState::Begin;
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == LineState::End
    }

    /// The bytes of `bytes` that belong to the lines; removes them from `bytes`.
    pub(super) fn take<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<&'b [u8], HttpError> {
        let mut len = 0;
        for byte in *bytes {
            if self.is_done() {
                break;
            }
            self.left = self.left.checked_sub(1).ok_or(self.too_long)?;
            self.state = self.state.after(*byte)?;
            len += 1;
        }
        let (taken, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
        *bytes = rest;
        Ok(taken)
    }
}

impl LineState {
    fn after(self, byte: u8) -> Result<LineState, HttpError> {
        match (self, byte) {
            (LineState::Return { is_empty: true }, b'\n') => Ok(LineState::End),
            (LineState::Return { is_empty: false }, b'\n') => Ok(LineState::Begin),
            (LineState::Return { .. }, _) => Err(HttpError::BareReturn),
            (_, b'\r') => Ok(LineState::Return { is_empty: self == LineState::Begin }),
            (_, byte) => check_byte(byte).map(|()| LineState::Line),
        }
    }
}

/// Checks a byte of a line, without its line end.
pub(super) fn check_byte(byte: u8) -> Result<(), HttpError> {
    match byte {
        b'\n' => Err(HttpError::BareLineFeed),
        b'\t' => Ok(()),
        0..b' ' | 0x7f => Err(HttpError::ControlCharacter),
        _ => Ok(()),
    }
}
