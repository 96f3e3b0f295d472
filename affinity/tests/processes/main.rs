//! The table, and the records of sessions, between processes that are killed: hundreds of SIGKILLs at
//! random moments (thousands with KILLS=n), and at the instructions of each kind of change, one after the
//! other (at some of them; at each and every one of up to 5,000 with EVERY_INSTRUCTION=1). `harness =
//! false`: the parent must be single-threaded to fork.

mod children;
#[path = "../common/mod.rs"]
mod common;
mod listener;
mod random;
mod records;
mod stepped;
mod succession;

use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use affinity::table::{
    Change, End, Existing, HandOn, Heard, Key, Kind, Limits, Listener, ServerId, Span, Table, Tick,
};
use children::{address, end, key, now, sleep_micros, spawn, wait};
use common::{Mapping, Random};

fn main() {
    let started = Instant::now();
    stepped::a_death_at_any_instruction_leaves_the_table_whole();
    records::a_death_at_any_instruction_leaves_the_records_whole();
    records::records_survive_processes_that_are_killed_at_random();
    succession::successors_know_what_killed_workers_have_done();
    random::writers_killed_at_random_block_nobody();
    listener::what_is_heard_last_is_what_the_table_says();
    listener::what_is_not_heard_is_repaired();
    println!("processes: all well after {:.1} s", started.elapsed().as_secs_f32());
}

/// No expiry: lookups see all that is in the table.
const ENDLESS: Limits = Limits { timeout: Span(i32::MAX as u32), lifetime: None };

/// Sessions of the tests that kill at random.
const IDS: u64 = 1000;
