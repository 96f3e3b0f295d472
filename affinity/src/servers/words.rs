//! A record as words of shared memory.

use super::record::Record;
use super::run::Run;
use super::state::{Known, Reason, Source};
use crate::time::Tick;

impl Record {
    /// Words that a record takes.
    pub const WORDS: usize = 4;

    /// The record as words of shared memory.
    pub fn to_words(&self) -> [u64; Record::WORDS] {
        let run = |run: Option<Run>| {
            let (first, last) = run.map_or((0, 0), |run| (code(run.first), code(run.last)));
            u64::from(first) << 32 | u64::from(last)
        };
        let optional = |tick: Option<Tick>| u64::from(tick.map_or(0, code));
        let state = self.known as u64
            | (self.reason as u64) << 2
            | (self.source as u64) << 6
            | u64::from(self.silent & 3) << 8
            | u64::from(self.resolved) << 10;
        // If there is no run, its word holds `last_failure`.
        let failing = match self.failing {
            Some(_) => run(self.failing),
            None => optional(self.last_failure),
        };
        [
            state | optional(self.since) << 32,
            failing,
            run(self.missing),
            optional(self.last_success) << 32 | optional(self.down_since),
        ]
    }

    /// The record in words of shared memory. Any words are a record.
    pub fn from_words(words: [u64; Record::WORDS]) -> Record {
        let [state, failing, missing, times] = words;
        let optional = |code: u64| match code as u32 {
            0 => None,
            code => Some(Tick(code)),
        };
        let run = |word: u64| {
            let (first, last) = (optional(word >> 32)?, optional(word)?);
            Some(Run { first, last })
        };
        Record {
            known: Known::from_code(state),
            reason: Reason::from_code(state >> 2),
            source: Source::from_code(state >> 6),
            silent: (state >> 8 & 3) as u8,
            resolved: state >> 10 & 1 != 0,
            since: optional(state >> 32),
            failing: run(failing),
            missing: run(missing),
            last_failure: optional(failing),
            last_success: optional(times >> 32),
            down_since: optional(times),
        }
    }
}

/// Zero stands for none; tick 0 counts as tick 1.
fn code(tick: Tick) -> u32 {
    tick.0.max(1)
}
