//! What a worker does for zones whose memory is a file: it says that it serves clients, and notes the time of day.

use nginx_sys::ngx_event_t;

use crate::conf::zones;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::{self, serves_requests};
use crate::storage::clock::clock;
use crate::storage::locks;
use crate::storage::memory::Memory;
use crate::zone::Zone;

/// To be called from `init_process`.
pub(super) fn start(cycle: Cycle<'_>) {
    for memory in memories(zones(cycle)) {
        if per_worker::is_forked() {
            memory.close_in_worker();
        }
        let (Some(_), Some(fd)) = (memory.path(), memory.fd()) else { continue };
        if serves_requests() {
            memory.header().note_master(per_worker::master_id());
            locks::accept(fd, true);
            per_worker::when_exiting(fd, Some(on_exit), cycle.log());
        }
    }
}

/// The worker accepts no connections any more. Its last requests may last for hours: another nginx may use the file
/// meanwhile.
unsafe extern "C" fn on_exit(event: *mut ngx_event_t) {
    // SAFETY: nginx passes the event of `when_exiting`.
    locks::accept(unsafe { per_worker::exiting(event) }, false);
}

/// Notes the time of day in the files.
pub(super) fn note_clock(zones: &[&Zone]) {
    for memory in memories(zones).filter(|memory| memory.path().is_some()) {
        memory.header().note_clock(clock());
    }
}

fn memories<'z>(zones: &'z [&'z Zone]) -> impl Iterator<Item = &'z Memory> {
    zones.iter().filter_map(|zone| Some(zone.sessions()?.memory()))
}
