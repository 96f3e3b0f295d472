//! What a worker does for its stores now and then.

use core::cell::RefCell;
use std::rc::Rc;

use affinity::share::secret::Root;
use nginx_sys::ngx_event_t;

use super::commands::Commands;
use super::member::{self, random, Member};
use super::pass::Passes;
use super::schedule;
use crate::net::connection::open;
use crate::net::to::Times;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::{serves_requests, PerWorker};
use crate::nginx::{millis, try_box};

/// The longest time between two turns (milliseconds).
const INTERVAL: u64 = 100;

/// Until a connection is established (milliseconds).
const CONNECT_WITHIN: u64 = 1_000;

/// A store without a secret gets one after this time (milliseconds), unless another machine has one.
const SECRET_AFTER: u64 = 3_000;

/// Stores close connections that are idle for long (milliseconds).
const PING_AFTER: u64 = 20_000;

/// The passes of the members, in their order.
static PASSES: PerWorker<RefCell<Vec<Passes>>> = PerWorker::new(RefCell::new(Vec::new()));

/// To be called from `init_process`.
pub(super) fn start(cycle: Cycle<'_>) {
    if serves_requests() && member::all_of(cycle).iter().any(|member| member.is_in_use()) {
        schedule::start(Some(on_turn));
        turn(cycle);
    }
}

unsafe extern "C" fn on_turn(_event: *mut ngx_event_t) {
    Cycle::with_running(turn);
}

fn turn(cycle: Cycle<'_>) {
    schedule::begin();
    let (now, members) = (millis(), member::all_of(cycle));
    let mut passes = PASSES.borrow_mut();
    passes.resize_with(members.len(), Passes::default);
    for (member, passes) in members.iter().zip(&mut *passes) {
        if member.is_in_use() {
            schedule::by(one(member, passes, cycle, now));
        }
    }
    schedule::by(now + INTERVAL);
}

/// Does what is due for a member. Returns when its next turn has to be at the latest.
fn one(member: &Rc<Member>, passes: &mut Passes, cycle: Cycle<'_>, now: u64) -> u64 {
    let standing = member.fleet.standing;
    if let Some(root) = standing.root().filter(|_| !member.shares_ids.get()) {
        member.share_ids(&root);
    }
    let mut next = now + INTERVAL;
    match member.handle.get() {
        None => match standing.may_try(now, random() as u32) {
            Ok(()) => connect(member, cycle),
            Err(pause) => next = now + pause,
        },
        Some(handle) if member.link.borrow().is_overdue(now) => handle.close("timed out"),
        Some(_) => member.serve(now),
    }
    member.listen(cycle, now);
    next = next.min(member.pass(passes, now));
    member.flush();
    next.min(member.link.borrow().next_at().unwrap_or(u64::MAX))
}

fn connect(member: &Rc<Member>, cycle: Cycle<'_>) {
    let times = Times { delay: 0, deadline: CONNECT_WITHIN, lasts: true };
    if let Some(user) = try_box(Commands(Rc::clone(member))) {
        member.handle.set(open(cycle, member.target(), times, user));
    }
}

impl Member {
    fn serve(&self, now: u64) {
        let mut link = self.link.borrow_mut();
        link.ask_again(now);
        if link.is_up() && now.saturating_sub(self.sent_at.get()) >= PING_AFTER {
            link.ping(now);
        }
        if link.lacks_secret() {
            let since = self.secretless_since.get().unwrap_or(now);
            let mut random = [0; 32];
            if now.saturating_sub(since) >= SECRET_AFTER && getrandom::fill(&mut random).is_ok() {
                link.offer_secret(Root::new(random), now);
            } else if now.saturating_sub(self.asked_for_secret_at.get()) >= SECRET_AFTER / 6 {
                link.ask_for_secret_again(now);
            }
        }
    }
}
