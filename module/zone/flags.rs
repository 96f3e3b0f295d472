//! State that all workers share: which servers drain, whether there is evidence against a server, which
//! worker makes the attempts.

use core::sync::atomic::Ordering;

use affinity::mcp::SharedTargets;
use affinity::status::Draining;
use affinity::table::{ServerId, Span, Tick};

use crate::zone::sessions::Sessions;

impl Sessions {
    /// Begins or ends the draining of a server. False if the table's list has no room for the server.
    pub fn set_draining(&self, address: &[u8], draining: Draining, now: Tick) -> bool {
        let server = match draining.is_on() {
            true => self.table.intern(address, now),
            false => self.table.find_server(address),
        };
        let Some(server) = server else {
            return !draining.is_on();
        };
        self.table.set_server_flags(server, draining.0, u32::MAX);
        self.note_draining();
        true
    }

    /// Whether any server drains.
    #[inline]
    pub fn drains(&self) -> bool {
        self.notes().draining.is_set()
    }

    /// The servers that drain.
    pub fn draining(&self) -> impl Iterator<Item = (ServerId, Draining)> + '_ {
        let flags = |server| (server, Draining(self.table.server_flags(server)));
        self.table.servers().map(flags).filter(|(_, draining)| draining.is_on())
    }

    pub(super) fn note_draining(&self) {
        self.notes().draining.note(|| self.draining().next().is_some());
    }

    /// Whether there is evidence against any server: it is not up, has been silent, or is missing in DNS.
    #[inline]
    pub fn is_troubled(&self) -> bool {
        self.notes().troubled.is_set()
    }

    /// Updates the flag of [`Sessions::is_troubled`] after a change of a record.
    pub fn note_trouble(&self) {
        let is_troubled =
            || self.table.servers().any(|server| !self.table.record(server).is_plain());
        self.notes().troubled.note(is_troubled);
    }

    /// The targets of streams that two servers have announced.
    pub fn shared_targets(&self) -> &SharedTargets {
        &self.notes().shared_targets
    }

    /// Takes or prolongs the lease on attempts for this process; `None` if another process has it. Returns
    /// whether the lease is new.
    pub fn take_lease(&self, process: u32, now: Tick, length: Span) -> Option<bool> {
        let lease = &self.notes().lease;
        let seen = lease.load(Ordering::SeqCst);
        let (holder, until) = ((seen >> 32) as u32, Tick(seen as u32));
        if holder != process && holder != 0 && until.since(now).0 > 0 {
            return None;
        }
        let until = Tick(now.0.wrapping_add(length.0));
        let taken = u64::from(process) << 32 | u64::from(until.0);
        let result = lease.compare_exchange(seen, taken, Ordering::SeqCst, Ordering::SeqCst);
        result.is_ok().then_some(holder != process)
    }

    /// Ends the lease, if this process has it.
    pub fn drop_lease(&self, process: u32) {
        let lease = &self.notes().lease;
        let seen = lease.load(Ordering::SeqCst);
        if (seen >> 32) as u32 == process {
            // If another process has just taken the lease, it stays.
            let _ = lease.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}
