//! The bytes that a protocol has written and that are not sent yet.

/// The largest number of bytes that a connection keeps in each direction: received and not consumed by the
/// protocol yet, written by the protocol and not sent yet.
pub const MAX_BUFFERED: usize = 64 * 1024;

/// No more than [`MAX_BUFFERED`] bytes.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

/// There is no room for the bytes: too many are not sent yet, or memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Output {
    /// An output without bytes.
    pub const fn new() -> Output {
        Output { bytes: Vec::new(), sent: 0 }
    }

    /// Appends all of the bytes, or none.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        if self.unsent().len() + bytes.len() > MAX_BUFFERED {
            return Err(Full);
        }
        self.bytes.drain(..self.sent);
        self.sent = 0;
        self.bytes.try_reserve(bytes.len()).map_err(|_| Full)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The bytes to send next.
    pub fn unsent(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// The first `count` of these bytes have been sent.
    pub fn advance(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.bytes.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_sent_in_order_and_once() {
        let mut output = Output::new();
        output.push(b"one").unwrap();
        output.advance(2);
        output.push(b"two").unwrap();
        assert_eq!(output.unsent(), b"etwo");
        output.advance(4);
        assert_eq!(output.unsent(), b"");
    }

    #[test]
    fn what_is_sent_makes_room_and_what_does_not_fit_is_refused_whole() {
        let mut output = Output::new();
        output.push(&[1; MAX_BUFFERED]).unwrap();
        assert_eq!(output.push(&[2]), Err(Full));
        output.advance(3);
        assert_eq!(output.push(&[2; 4]), Err(Full));
        output.push(&[2; 3]).unwrap();
        assert_eq!(output.unsent().len(), MAX_BUFFERED);
        assert!(output.unsent().ends_with(&[1, 2, 2, 2]));
    }
}
