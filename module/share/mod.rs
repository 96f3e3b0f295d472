//! Sessions that several nginx machines share by a store (`sticky_share`): the side of nginx.
//!
//! `affinity/src/share/` has what is said to the store and when. Each worker has a [`member`] of each fleet, with a
//! connection for commands; one worker of the machine listens besides ([`listener`]), and passes over the tables
//! ([`pass`]). [`source`] asks for unknown ids, [`write`] tells of what this machine has learned, moved or ended.

mod apply;
mod commands;
pub mod directive;
mod listener;
mod member;
mod pass;
mod schedule;
mod source;
mod turn;
pub mod write;

use core::sync::atomic::Ordering::Relaxed;

use affinity::status::{ShareReport, Text};
use affinity::table::{Key, Session};

use crate::conf::fleet::Fleet;
use crate::conf::{Asked, MainConf, UpstreamConf};
use crate::nginx;
use crate::nginx::conf::{Conf, Logged};
use crate::nginx::cycle::Cycle;
use crate::zone::{Share, Zone};

/// The longest name of a shared zone: it is in each message.
const MAX_ZONE: usize = affinity::share::message::MAX_ZONE;

/// Connects the zones with their stores. To be called when `http {}` is read, before zones are mapped.
pub fn wire(cf: &mut Conf<'_>) -> Result<(), Logged> {
    let blocks: Vec<_> = cf.upstreams().collect();
    let mut asks = false;
    for &block in &blocks {
        // SAFETY: the configuration has no request yet, and this reference ends with the loop's step.
        let Some(conf) = (unsafe { UpstreamConf::of_mut(block) }) else { continue };
        let Asked::Sessions(_, affinity) = &mut conf.asked else { continue };
        let Some(name) = affinity.share else { continue };
        let (zone, log) = (affinity.zone, cf.log());
        let Some(main) = MainConf::of(cf) else { return Err(Logged) };
        let has_name = |fleet: &Fleet| fleet.name.as_bytes() == name.as_bytes();
        let Some(number) = main.fleets.iter().position(has_name) else {
            return Err(zone.conf_error(
                log,
                format_args!("no sticky_share \"{name}\" for zone \"{}\"", zone.log_name()),
            ));
        };
        if zone.name().0.len() > MAX_ZONE {
            return Err(zone.conf_error(
                log,
                format_args!("the name of a shared zone has at most {MAX_ZONE} bytes"),
            ));
        }
        let (Some(fleet), Ok(number)) = (main.fleets.get(number), u16::try_from(number)) else {
            return Err(Logged);
        };
        let mut zones = fleet.zones.borrow_mut();
        match zone.share() {
            Some(share) if share.fleet == number => (),
            Some(_) => {
                return Err(zone.conf_error(
                    log,
                    format_args!("zone \"{}\" is shared by two stores", zone.log_name()),
                ));
            }
            None => {
                zone.set_share(Share { fleet: number, zone: zones.len() as u16 });
                zones.push(zone);
            }
        }
        let gone_after = affinity.policy.gone_after.as_millis();
        fleet.gone_after.set(fleet.gone_after.get().max(gone_after));
        affinity.source = Some(Box::new(source::Store::new(fleet.options.timeout)));
        asks = true;
    }
    for block in blocks {
        let affinity = UpstreamConf::of(block).and_then(UpstreamConf::affinity);
        let Some(affinity) = affinity.filter(|it| it.share.is_none()) else { continue };
        if affinity.zone.share().is_some() {
            let (zone, log) = (affinity.zone, cf.log());
            return Err(zone.conf_error(
                log,
                format_args!(
                    "zone \"{}\" is shared in one upstream and not in another, write \"share\" in both",
                    zone.log_name()
                ),
            ));
        }
    }
    let Some(main) = MainConf::of(cf) else { return Err(Logged) };
    main.asks |= asks;
    // Its target is finished outside of the list, since that needs the configuration as well.
    let mut fleets = core::mem::take(&mut main.fleets);
    fleets.iter_mut().for_each(|fleet| fleet.target.finish(cf));
    if let Some(main) = MainConf::of(cf) {
        main.fleets = fleets;
    }
    Ok(())
}

/// Connects a worker to its stores. To be called from `init_process`.
pub fn start(cycle: Cycle<'_>) {
    turn::start(cycle);
}

/// Lets another worker listen when this one exits. To be called from `exit_process`.
pub fn stop() {
    listener::stop();
}

/// Whether the store is to be asked for a session although this machine has it: it may have ended or moved unheard,
/// or its server cannot be reached, and another machine may have moved it.
pub fn is_doubtful(zone: &Zone, session: &Session) -> bool {
    zone.share().and_then(member::of).is_some_and(|member| member.doubts(zone, session))
}

/// Finds a session by the key that this machine had for its id before it knew the secret of the fleet. `own` is
/// that key, which `key` replaces from now on.
pub fn take_over(zone: &Zone, own: Key, key: Key) -> bool {
    zone.share().and_then(member::of).is_some_and(|member| member.take_over(zone, own, key))
}

/// Whether a zone may have sessions from before this machine knew the secret of the fleet.
pub fn has_own_ids(zone: &Zone) -> bool {
    zone.share().and_then(member::of).is_some_and(|member| member.has_own_ids())
}

/// What this machine knows of the store of a zone, if that is shared.
pub fn report(zone: &Zone) -> Option<ShareReport<'_>> {
    let member = zone.share().and_then(member::of)?;
    let (fleet, now) = (member.fleet, nginx::millis());
    let standing = fleet.standing;
    let since = |at: u64| (at != 0).then(|| now.saturating_sub(at));
    let listener = standing.hears.load(Relaxed);
    let up = member.link.borrow().is_up();
    Some(ShareReport {
        name: Text(fleet.name.as_bytes()),
        store: Text(fleet.target.text.as_bytes()),
        up,
        away_ms: standing.away_for(now),
        round_trip_ms: standing.round_trip(50),
        round_trip_99_ms: standing.round_trip(99),
        waiting: standing.waiting(),
        listener: u32::try_from(listener).ok().filter(|&process| process != 0),
        heard_ms: since(standing.heard_at.load(Relaxed)),
        gaps: standing.gaps.load(Relaxed),
        announced: !standing.has_to_announce(),
    })
}
