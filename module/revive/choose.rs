//! Chooses a server for a session that is revived.

use affinity::servers::{Avoided, Known};
use affinity::status::Draining;
use affinity::table::ServerId;
use nginx_sys::ngx_random;

use super::session::Place;
use crate::conf::UpstreamConf;
use crate::net::address::Address;
use crate::nginx;
use crate::servers::evidence;

/// A server: its name as nginx prints it, and its address.
pub(super) struct Server {
    pub(super) name: Vec<u8>,
    pub(super) address: Address,
}

/// One of the servers that new sessions go to, at random by their weights; backups only if there is no other.
pub(super) fn server(place: &Place, tried: &[Vec<u8>]) -> Option<Server> {
    let conf = UpstreamConf::of(place.block)?;
    let addresses = conf.addresses.try_borrow().ok()?;
    let table = &place.affinity.zone.sessions()?.table;
    let mut choice = Choice::default();
    let mut add = |name: &[u8], weight: usize| {
        let found = addresses.find(name).filter(|it| it.listed && !it.down && !it.draining);
        let Some(address) = found.filter(|_| !tried.iter().any(|tried| tried == name)) else {
            return;
        };
        let server = table.find_server(name);
        if server.is_some_and(|server| Draining(table.server_flags(server)).is_on()) {
            return;
        }
        let avoided = server.map_or(Avoided::No, |server| {
            table.record(server).avoids_new(address.fail_timeout, nginx::now())
        });
        let server = || {
            let to = Address::new(address.sockaddr())?;
            Some(Server { name: nginx::try_copy(name)?, address: to })
        };
        if avoided < Avoided::Unreachable {
            choice.add((avoided, address.backup), weight, server);
        }
    };
    match conf.balancer.list(place.block) {
        Some(list) => list.each(|candidate| {
            let peer = candidate.peer();
            if peer.max_conns == 0 || peer.conns < peer.max_conns {
                add(candidate.address(), usize::try_from(peer.weight).unwrap_or(0).max(1));
            }
        }),
        None => addresses.iter().for_each(|address| add(address.name(), 1)),
    }
    choice.chosen
}

/// Chooses one of the best servers while they are told, each as often as its weight says.
#[derive(Default)]
struct Choice {
    best: Option<(Avoided, bool)>,
    /// Of the servers that are as good as the best.
    weight: usize,
    chosen: Option<Server>,
}

impl Choice {
    fn add(
        &mut self,
        rank: (Avoided, bool),
        weight: usize,
        server: impl FnOnce() -> Option<Server>,
    ) {
        if self.best.is_none_or(|best| rank < best) {
            *self = Choice { best: Some(rank), weight: 0, chosen: None };
        }
        if self.best == Some(rank) {
            self.weight = self.weight.saturating_add(weight);
            let number = ngx_random() as usize;
            if number.checked_rem(self.weight).is_some_and(|number| number < weight) {
                self.chosen = server();
            }
        }
    }
}

/// What is known of the server of a session, and its address, unless that has left the upstream.
pub(super) fn state(place: &Place, server: ServerId) -> Option<(Known, Option<Server>)> {
    let sessions = place.affinity.zone.sessions()?;
    let addresses = UpstreamConf::of(place.block)?.addresses.try_borrow().ok()?;
    let record = sessions.table.record(server);
    let look = |name: &[u8]| {
        let Some(found) = addresses.find(name) else { return (Known::Gone, None) };
        let view = evidence::view(place.block, place.affinity, name, &record, found.down);
        let server = Address::new(found.sockaddr())
            .and_then(|address| Some(Server { name: nginx::try_copy(name)?, address }));
        (view.known, server)
    };
    sessions.with_address(server, look)
}
