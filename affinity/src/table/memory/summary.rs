//! The summary of a bucket: one word that is enough for most lookups that find nothing.

/// Sessions in a bucket.
pub(crate) const SLOTS: usize = 6;

/// The summary of a bucket. Most lookups that find nothing read the two of a pair and no more.
///
/// Bytes 0 to 5: a tag of each slot's fingerprint, 0 if the slot is free. Byte 6: number of sessions
/// whose home is this bucket but which live in another pair. Byte 7: one hint for each eighth of the
/// fingerprints, set if one of those sessions is in that eighth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary(pub(crate) u64);

impl Summary {
    const DISPLACED_SHIFT: u32 = 48;
    const HINT_SHIFT: u32 = 56;
    const DISPLACED_MASK: u64 = 0xff << Self::DISPLACED_SHIFT;
    /// Number of hints.
    pub(crate) const HINTS: u64 = 8;
    /// One in the byte of each tag.
    const ONES: u64 = 0x0101_0101_0101;

    /// The slots with the tag of `fingerprint`, which may be in one of them.
    #[inline]
    pub(crate) fn alike(self, fingerprint: u64) -> Slots {
        Slots::zero(self.0 ^ (Self::ONES * Self::tag(fingerprint)))
    }

    pub(crate) fn free(self) -> impl Iterator<Item = usize> {
        let tags = self.0.to_le_bytes();
        (0..SLOTS).filter(move |&slot| tags.get(slot) == Some(&0))
    }

    /// Number of slots in use.
    pub(crate) fn load(self) -> usize {
        SLOTS - self.free().count()
    }

    fn displaced(self) -> u8 {
        (self.0 >> Self::DISPLACED_SHIFT) as u8
    }

    /// Whether a session with this home that is not in this pair may be in another one.
    #[inline]
    pub(crate) fn may_be_elsewhere(self, fingerprint: u64) -> bool {
        self.0 & Self::hint(fingerprint) != 0
    }

    /// The summary after a session was put into `slot`.
    pub(crate) fn with(self, slot: u32, fingerprint: u64) -> Summary {
        Summary(self.without(slot).0 | Self::tag(fingerprint) << (slot * u8::BITS))
    }

    /// The summary after the session in `slot` was removed.
    pub(crate) fn without(self, slot: u32) -> Summary {
        Summary(self.0 & !(0xff << (slot * u8::BITS)))
    }

    /// The summary with one more session of this home in another pair. A count that has reached its
    /// maximum stays there, and so do the hints: lookups get slower, never wrong.
    pub(crate) fn with_displaced(self, fingerprint: u64) -> Summary {
        let counted = self.count(self.displaced().saturating_add(1));
        Summary(counted.0 | Self::hint(fingerprint))
    }

    /// The summary with one session less of this home in another pair. The last one takes the hints
    /// along.
    pub(crate) fn without_displaced(self) -> Summary {
        match self.displaced() {
            u8::MAX => self,
            0 | 1 => Summary(self.0 & !(u64::MAX << Self::DISPLACED_SHIFT)),
            more => self.count(more - 1),
        }
    }

    fn count(self, displaced: u8) -> Summary {
        Summary(self.0 & !Self::DISPLACED_MASK | u64::from(displaced) << Self::DISPLACED_SHIFT)
    }

    fn hint(fingerprint: u64) -> u64 {
        1 << (u64::from(Self::HINT_SHIFT) + fingerprint % Self::HINTS)
    }

    fn tag(fingerprint: u64) -> u64 {
        (fingerprint >> 8 & 0xff).max(1)
    }
}

/// Numbers of slots, the lowest first. The first one is right; those above it may be wrong, so the
/// caller compares the fingerprint.
pub(crate) struct Slots(u64);

impl Slots {
    /// The slots whose byte of `word` is zero. A byte of 1 above a zero byte counts as zero, too.
    #[inline]
    fn zero(word: u64) -> Slots {
        let highest = Summary::ONES << (u8::BITS - 1);
        Slots(word.wrapping_sub(Summary::ONES) & !word & highest)
    }

    #[inline]
    pub(crate) fn none(&self) -> bool {
        self.0 == 0
    }
}

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let first = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (first < u64::BITS).then_some((first / u8::BITS) as usize)
    }
}
