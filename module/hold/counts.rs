//! What a worker counts of its held answers. Each that was held is passed on, dropped, gone with its request, or
//! still held.

use crate::nginx::per_worker::PerWorker;
use crate::wait::counts::Count;

pub struct Counts {
    pub held: Count,
    /// The judge was asked: the answer was whole.
    pub judged: Count,
    pub passed: Count,
    /// Passed on since there was no verdict in time.
    pub timed_out: Count,
    /// Dropped: the request has begun again.
    pub again: Count,
    /// The request has ended before the verdict.
    pub gone: Count,
    /// Passed on at once, since too many are held.
    pub refused: Count,
}

pub static COUNTS: PerWorker<Counts> = PerWorker::new(Counts {
    held: Count::ZERO,
    judged: Count::ZERO,
    passed: Count::ZERO,
    timed_out: Count::ZERO,
    again: Count::ZERO,
    gone: Count::ZERO,
    refused: Count::ZERO,
});

#[cfg(feature = "testing")]
impl Counts {
    /// The counts of this worker, and how many answers it holds.
    pub fn totals(&self, holding: usize) -> String {
        let counts = [
            ("held", &self.held),
            ("judged", &self.judged),
            ("passed", &self.passed),
            ("timed_out", &self.timed_out),
            ("again", &self.again),
            ("gone", &self.gone),
            ("refused", &self.refused),
        ];
        let text = counts.map(|(name, count)| format!("{name}={}", count.get()));
        format!("{} holding={holding}", text.join(" "))
    }
}
