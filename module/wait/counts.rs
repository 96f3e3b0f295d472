//! What a worker counts of its questions. Each that was asked is answered, timed out, gone with its request,
//! or still waits.

use core::cell::Cell;

use crate::nginx::per_worker::PerWorker;

pub struct Count(Cell<u64>);

pub struct Counts {
    /// Questions that the source was asked.
    pub asked: Count,
    /// Those of them that were not answered at once: their request has waited.
    pub waited: Count,
    /// Answered, at once or later; a source that failed has answered.
    pub answered: Count,
    /// Not answered in time.
    pub timed_out: Count,
    /// The request has ended before the answer.
    pub gone: Count,
    /// Questions that were not asked, since too many requests wait.
    pub refused: Count,
}

pub static COUNTS: PerWorker<Counts> = PerWorker::new(Counts {
    asked: Count::ZERO,
    waited: Count::ZERO,
    answered: Count::ZERO,
    timed_out: Count::ZERO,
    gone: Count::ZERO,
    refused: Count::ZERO,
});

impl Count {
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "the initial value of several statics"
    )]
    pub const ZERO: Count = Count(Cell::new(0));

    pub fn add(&self) {
        self.0.set(self.0.get() + 1);
    }

    #[cfg(feature = "testing")]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// The counts of a worker, and how many of its requests wait.
#[cfg(feature = "testing")]
pub struct Totals {
    pub waiting: usize,
    pub counts: [(&'static str, u64); 6],
}

#[cfg(feature = "testing")]
impl Counts {
    pub fn totals(&self, waiting: usize) -> Totals {
        let counts = [
            ("asked", &self.asked),
            ("waited", &self.waited),
            ("answered", &self.answered),
            ("timed_out", &self.timed_out),
            ("gone", &self.gone),
            ("refused", &self.refused),
        ];
        Totals { waiting, counts: counts.map(|(name, count)| (name, count.get())) }
    }
}

#[cfg(feature = "testing")]
impl core::fmt::Display for Totals {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (name, count) in self.counts {
            write!(f, "{name}={count} ")?;
        }
        write!(f, "waiting={}", self.waiting)
    }
}
