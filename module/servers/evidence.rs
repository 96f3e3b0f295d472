//! From what happens with a server to what is known of it, and what an upstream makes of that.

use affinity::servers::{Event, Known, Member, Reason, Record, View};
use affinity::status::Text;
use affinity::table::{ServerId, Table, Tick};
use nginx_sys::{ngx_uint_t, NGX_LOG_NOTICE, NGX_LOG_WARN, NGX_PEER_FAILED};

use crate::conf::{Affinity, UpstreamConf};
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::upstream::{Block, Peer, Upstream};
use crate::servers::socket;
use crate::zone::sessions::Sessions;
use crate::zone::Zone;

/// Notes what has happened with a server. What that changes for requests stands in the log.
pub fn note(zone: &Zone, server: ServerId, event: Event) {
    note_begun(zone, server, event, nginx::now());
}

/// The same of a connection that was begun at that time; nothing if the server has come back since.
pub fn note_begun(zone: &Zone, server: ServerId, event: Event, begun: Tick) {
    let (now, rules) = (nginx::now(), zone.rules());
    let changed = zone.sessions().and_then(|sessions| {
        let change = |record: Record| match record.is_back_since(begun) {
            true => record,
            false => record.apply(event, now, &rules),
        };
        let (before, after) = sessions.table.update_record(server, change)?;
        Some((sessions, before, after))
    });
    if let Some((sessions, before, after)) = changed {
        // A worker that was killed may have noted the one and not the other.
        let is_missed = !after.is_plain() && !sessions.is_troubled();
        if is_missed || before.is_plain() != after.is_plain() {
            sessions.note_trouble();
        }
        if before.known != after.known {
            tell(zone, sessions, server, &after);
        }
    }
}

#[cold]
fn tell(zone: &Zone, sessions: &Sessions, server: ServerId, record: &Record) {
    // Not the log of a connection: that adds the request line, which may hold an id.
    let log = Cycle::running().log();
    let mut buffer = [0; Table::MAX_ADDRESS];
    let Some(address) = sessions.table.address(server, &mut buffer) else { return };
    let (address, name) = (Text(address), zone.log_name());
    let known = record.known.as_str();
    match (record.known, record.reason.as_str()) {
        (Known::Up, _) | (_, None) => {
            ngx::ngx_log_error!(
                NGX_LOG_NOTICE,
                log,
                "server \"{address}\" of zone \"{name}\" is {known}"
            );
        }
        (_, Some(reason)) => {
            ngx::ngx_log_error!(
                NGX_LOG_WARN,
                log,
                "server \"{address}\" of zone \"{name}\" is {known}: {reason}"
            );
        }
    }
}

/// What an upstream makes of what is known of a server. `down`: its configuration there says so.
pub fn view(
    us: Block<'_>,
    affinity: &Affinity,
    address: &[u8],
    record: &Record,
    down: bool,
) -> View {
    let now = nginx::now();
    let place = Member { gone_after: affinity.policy.gone_after, down, alone: false };
    let view = record.view(&place, now);
    if view.known != Known::Gone {
        return view;
    }
    let alone = is_alone(us, affinity, address);
    record.view(&Member { alone, ..place }, now)
}

/// Whether no other server of an upstream can be reached, as far as is known.
pub fn is_alone(us: Block<'_>, affinity: &Affinity, address: &[u8]) -> bool {
    let conf = UpstreamConf::of(us);
    let sessions = affinity.zone.sessions();
    let (Some(conf), Some(sessions)) = (conf, sessions) else { return true };
    let Ok(addresses) = conf.addresses.try_borrow() else { return true };
    let is_reachable = |name: &[u8]| {
        let record = sessions.table.find_server(name).map(|server| sessions.table.record(server));
        record.is_none_or(|record| matches!(record.known, Known::Up | Known::Slow))
    };
    let mut others = addresses.iter().filter(|other| other.listed && !other.down);
    !others.any(|other| other.name() != address && is_reachable(other.name()))
}

/// How a request has failed at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server had closed a kept connection.
    Stale,
    /// There was no TCP connection.
    Unreachable(Reason),
    /// It ended by the read timeout without a byte of an answer.
    Silent,
    /// In the TLS handshake: names and certificates belong to the location, and may be the client's.
    Handshake,
    /// By anything else, which tells nothing of the server.
    Own,
}

impl Failure {
    /// What `peer.free` says of a request that was at a server of the upstream `u`.
    pub fn of(pc: Peer<'_>, u: Upstream<'_>, state: ngx_uint_t) -> Failure {
        if state & NGX_PEER_FAILED as ngx_uint_t == 0 {
            return Failure::Own;
        }
        let Some((read_timed_out, write_timed_out)) = pc.timed_out() else {
            // `connect` has failed at once, perhaps for want of something here.
            let reason = pc.address().and_then(socket::connect_once);
            return reason.map_or(Failure::Own, Failure::Unreachable);
        };
        let timed_out = read_timed_out || write_timed_out;
        if u.is_shaking_hands() {
            Failure::Handshake
        } else if read_timed_out && !u.has_answered() {
            Failure::Silent
        } else if pc.is_cached() {
            match timed_out || u.has_answered() {
                true => Failure::Own,
                false => Failure::Stale,
            }
        } else if u.was_connected() {
            Failure::Own
        } else if timed_out {
            Failure::Unreachable(Reason::TimedOut)
        } else {
            Failure::Unreachable(Reason::Refused)
        }
    }
}
