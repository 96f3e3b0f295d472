//! A worker as a member of a fleet: its connection to the store, and what it has to tell.

use core::cell::{Cell, RefCell};
use core::ptr;
use std::rc::Rc;

use affinity::ask::Ticket;
use affinity::servers::Known;
use affinity::share::asking::Place;
use affinity::share::link::{Link, Options, Unconfirmed};
use affinity::share::secret::Root;
use affinity::share::standing::Unknown;
use affinity::share::subscription::Subscription;
use affinity::status::Draining;
use affinity::table::{Session, Tick};
use nginx_sys::{ngx_cycle_t, ngx_random, NGX_LOG_WARN};

use super::schedule;
use crate::conf::fleet::Fleet;
use crate::conf::source::Answer;
use crate::conf::MainConf;
use crate::net::connection::Handle;
use crate::net::error::Error;
use crate::net::to::{LiveTarget, To};
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::millis;
use crate::nginx::per_worker::{self, PerWorker};
use crate::wait;
use crate::zone::{Share, Zone};

/// So much is kept by a worker while it has no connection. What is beyond is written with all sessions of the
/// machine; an end is lost.
pub(super) const MAX_UNSENT: usize = 10_000;

/// What is to be written about a session. What it is, is read from the table then.
#[derive(Clone, Copy)]
pub(super) enum Unsent {
    /// Its server has created it.
    Claimed(Place),
    /// It is in use here; what the store has counts.
    Kept(Place),
    Moved(Place),
    Ended(Place),
    /// Other machines may have it otherwise.
    Told(Place),
}

/// What a worker knows of its listening.
#[derive(Default)]
pub(super) struct Listening {
    pub(super) handle: Cell<Option<Handle>>,
    pub(super) subscription: RefCell<Option<Subscription>>,
    pub(super) tried_at: Cell<u64>,
    pub(super) has_lease: Cell<bool>,
}

impl Listening {
    /// Whether this worker listens for its machine, or tries to.
    pub(super) fn has_lease(&self) -> bool {
        self.has_lease.get()
    }
}

/// A worker in a fleet.
pub(super) struct Member {
    /// Of the configuration of the cycle that runs: the members are made again with another one.
    pub(super) fleet: &'static Fleet,
    pub(super) link: RefCell<Link<Ticket>>,
    pub(super) handle: Cell<Option<Handle>>,
    /// What could not be written yet.
    pub(super) unsent: RefCell<Vec<Unsent>>,
    /// Zones, their servers, and whether those drain.
    pub(super) unsent_drains: RefCell<Vec<(u16, Vec<u8>, Draining)>>,
    pub(super) listening: Listening,
    /// Whether this worker hashes ids by the secret of the fleet, and whether there are sessions from before.
    pub(super) shares_ids: Cell<bool>,
    has_own_ids: Cell<bool>,
    /// When the store was found to have no secret.
    pub(super) secretless_since: Cell<Option<u64>>,
    pub(super) asked_for_secret_at: Cell<u64>,
    pub(super) sent_at: Cell<u64>,
}

struct Members {
    cycle: *const ngx_cycle_t,
    all: Vec<Rc<Member>>,
}

static MEMBERS: PerWorker<RefCell<Members>> =
    PerWorker::new(RefCell::new(Members { cycle: ptr::null(), all: Vec::new() }));

/// The member for a zone.
pub(super) fn of(share: Share) -> Option<Rc<Member>> {
    let is_of_cycle = |cycle: Cycle<'_>| ptr::eq(MEMBERS.borrow().cycle, cycle.raw().cast_const());
    if !Cycle::with_running(is_of_cycle) {
        Cycle::with_running(|cycle| drop(all_of(cycle)));
    }
    MEMBERS.borrow().all.get(usize::from(share.fleet)).cloned()
}

/// All members of this worker.
pub(super) fn all() -> Vec<Rc<Member>> {
    MEMBERS.borrow().all.clone()
}

/// The members of the cycle that runs.
pub(super) fn all_of(cycle: Cycle<'_>) -> Vec<Rc<Member>> {
    if !ptr::eq(MEMBERS.borrow().cycle, cycle.raw().cast_const()) {
        let fleets = MainConf::of_cycle(cycle).map_or(&[][..], |main| &main.fleets);
        let all = fleets.iter().map(|fleet| Rc::new(Member::new(fleet))).collect();
        *MEMBERS.borrow_mut() = Members { cycle: cycle.raw(), all };
    }
    all()
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
            unsent_drains: RefCell::default(),
            listening: Listening::default(),
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
    pub(super) fn is_in_use(&self) -> bool {
        !self.fleet.zones.borrow().is_empty()
    }

    pub(super) fn zone(&self, place: Place) -> Option<&'static Zone> {
        self.fleet.zones.borrow().get(usize::from(place.zone)).copied()
    }

    pub(super) fn has_own_ids(&self) -> bool {
        self.has_own_ids.get()
    }

    /// From now on this worker hashes ids by the secret of the fleet.
    pub(super) fn share_ids(&self, root: &Root) {
        if self.shares_ids.replace(true) {
            return;
        }
        // They were asked by keys of the other hash.
        let waiting = self.link.borrow_mut().drop_questions();
        waiting.into_iter().for_each(|ticket| wait::answer(ticket, Answer::Failed));
        // Without a file, another worker may learn by the other hash for a moment longer.
        self.has_own_ids.set(self.fleet.root.is_none());
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

    /// The connection has ended.
    pub(super) fn lost(&self, cycle: Cycle<'_>, why: Option<Error>) {
        let now = millis();
        self.handle.set(None);
        let (waiting, unconfirmed) = self.link.borrow_mut().closed();
        for change in unconfirmed {
            self.keep_unsent(match change {
                Unconfirmed::Moved(place) => Unsent::Moved(place),
                Unconfirmed::Ended(place) => Unsent::Ended(place),
            });
        }
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
                let record = || sessions.table.record(session.server);
                sessions.is_troubled() && matches!(record().known, Known::Unreachable | Known::Gone)
            })
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
        let link = self.link.borrow();
        self.fleet.standing.note_waiting(per_worker::number(), link.questions());
        if let Some(at) = link.next_at() {
            schedule::by(at);
        }
    }

    pub(super) fn target(&self) -> To {
        // SAFETY: the target is in the configuration of the cycle that runs.
        To::Target(unsafe { LiveTarget::new(&self.fleet.target) })
    }

    /// Notes what is to be written when the store is back.
    pub(super) fn keep_unsent(&self, unsent: Unsent) {
        let mut all = self.unsent.borrow_mut();
        if all.len() < MAX_UNSENT && all.try_reserve(1).is_ok() {
            all.push(unsent);
        }
    }

    /// A moment of the past as milliseconds since 1970, as the store has it.
    pub(super) fn wall_of(&self, tick: Tick) -> u64 {
        nginx::wall_clock_millis().saturating_sub(nginx::now().since(tick).as_millis())
    }
}

pub(super) fn random() -> u64 {
    // nginx seeds the generator in each worker.
    (ngx_random() as u64) << 31 ^ ngx_random() as u64
}
