//! The connection that hears what other machines tell. One worker of the machine has it, under a lease.

use core::ptr;
use core::sync::atomic::Ordering::Relaxed;
use std::rc::Rc;

use affinity::net::{Next, Output, Protocol};
use affinity::share::subscription::{Heard, Subscription, SILENT_AFTER};
use affinity::table::{Span, Tick};

use super::apply::apply;
use super::member::{self, Member};
use crate::conf::UpstreamConf;
use crate::net::connection::{open, Exchange};
use crate::net::error::Error;
use crate::net::to::Times;
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::per_worker::is_exiting;
use crate::nginx::try_box;
use crate::zone::Zone;

/// Another worker listens if the one that did has not been heard of for so long (milliseconds).
const LEASE: u64 = 2_000;

/// Between two attempts to connect (milliseconds).
const PAUSE: u64 = 500;

/// Gives up all leases.
pub(super) fn stop() {
    member::all().iter().for_each(|member| member.stop_listening());
}

impl Member {
    fn stop_listening(&self) {
        if self.listening.has_lease.replace(false) {
            self.fleet.standing.hears.store(0, Relaxed);
            self.fleet.standing.drop_lease(std::process::id());
        }
        if let Some(handle) = self.listening.handle.get() {
            handle.close("is not needed any more");
        }
    }

    /// Listens, if that is up to this worker.
    pub(super) fn listen(self: &Rc<Self>, cycle: Cycle<'_>, now: u64) {
        let (standing, tick) = (self.fleet.standing, nginx::now());
        if is_exiting() {
            return self.stop_listening();
        }
        let until = Tick(tick.0.wrapping_add(Span::from_millis(LEASE).0));
        let is_up = self.link.borrow().is_up();
        // A worker without a connection leaves the lease to another one.
        let lease = match is_up {
            true => standing.take_lease(std::process::id(), tick, until),
            false => None,
        };
        self.listening.has_lease.set(lease.is_some());
        if lease.is_none() {
            return;
        }
        match self.listening.handle.get() {
            None if now.saturating_sub(self.listening.tried_at.get()) >= PAUSE => {
                self.listening.tried_at.set(now);
                self.subscribe(cycle);
            }
            None => (),
            Some(handle) => {
                let mut subscription = self.listening.subscription.borrow_mut();
                let Some(subscription) = subscription.as_mut() else { return };
                if !subscription.tick(now) {
                    return handle.close("timed out");
                }
                let commands = subscription.output();
                if !commands.as_bytes().is_empty() {
                    handle.send(commands.as_bytes());
                    commands.clear();
                }
            }
        }
    }

    fn subscribe(self: &Rc<Self>, cycle: Cycle<'_>) {
        let link = self.link.borrow();
        let Some(keys) = link.keys().cloned() else { return };
        let options = link.options().clone();
        drop(link);
        let times = Times { delay: 0, deadline: SILENT_AFTER, lasts: true };
        let Some(user) = try_box(Messages(Rc::clone(self))) else { return };
        *self.listening.subscription.borrow_mut() = Some(Subscription::new(options, keys));
        self.listening.handle.set(open(cycle, self.target(), times, user));
    }
}

impl Member {
    /// Asks for each server of the shared zones whether it drains: that may have been told unheard.
    fn ask_for_drains(&self, cycle: Cycle<'_>) {
        let zones = self.fleet.zones.borrow();
        for conf in cycle.upstreams().filter_map(UpstreamConf::of) {
            let zone = conf.affinity().map(|affinity| affinity.zone);
            let is_it = |shared: &&Zone| zone.is_some_and(|zone| ptr::eq(zone, *shared));
            let (Some(number), Ok(addresses)) =
                (zones.iter().position(is_it), conf.addresses.try_borrow())
            else {
                continue;
            };
            let mut link = self.link.borrow_mut();
            for server in addresses.iter() {
                link.ask_whether_drains(number as u16, server.name(), nginx::millis());
            }
        }
        self.flush();
    }
}

/// The user of the connection.
struct Messages(Rc<Member>);

impl Messages {
    fn with<T>(&self, f: impl FnOnce(&mut Subscription) -> T) -> Option<T> {
        self.0.listening.subscription.borrow_mut().as_mut().map(f)
    }
}

impl Protocol for Messages {
    fn connected(&mut self, output: &mut Output) -> Next {
        let is_sent = self.with(|subscription| {
            subscription.connected(nginx::millis());
            let commands = subscription.output();
            let is_sent = commands.is_whole() && output.push(commands.as_bytes()).is_ok();
            commands.clear();
            is_sent
        });
        match is_sent {
            Some(true) => Next::Wait,
            _ => Next::Fail("cannot be written to"),
        }
    }

    fn received(&mut self, input: &[u8], _: &mut Output) -> (usize, Next) {
        let (mut at, now, standing) = (0, nginx::millis(), self.0.fleet.standing);
        standing.heard_at.store(now, Relaxed);
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let heard = self.with(|subscription| subscription.receive(rest, now));
            match heard {
                Some(Ok((_, Heard::Incomplete))) | None => return (at, Next::Wait),
                Some(Err(why)) => return (at, Next::Fail(why)),
                Some(Ok((len, heard))) => {
                    at += len;
                    match heard {
                        Heard::On => {
                            standing.hears_again(nginx::now());
                            Cycle::with_running(|cycle| self.0.ask_for_drains(cycle));
                            standing.hears.store(u64::from(std::process::id()), Relaxed);
                        }
                        Heard::Message(message) => {
                            let zones = self.0.fleet.zones.borrow();
                            let zone = zones.iter().find(|zone| zone.name().0 == message.zone);
                            if let Some(zone) = zone {
                                apply(zone, &message);
                            }
                        }
                        Heard::Incomplete | Heard::Quiet | Heard::Foreign => (),
                    }
                }
            }
        }
    }

    fn closed(&mut self) -> Next {
        Next::Wait
    }
}

impl Exchange for Messages {
    fn ended(self: Box<Self>, cycle: Cycle<'_>, result: Result<(), Error>) {
        let member = &self.0;
        member.listening.handle.set(None);
        *member.listening.subscription.borrow_mut() = None;
        let standing = member.fleet.standing;
        if standing.hears.load(Relaxed) == u64::from(std::process::id()) {
            standing.hears.store(0, Relaxed);
        }
        if let Some(why) = result.err().filter(|_| member.listening.has_lease()) {
            if let Some(failures) = standing.log_failure(nginx::millis()) {
                member.complain(cycle, &why, failures);
            }
        }
    }
}
