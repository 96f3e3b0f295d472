//! Monotonic time as shared memory holds it: 32-bit ticks of 64 milliseconds.

/// Milliseconds in a tick, as a power of two.
const TICK_SHIFT: u32 = 6;

/// A moment of monotonic time in units of 64 ms. It wraps after 8.7 years. The
/// order of two moments is right if they are less than half of that apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick of a monotonic clock in milliseconds (`ngx_current_msec`).
    pub fn from_millis(milliseconds: u64) -> Self {
        Tick((milliseconds >> TICK_SHIFT) as u32)
    }

    /// Time from `earlier` to this moment. Zero if `earlier` is later, as when another process has read
    /// the clock a little later.
    pub fn since(self, earlier: Tick) -> Span {
        let passed = self.0.wrapping_sub(earlier.0);
        Span(if passed > i32::MAX as u32 { 0 } else { passed })
    }
}

/// A length of time in units of 64 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u32);

impl Span {
    /// Rounds up to whole ticks, and down to 4.3 years.
    pub const fn from_millis(milliseconds: u64) -> Self {
        let ticks = milliseconds.div_ceil(1 << TICK_SHIFT);
        match ticks < i32::MAX as u64 {
            true => Span(ticks as u32),
            false => Span(i32::MAX as u32),
        }
    }

    /// The span in milliseconds.
    pub fn as_millis(self) -> u64 {
        u64::from(self.0) << TICK_SHIFT
    }
}

/// How long a session lives. Each upstream has limits of its own; several upstreams may share a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A session ends when it has been idle for longer than this.
    pub timeout: Span,
    /// A session ends when it is older than this, used or not.
    pub lifetime: Option<Span>,
}
