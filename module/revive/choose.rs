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

/// One of the servers that new sessions go to, at random; backups only if there is no other.
pub(super) fn server(place: &Place, tried: &[Vec<u8>]) -> Option<Server> {
    let addresses = UpstreamConf::of(place.block)?.addresses.try_borrow().ok()?;
    let table = &place.affinity.zone.sessions()?.table;
    let mut best: Option<(Avoided, bool)> = None;
    let mut chosen = Vec::new();
    for address in addresses.iter().filter(|it| it.listed && !it.down && !it.draining) {
        if tried.iter().any(|name| name == address.name()) {
            continue;
        }
        let found = table.find_server(address.name());
        if found.is_some_and(|server| Draining(table.server_flags(server)).is_on()) {
            continue;
        }
        let avoided = found.map_or(Avoided::No, |server| {
            table.record(server).avoids_new(address.fail_timeout, nginx::now())
        });
        if avoided >= Avoided::Unreachable {
            continue;
        }
        let rank = (avoided, address.backup);
        if best.is_none_or(|best| rank < best) {
            best = Some(rank);
            chosen.clear();
        }
        if best == Some(rank) {
            chosen.push(address);
        }
    }
    let number = ngx_random() as usize;
    let address = chosen.get(number.checked_rem(chosen.len())?)?;
    Some(Server { name: address.name().to_vec(), address: Address::new(address.sockaddr())? })
}

/// What is known of the server of a session, and its address, unless that has left the upstream.
pub(super) fn state(place: &Place, server: ServerId) -> Option<(Known, Option<Server>)> {
    let sessions = place.affinity.zone.sessions()?;
    let addresses = UpstreamConf::of(place.block)?.addresses.try_borrow().ok()?;
    let record = sessions.table.record(server);
    let look = |name: &[u8]| {
        let Some(found) = addresses.find(name) else { return (Known::Gone, None) };
        let view = evidence::view(place.block, place.affinity, name, &record, found.down);
        let server =
            Address::new(found.sockaddr()).map(|address| Server { name: name.to_vec(), address });
        (view.known, server)
    };
    sessions.with_address(server, look)
}
