//! Monotonic time as the table keeps it: 32-bit ticks of 64 milliseconds.

/// Milliseconds in a tick, as a power of two.
const TICK_SHIFT: u32 = 6;

/// A moment of monotonic time in units of 64 ms. It wraps after 8.7 years, and moments that are
/// less than half of that apart are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick of a monotonic clock in milliseconds (`ngx_current_msec`).
    pub fn from_millis(milliseconds: u64) -> Self {
        Tick((milliseconds >> TICK_SHIFT) as u32)
    }

    /// Time passed between `earlier` and this moment; zero if `earlier` lies in the future, as it
    /// does when another process has read the clock a little later.
    pub fn since(self, earlier: Tick) -> Span {
        let passed = self.0.wrapping_sub(earlier.0);
        Span(if passed > i32::MAX as u32 { 0 } else { passed })
    }
}

/// A length of time in units of 64 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u32);

impl Span {
    /// Rounds up to whole ticks. What is longer than 4.3 years counts as that.
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

/// How long a session lives. Each upstream has its own limits, and several may share a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A session ends when it has been idle for longer.
    pub timeout: Span,
    /// A session ends when it is older, used or not.
    pub lifetime: Option<Span>,
}
