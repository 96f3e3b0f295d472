//! What the workers of a machine know together of the store, in shared memory.
//!
//! Times are milliseconds of a monotonic clock. Zeros are a store that nobody has asked yet.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::secret::Root;
use crate::time::Tick;

/// For so long after the store was found again, that it has nothing proves nothing: other machines write what
/// they have to it.
pub const PROVES_NOTHING: u64 = 3_000;

/// The first and the longest time between two attempts to connect.
const FIRST_PAUSE: u64 = 100;
const LONGEST_PAUSE: u64 = 1_000;

/// The time between two lines in the log about the same.
const LOG_EVERY: u64 = 60_000;

/// Workers share a place only if there are more of them.
const WORKERS: usize = 64;

/// The classes of times.
const TIMES: usize = 16;

/// What the workers of a machine know of the store.
#[repr(C)]
#[derive(Debug)]
pub struct Standing {
    /// When the store was lost; zero if it was not.
    away_since: AtomicU64,
    /// The last attempt to connect since then, and how many there were.
    tried_at: AtomicU64,
    tries: AtomicU32,
    /// Whether the sessions of this machine are to be written to the store.
    unannounced: AtomicU32,
    /// When it was found again.
    back_at: AtomicU64,
    /// The worker that listens (its process id in the upper half), and until when (a tick).
    lease: AtomicU64,
    /// The end of the last gap: bit 32 and the tick.
    gap: AtomicU64,
    /// How often the machine did not hear others, when it heard from the store last, and whether it hears now.
    pub gaps: AtomicU64,
    /// When the store was last heard on the connection of messages.
    pub heard_at: AtomicU64,
    /// The process that hears; zero if none does.
    pub hears: AtomicU64,
    /// The last line about an absence of the store.
    logged_at: AtomicU64,
    /// The failures since then.
    failures: AtomicU64,
    /// Sessions that requests wait for, in each worker.
    waiting: [AtomicU32; WORKERS],
    /// Replies by the time they took: none, below 2, 4, 8, … milliseconds.
    replies: [AtomicU64; TIMES],
    /// The secret that the store has made known, and whether it is there.
    root: [AtomicU64; 4],
    has_root: AtomicU32,
}

/// What becomes of an id that this machine does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The store is asked.
    Ask,
    /// The store is away: nobody can tell.
    Unanswered,
    /// The store has been away for so long that the machine is alone: nobody has the session.
    Nobody,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            away_since: AtomicU64::new(0),
            tried_at: AtomicU64::new(0),
            tries: AtomicU32::new(0),
            unannounced: AtomicU32::new(0),
            back_at: AtomicU64::new(0),
            lease: AtomicU64::new(0),
            gap: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            heard_at: AtomicU64::new(0),
            hears: AtomicU64::new(0),
            logged_at: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            waiting: [const { AtomicU32::new(0) }; WORKERS],
            replies: [const { AtomicU64::new(0) }; TIMES],
            root: [const { AtomicU64::new(0) }; 4],
            has_root: AtomicU32::new(0),
        }
    }
}

impl Standing {
    /// The store cannot be reached. Returns whether it could be until now.
    pub fn lost(&self, now: u64) -> bool {
        self.unannounced.store(1, SeqCst);
        self.away_since.compare_exchange(0, now.max(1), SeqCst, SeqCst).is_ok()
    }

    /// A worker has a connection to the store. Returns for how long it was away.
    pub fn found(&self, now: u64) -> Option<u64> {
        let since = self.away_since.load(SeqCst);
        if since == 0 {
            return None;
        }
        // First: who sees that the store is there sees since when.
        self.back_at.store(now.max(1), SeqCst);
        self.tries.store(0, Relaxed);
        let is_first = self.away_since.compare_exchange(since, 0, SeqCst, SeqCst).is_ok();
        is_first.then(|| now.saturating_sub(since))
    }

    /// Whether a worker may try to connect now; else the milliseconds until it asks again. While the store is
    /// away, one worker of the machine tries. `random` is any number.
    pub fn may_try(&self, now: u64, random: u32) -> Result<(), u64> {
        if self.away_since.load(SeqCst) == 0 {
            return Ok(());
        }
        let tried_at = self.tried_at.load(SeqCst);
        let tries = self.tries.load(Relaxed);
        let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(8)).min(LONGEST_PAUSE);
        let passed = now.saturating_sub(tried_at);
        let spread = u64::from(random) % (pause / 4 + 1);
        if passed < pause - spread {
            return Err((pause - spread - passed).min(FIRST_PAUSE));
        }
        match self.tried_at.compare_exchange(tried_at, now, SeqCst, SeqCst) {
            Ok(_) => {
                self.tries.store(tries.saturating_add(1), Relaxed);
                Ok(())
            }
            Err(_) => Err(FIRST_PAUSE),
        }
    }

    /// What becomes of an unknown id. `is_up`: this worker has a connection. A worker that has none yet asks as
    /// soon as it has one.
    pub fn unknown(&self, is_up: bool, now: u64, gone_after: u64) -> Unknown {
        match self.away_since.load(SeqCst) {
            0 => Unknown::Ask,
            _ if is_up => Unknown::Ask,
            since if now.saturating_sub(since) < gone_after => Unknown::Unanswered,
            _ => Unknown::Nobody,
        }
    }

    /// Milliseconds since the store was lost; `None` if it was not.
    pub fn away_for(&self, now: u64) -> Option<u64> {
        let since = self.away_since.load(SeqCst);
        (since != 0).then(|| now.saturating_sub(since))
    }

    /// Whether it proves something that the store has nothing.
    pub fn is_proof(&self, now: u64) -> bool {
        let back_at = self.back_at.load(SeqCst);
        back_at == 0 || now.saturating_sub(back_at) >= PROVES_NOTHING
    }

    /// Whether the sessions of this machine are to be written to the store.
    pub fn has_to_announce(&self) -> bool {
        self.unannounced.load(SeqCst) != 0
    }

    /// They are written from now on; [`Self::lost`] undoes this.
    pub fn announces(&self) {
        self.unannounced.store(0, SeqCst);
    }

    /// They could not be written.
    pub fn has_not_announced(&self) {
        self.unannounced.store(1, SeqCst);
    }

    /// The machine hears the messages of others from now on, and has not heard those before. `now` is the
    /// clock of the tables.
    pub fn hears_again(&self, now: Tick) {
        self.gaps.fetch_add(1, Relaxed);
        self.gap.store(1 << 32 | u64::from(now.0), SeqCst);
    }

    /// Whether others may have moved or ended a session since this machine used it, unheard.
    pub fn may_be_stale(&self, used: Tick) -> bool {
        let gap = self.gap.load(SeqCst);
        // Equal: it was used in the tick of the gap, before or behind it.
        gap >> 32 != 0 && (gap as u32).wrapping_sub(used.0) <= i32::MAX as u32
    }

    /// Takes or prolongs the right to listen for a process, until `until`. Returns whether it is new; `None` if
    /// another process has it.
    pub fn take_lease(&self, process: u32, now: Tick, until: Tick) -> Option<bool> {
        let seen = self.lease.load(SeqCst);
        let (holder, end) = ((seen >> 32) as u32, Tick(seen as u32));
        if holder != process && holder != 0 && end.since(now).0 > 0 {
            return None;
        }
        let taken = u64::from(process) << 32 | u64::from(until.0);
        let result = self.lease.compare_exchange(seen, taken, SeqCst, SeqCst);
        result.is_ok().then_some(holder != process)
    }

    /// Gives the right to listen back, if this process has it.
    pub fn drop_lease(&self, process: u32) {
        let seen = self.lease.load(SeqCst);
        if (seen >> 32) as u32 == process {
            // If another process has just taken it, it stays.
            let _ = self.lease.compare_exchange(seen, 0, SeqCst, SeqCst);
        }
    }

    /// A worker has so many sessions that requests wait for.
    pub fn note_waiting(&self, worker: usize, count: usize) {
        if let Some(place) = self.waiting.get(worker % WORKERS) {
            place.store(count as u32, Relaxed);
        }
    }

    /// The sessions that requests of this machine wait for.
    pub fn waiting(&self) -> u64 {
        self.waiting.iter().map(|count| u64::from(count.load(Relaxed))).sum()
    }

    /// A reply has come after so many milliseconds.
    pub fn note_reply(&self, millis: u64) {
        let class = (u64::BITS - millis.leading_zeros()) as usize;
        if let Some(count) = self.replies.get(class.min(TIMES - 1)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// The milliseconds in which so many of a hundred replies came, rounded up to the end of a class. `None`
    /// before the first reply.
    pub fn round_trip(&self, percent: u64) -> Option<u64> {
        let counts = || self.replies.iter().map(|count| count.load(Relaxed));
        let all: u64 = counts().sum();
        let mut sum = 0;
        let class = counts().position(|count| {
            sum += count;
            sum * 100 >= all * percent
        });
        class.filter(|_| all > 0).map(|class| (1 << class) - 1)
    }

    /// The secret of the fleet, if a worker has found it in the store.
    pub fn root(&self) -> Option<Root> {
        let has_root = self.has_root.load(SeqCst) != 0;
        has_root.then(|| Root::from_words(core::array::from_fn(|at| self.word(at).load(SeqCst))))
    }

    /// A worker has found the secret. All of them find the same.
    pub fn set_root(&self, root: Root) {
        for (at, word) in root.to_words().into_iter().enumerate() {
            self.word(at).store(word, SeqCst);
        }
        self.has_root.store(1, SeqCst);
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        let [first, second, third, fourth] = &self.root;
        match at {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        }
    }

    /// Counts a failure. Returns how many there were if it is time for a line in the log.
    pub fn log_failure(&self, now: u64) -> Option<u64> {
        self.failures.fetch_add(1, Relaxed);
        let logged_at = self.logged_at.load(SeqCst);
        if logged_at != 0 && now.saturating_sub(logged_at) < LOG_EVERY {
            return None;
        }
        let is_first = self.logged_at.compare_exchange(logged_at, now.max(1), SeqCst, SeqCst);
        is_first.is_ok().then(|| self.failures.swap(0, Relaxed))
    }
}
