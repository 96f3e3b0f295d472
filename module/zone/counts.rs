//! Counters of requests by their result, for each zone.

use core::sync::atomic::Ordering;

use affinity::policy::{Rejection, Status};
use affinity::status::{Loss, Tally};
use affinity::table::ServerId;
use nginx_sys::ngx_worker;

use crate::zone::notes::TALLIES;
use crate::zone::sessions::Sessions;

impl Sessions {
    /// Counts a request that has ended; `server` is its session's server.
    #[inline(always)]
    pub fn count_request(&self, status: Status, server: Option<ServerId>) {
        match (status, server) {
            (Status::Hit, Some(server)) => self.table.count_hit(server),
            (Status::Hit, None) => (),
            (status, _) => self.count_other(status),
        }
    }

    #[cold]
    pub(super) fn count_other(&self, status: Status) {
        if let Some(counter) = Tally::of_status(status) {
            self.count(counter);
        }
    }

    /// Counts a request that was rejected.
    pub fn count_rejection(&self, rejection: Rejection) {
        self.count(Tally::of_rejection(rejection));
    }

    /// Counts what happens to a session that may be lost.
    pub fn count_loss(&self, loss: Loss) {
        self.count(Tally::of_loss(loss));
    }

    pub(super) fn count(&self, counter: usize) {
        // SAFETY: a plain word of this process, written when the worker starts.
        let worker = unsafe { ngx_worker };
        let counter = self.notes().tallies.get(worker % TALLIES).and_then(|set| set.0.get(counter));
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sums over all workers.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for set in &self.notes().tallies {
            for (sum, counter) in tally.0.iter_mut().zip(&set.0) {
                *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
            }
        }
        tally
    }
}
