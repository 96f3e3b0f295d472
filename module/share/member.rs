//! A worker as a member of a fleet: its connection to the store, and what it has to tell.

use core::cell::{Cell, RefCell};
use core::ptr;
use std::rc::Rc;

use affinity::ask::Ticket;
use affinity::share::asking::Place;
use affinity::share::link::{Link, Options};
use affinity::share::secret::Root;
use affinity::share::standing::Unknown;
use affinity::table::{Key, Session, Tick};
use nginx_sys::{ngx_cycle_t, ngx_event_t, ngx_random, NGX_LOG_WARN};

use super::commands::Commands;
use super::listener::Listening;
use super::pass::Passes;
use super::write::{Unsent, MAX_UNSENT};
use crate::conf::fleet::Fleet;
use crate::conf::source::Answer;
use crate::conf::MainConf;
use crate::net::connection::{open, Handle, LiveTarget, Times, To};
use crate::net::error::Error;
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::{serves_requests, PerWorker, Timer};
use crate::nginx::{millis, try_box};
use crate::wait;
use crate::zone::{Share, Zone};

/// The longest time between two turns (milliseconds).
const INTERVAL: u64 = 100;

/// Until a connection is established (milliseconds).
const CONNECT_WITHIN: u64 = 1_000;

/// A store without a secret gets one after this time (milliseconds), unless another machine has one.
const SECRET_AFTER: u64 = 3_000;

/// Stores close connections that are idle for long (milliseconds).
const PING_AFTER: u64 = 20_000;

/// A worker in a fleet.
pub(super) struct Member {
    /// Of the configuration of the cycle that runs: the members are made again with another one.
    pub(super) fleet: &'static Fleet,
    pub(super) link: RefCell<Link<Ticket>>,
    handle: Cell<Option<Handle>>,
    /// What could not be written yet.
    pub(super) unsent: RefCell<Vec<Unsent>>,
    pub(super) listening: Listening,
    pub(super) passes: RefCell<Passes>,
    /// Whether this worker hashes ids by the secret of the fleet, and whether there are sessions from before.
    shares_ids: Cell<bool>,
    has_own_ids: Cell<bool>,
    /// When the store was found to have no secret.
    secretless_since: Cell<Option<u64>>,
    asked_for_secret_at: Cell<u64>,
    sent_at: Cell<u64>,
}

struct Members {
    cycle: *const ngx_cycle_t,
    all: Vec<Rc<Member>>,
}

static MEMBERS: PerWorker<RefCell<Members>> =
    PerWorker::new(RefCell::new(Members { cycle: ptr::null(), all: Vec::new() }));

static TURN: PerWorker<Timer> = PerWorker::new(Timer::new());
/// When the next turn is.
static NEXT: PerWorker<Cell<u64>> = PerWorker::new(Cell::new(u64::MAX));

/// The member for a zone.
pub(super) fn of(share: Share) -> Option<Rc<Member>> {
    let is_old =
        Cycle::with_running(|cycle| !ptr::eq(MEMBERS.borrow().cycle, cycle.raw().cast_const()));
    if is_old {
        Cycle::with_running(begin);
    }
    MEMBERS.borrow().all.get(usize::from(share.fleet)).cloned()
}

/// All members of this worker.
pub(super) fn all() -> Vec<Rc<Member>> {
    MEMBERS.borrow().all.clone()
}

/// To be called from `init_process`.
pub(super) fn start(cycle: Cycle<'_>) {
    if serves_requests() {
        begin(cycle);
    }
}

/// Makes the members of a cycle.
fn begin(cycle: Cycle<'_>) {
    let fleets = MainConf::of_cycle(cycle).map_or(&[][..], |main| &main.fleets);
    let all: Vec<_> = fleets.iter().map(|fleet| Rc::new(Member::new(fleet))).collect();
    let is_in_use = all.iter().any(|member| member.is_in_use());
    *MEMBERS.borrow_mut() = Members { cycle: cycle.raw(), all };
    if is_in_use {
        turn(cycle);
    }
}

unsafe extern "C" fn on_turn(_event: *mut ngx_event_t) {
    Cycle::with_running(turn);
}

fn turn(cycle: Cycle<'_>) {
    let now = millis();
    NEXT.set(u64::MAX);
    let members = all().into_iter().filter(|member| member.is_in_use());
    let next = members.map(|member| member.turn(cycle, now)).min();
    next_turn(next.unwrap_or(u64::MAX).min(now + INTERVAL));
}

/// Has a turn at this time, or earlier.
fn next_turn(at: u64) {
    if at < NEXT.get() {
        NEXT.set(at);
        Timer::stop(&TURN);
        let interval = at.saturating_sub(millis()).max(1);
        Timer::start(&TURN, Some(on_turn), interval, Cycle::running_log());
    }
}

impl Member {
    fn new(fleet: &Fleet) -> Member {
        let zones = fleet.zones.borrow().iter().map(|zone| zone.name().0.to_vec()).collect();
        let options = Options { zones, ..fleet.options.clone() };
        let root = fleet.root.or_else(|| fleet.standing.root());
        // SAFETY: the fleet is in the configuration of the cycle that runs, which outlives its members: they are
        // replaced before they are used with another cycle (`of`), and nothing else keeps the reference.
        let fleet = unsafe { &*ptr::from_ref(fleet) };
        let member = Member {
            fleet,
            link: RefCell::new(Link::new(options, root, random())),
            handle: Cell::new(None),
            unsent: RefCell::default(),
            listening: Listening::default(),
            passes: RefCell::default(),
            shares_ids: Cell::new(false),
            has_own_ids: Cell::new(false),
            secretless_since: Cell::new(None),
            asked_for_secret_at: Cell::new(0),
            sent_at: Cell::new(0),
        };
        if let Some(root) = root {
            member.share_ids(&root);
        }
        member
    }

    /// Whether any zone is shared by this store.
    fn is_in_use(&self) -> bool {
        !self.fleet.zones.borrow().is_empty()
    }

    pub(super) fn zone(&self, place: Place) -> Option<&'static Zone> {
        self.fleet.zones.borrow().get(usize::from(place.zone)).copied()
    }

    pub(super) fn has_own_ids(&self) -> bool {
        self.has_own_ids.get()
    }

    /// From now on this worker hashes ids by the secret of the fleet.
    fn share_ids(&self, root: &Root) {
        if self.shares_ids.replace(true) {
            return;
        }
        for sessions in self.fleet.zones.borrow().iter().filter_map(|zone| zone.sessions()) {
            // SAFETY: a turn, an event of a connection or the start of the worker, none of which has a
            // reference to a table.
            unsafe { sessions.table.share_ids(root.ids()) };
            if sessions.table.stats().live > 0 {
                self.has_own_ids.set(true);
            }
        }
    }

    /// Keeps the secret that the store has.
    pub(super) fn take_secret(&self, root: Root) {
        self.fleet.standing.set_root(root);
        self.share_ids(&root);
    }

    /// The store has no secret.
    pub(super) fn note_secretless(&self) {
        let now = millis();
        self.asked_for_secret_at.set(now);
        if self.secretless_since.get().is_none() {
            self.secretless_since.set(Some(now));
        }
    }

    /// The store can be used.
    pub(super) fn joined(&self) {
        self.secretless_since.set(None);
        if let Some(away) = self.fleet.standing.found(millis()) {
            let (name, seconds) = (self.fleet.name, away / 1000);
            Cycle::with_running(|cycle| {
                ngx::ngx_log_error!(
                    NGX_LOG_WARN,
                    cycle.log(),
                    "sticky_share \"{name}\": the store is back after {seconds} s"
                );
            });
        }
        let unsent = core::mem::take(&mut *self.unsent.borrow_mut());
        unsent.into_iter().for_each(|unsent| self.write(unsent));
        self.link.borrow_mut().ask_again(millis());
    }

    /// The connection has ended.
    pub(super) fn lost(&self, cycle: Cycle<'_>, why: Option<Error>) {
        let now = millis();
        self.handle.set(None);
        let waiting = self.link.borrow_mut().closed();
        waiting.into_iter().for_each(|ticket| wait::answer(ticket, Answer::Failed));
        self.fleet.standing.lost(now);
        if let (Some(why), Some(failures)) = (why, self.fleet.standing.log_failure(now)) {
            self.complain(cycle, &why, failures);
        }
        self.schedule();
    }

    /// Says why a connection has failed.
    pub(super) fn complain(&self, cycle: Cycle<'_>, why: &Error, failures: u64) {
        let Fleet { name, target, .. } = self.fleet;
        ngx::ngx_log_error!(
            NGX_LOG_WARN,
            cycle.log(),
            "sticky_share \"{name}\": store \"{}\" {why} ({failures} failures)",
            target.text
        );
    }

    /// What becomes of an unknown id.
    pub(super) fn standing(&self, now: u64) -> Unknown {
        let is_up = self.link.borrow().is_up();
        self.fleet.standing.unknown(is_up, now, self.fleet.gone_after.get())
    }

    /// Asks for a session. False if that is not possible.
    pub(super) fn ask(&self, place: Place, ticket: Ticket) -> bool {
        let is_asked = self.link.borrow_mut().ask(place, ticket, millis()).is_ok();
        self.flush();
        is_asked
    }

    /// See [`super::is_doubtful`].
    pub(super) fn doubts(&self, zone: &Zone, session: &Session) -> bool {
        if !self.link.borrow().is_up() {
            return false;
        }
        self.fleet.standing.may_be_stale(session.used)
            || zone.sessions().is_some_and(|sessions| {
                sessions.is_troubled() && !sessions.table.record(session.server).is_plain()
            })
    }

    /// See [`super::take_over`].
    pub(super) fn take_over(&self, zone: &Zone, own: Key, key: Key) -> bool {
        use affinity::table::{End, Existing};

        let (Some(sessions), now, limits) = (zone.sessions(), nginx::now(), zone.limits()) else {
            return false;
        };
        let held = sessions.lookup(own, now, &limits).and_then(|_| sessions.table.held(own));
        let Some(held) = held else { return false };
        let (ttl, created) = (held.ttl, held.session.created);
        let existing = Existing::Keep;
        let bound =
            sessions.bind_since(key, held.session.server, (ttl, created), now, &limits, existing);
        super::write::bound(zone, key, bound, existing);
        sessions.forget(own, End::Replaced);
        true
    }

    /// Sends what has to be sent. Not to be called in a call of the connection.
    pub(super) fn flush(&self) {
        let mut link = self.link.borrow_mut();
        let commands = link.output();
        if commands.as_bytes().is_empty() && commands.is_whole() {
            return;
        }
        if let Some(handle) = self.handle.get() {
            // A connection that fails now ends in the next turn, and then `lost` is called.
            match commands.is_whole() {
                true => drop(handle.send(commands.as_bytes())),
                false => handle.close("cannot be written to, memory is short"),
            }
        }
        commands.clear();
        self.sent_at.set(millis());
        drop(link);
        self.schedule();
    }

    /// Has the next turn in time.
    pub(super) fn schedule(&self) {
        if let Some(at) = self.link.borrow().next_at() {
            next_turn(at);
        }
    }

    /// Does what is due. Returns when the next turn has to be at the latest.
    fn turn(self: &Rc<Self>, cycle: Cycle<'_>, now: u64) -> u64 {
        if let Some(root) = self.fleet.standing.root().filter(|_| !self.shares_ids.get()) {
            self.share_ids(&root);
        }
        let mut next = now + INTERVAL;
        match self.handle.get() {
            None => match self.fleet.standing.may_try(now, random() as u32) {
                Ok(()) => self.connect(cycle),
                Err(pause) => next = now + pause,
            },
            Some(handle) if self.link.borrow().is_overdue(now) => {
                handle.close("timed out");
            }
            Some(_) => self.serve(now),
        }
        self.listen(cycle, now);
        next = next.min(self.pass(now));
        self.flush();
        next.min(self.link.borrow().next_at().unwrap_or(u64::MAX))
    }

    fn connect(self: &Rc<Self>, cycle: Cycle<'_>) {
        let times = Times { delay: 0, deadline: CONNECT_WITHIN, lasts: true };
        if let Some(user) = try_box(Commands(Rc::clone(self))) {
            self.handle.set(open(cycle, self.target(), times, user));
        }
    }

    pub(super) fn target(&self) -> To {
        // SAFETY: the target is in the configuration of the cycle that runs.
        To::Target(unsafe { LiveTarget::new(&self.fleet.target) })
    }

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

    /// Notes what is to be written when the store is back.
    pub(super) fn keep_unsent(&self, unsent: Unsent) {
        let mut all = self.unsent.borrow_mut();
        if all.len() < MAX_UNSENT && all.try_reserve(1).is_ok() {
            all.push(unsent);
        }
    }

    /// This moment, for the store.
    pub(super) fn wall_of(&self, tick: Tick) -> u64 {
        nginx::wall_clock_millis().saturating_sub(nginx::now().since(tick).as_millis())
    }
}

fn random() -> u64 {
    // nginx seeds the generator in each worker.
    (ngx_random() as u64) << 31 ^ ngx_random() as u64
}
