//! A session as a slot holds it, in words.

use crate::table::listen::change::End;
use crate::time::{Limits, Span, Tick};

/// A use no later than this after the creation does not show that the session is in use.
const OPENING: Span = Span::from_millis(1_000);
/// A use later than this after the creation shows that the session is in use.
pub(crate) const TRIAL: Span = Span::from_millis(60_000);

/// Server and time to live in one word, so that both change in one store. Bits 0..16: index of
/// the server. Bits 16..28: time to live, a float of 5 bits of exponent and 7 of mantissa that
/// was rounded up; 0 is none. Bit 28: the session has moved, and the table's successors have not
/// repeated the move yet (`succession.rs`). Bits 29..32: why the session has ended, in a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta(pub(crate) u32);

impl Meta {
    const TTL_SHIFT: u32 = 16;
    const TTL_MASK: u32 = 0xfff << Self::TTL_SHIFT;
    const MANTISSA_BITS: u32 = 7;
    const MOVED: u32 = 1 << 28;
    const END_SHIFT: u32 = 29;
    /// Set in the number of a tombstone's server. No list has such a number, so readers find no print.
    const ENDED: u16 = 1 << 15;

    pub(crate) fn new(server: u16, ttl: Option<Span>) -> Meta {
        let ttl = ttl.map_or(0, Self::encode);
        Meta(u32::from(server) | ttl << Self::TTL_SHIFT)
    }

    #[inline]
    pub(crate) fn server(self) -> u16 {
        self.0 as u16
    }

    #[inline]
    pub(crate) fn ttl(self) -> Option<Span> {
        // The usual case, inlined; `decode` is not.
        match self.0 & Self::TTL_MASK {
            0 => None,
            code => Some(Self::decode(code >> Self::TTL_SHIFT)),
        }
    }

    #[cold]
    fn decode(code: u32) -> Span {
        let mantissa = u64::from(code & ((1 << Self::MANTISSA_BITS) - 1));
        let ticks = match code >> Self::MANTISSA_BITS & 0x1f {
            0 => mantissa,
            exponent => (mantissa | 1 << Self::MANTISSA_BITS) << (exponent - 1),
        };
        Span(ticks.min(i32::MAX as u64) as u32)
    }

    pub(crate) fn with_server(self, server: u16) -> Meta {
        Meta(self.0 & !0xffff | u32::from(server))
    }

    pub(crate) fn is_moved(self) -> bool {
        self.0 & Self::MOVED != 0
    }

    pub(crate) fn with_moved(self, moved: bool) -> Meta {
        Meta(self.0 & !Self::MOVED | if moved { Self::MOVED } else { 0 })
    }

    /// Whether the session has been forgotten and its slot is kept for the table's successors.
    pub(crate) fn is_tombstone(self) -> bool {
        self.server() & Self::ENDED != 0
    }

    /// The server of the session whose tombstone this is.
    pub(crate) fn former_server(self) -> u16 {
        self.server() & !Self::ENDED
    }

    /// Why the session of a tombstone has ended.
    pub(crate) fn end(self) -> Option<End> {
        End::from_code(self.0 >> Self::END_SHIFT).filter(|_| self.is_tombstone())
    }

    /// The tombstone of the session. It keeps the time to live, and expires when the session would have.
    /// It also keeps the mark of a move that was not handed on.
    pub(crate) fn tombstone(self, end: End) -> Meta {
        let ended = self.with_server(self.server() | Self::ENDED);
        Meta(ended.0 & !(u32::MAX << Self::END_SHIFT) | end.code() << Self::END_SHIFT)
    }

    /// The smallest code that decodes to at least `span`, or to one tick if `span` is zero.
    fn encode(span: Span) -> u32 {
        let ticks = span.0.max(1);
        if ticks < 1 << Self::MANTISSA_BITS {
            return ticks;
        }
        let shift = 31 - Self::MANTISSA_BITS - ticks.leading_zeros();
        // 128..=256: a mantissa of 256 carries into the exponent, which is what it means.
        let mantissa = u64::from(ticks).div_ceil(1 << shift) as u32;
        ((shift + 1) << Self::MANTISSA_BITS) + mantissa - (1 << Self::MANTISSA_BITS)
    }
}

/// A session as read from a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) fingerprint: u64,
    pub(crate) meta: Meta,
    pub(crate) used: Tick,
    pub(crate) created: Tick,
}

impl Entry {
    /// Whether the session has ended. A time to live takes the place of the idle timeout.
    #[inline]
    pub(crate) fn expired(&self, now: Tick, limits: &Limits) -> bool {
        let age = || now.since(self.created);
        limits.lifetime.is_some_and(|lifetime| age() > lifetime)
            || match self.meta.ttl() {
                Some(ttl) => age() > ttl,
                None => now.since(self.used) > limits.timeout,
            }
    }

    /// The order in which sessions are evicted; the largest goes first:
    /// 1. a session that has ended;
    /// 2. a session on trial: one that was never used later than `TRIAL` after its creation. So a flood
    ///    of new sessions evicts itself and not the sessions in use;
    /// 3. any other.
    ///
    /// Within one of these, the session that has been idle the longest goes first. So a new session
    /// that is in use survives its trial in a flood of others. An MCP client sends two requests at
    /// the start; a session on trial that was used no later than `OPENING` after its creation counts as
    /// idle for four times as long.
    pub(crate) fn staleness(&self, now: Tick, timeout: Span) -> u64 {
        const ENDED: u64 = 1 << 63;
        const ON_TRIAL: u64 = 1 << 62;
        let idle = now.since(self.used);
        let ended = match self.meta.ttl() {
            Some(ttl) => now.since(self.created) > ttl,
            None => idle > timeout,
        };
        let idle_ticks = u64::from(idle.0);
        match self.used.since(self.created) {
            _ if ended => ENDED | idle_ticks,
            in_use if in_use <= OPENING => ON_TRIAL | (idle_ticks * 4),
            in_use if in_use <= TRIAL => ON_TRIAL | idle_ticks,
            _ => idle_ticks,
        }
    }
}

impl Entry {
    /// Whether the session was created in a later tick than `other`, a session of the same key.
    pub(crate) fn is_later_than(&self, other: &Entry) -> bool {
        self.created.since(other.created) > Span(0)
    }

    /// The entry with the largest value is evicted first: tombstones, then by `staleness`.
    pub(crate) fn precedence(&self, now: Tick, timeout: Span) -> (bool, u64) {
        (self.meta.is_tombstone(), self.staleness(now, timeout))
    }
}
