//! Byte strings of limited length. By hand: `heapless` and `arrayvec` have no string that goes on
//! accepting bytes beyond its limit and then has no value.

/// At most `N` bytes, in place. A longer string can be built, but has no value.
#[derive(Clone, Debug)]
pub struct Bounded<const N: usize> {
    bytes: [u8; N],
    /// `N + 1` stands for any length beyond `N`.
    len: usize,
}

impl<const N: usize> Bounded<N> {
    /// The empty string.
    pub const fn new() -> Self {
        Bounded { bytes: [0; N], len: 0 }
    }

    /// The bytes; none if there were more than `N`.
    pub fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..self.len)
    }

    /// Whether the string is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Cuts a string that has a value to its first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        if self.len <= N {
            self.len = self.len.min(len);
        }
    }

    pub(crate) fn push(&mut self, byte: u8) {
        if let Some(room) = self.bytes.get_mut(self.len) {
            *room = byte;
        }
        self.len = (self.len + 1).min(N + 1);
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len()).min(N + 1);
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
        }
        self.len = end;
    }

    /// Replaces the string by what `write` puts into the buffer; `write` returns the length. `None`
    /// leaves a string without a value.
    pub(crate) fn fill(&mut self, write: impl FnOnce(&mut [u8; N]) -> Option<usize>) {
        self.len = write(&mut self.bytes).unwrap_or(N + 1).min(N + 1);
    }
}

impl<const N: usize> Default for Bounded<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The longest id or target, in bytes, that is decoded from a query or a header, or learned from a
/// body. A longer one is no id.
pub const MAX_ID: usize = 1024;

/// A buffer for an id that must be decoded.
pub type Id = Bounded<MAX_ID>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_that_fits_has_its_value_and_a_longer_one_has_none() {
        let mut three = Bounded::<3>::new();
        assert!(three.is_empty());
        assert_eq!(three.get(), Some(&b""[..]));
        three.extend(b"ab");
        three.push(b'c');
        assert_eq!(three.get(), Some(&b"abc"[..]));
        three.push(b'd');
        assert_eq!(three.get(), None);
        three.extend(b"");
        assert_eq!(three.get(), None);
        assert!(!three.is_empty());
        three.truncate(1);
        assert_eq!(three.get(), None);
        three.clear();
        assert_eq!(three.get(), Some(&b""[..]));
        three.extend(b"ab");
        three.truncate(3);
        three.truncate(1);
        assert_eq!(three.get(), Some(&b"a"[..]));
        three.clear();
        three.extend(b"abcd");
        assert_eq!(three.get(), None);
        three.fill(|room| {
            room[0] = b'z';
            Some(1)
        });
        assert_eq!(three.get(), Some(&b"z"[..]));
        three.fill(|_| None);
        assert_eq!(three.get(), None);
    }
}
