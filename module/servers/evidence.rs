//! Evidence about servers: records events in the zone, and derives the state of a server for an upstream.

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

/// Records an event of a server. A change of its state is logged.
pub fn note(zone: &Zone, server: ServerId, event: Event) {
    note_begun(zone, server, event, nginx::now());
}

/// The same for an event of a connection that began at `begun`; ignored if the server has come back since
/// then.
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
        // A worker that was killed may have changed the record without the flag.
        let is_missed = !after.is_plain() && !sessions.is_troubled();
        if is_missed || before.is_plain() != after.is_plain() {
            sessions.note_trouble();
        }
        if before.known != after.known {
            log_change(zone, sessions, server, &after);
        }
    }
}

#[cold]
fn log_change(zone: &Zone, sessions: &Sessions, server: ServerId, record: &Record) {
    // Not the log of a connection: that adds the request line, which may contain an id.
    let log = Cycle::running_log();
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

/// The state of a server for an upstream, by its record. `down` is its parameter in that upstream.
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

/// Whether an upstream has no other server that counts as reachable.
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
    /// On a kept connection that the server had closed.
    Stale,
    /// Without a TCP connection.
    Unreachable(Reason),
    /// By the read timeout, without a byte of a response.
    Silent,
    /// In the TLS handshake: the cause may be a name or a certificate of the location or the client.
    Handshake,
    /// In another way, which is no evidence about the server.
    Own,
}

impl Failure {
    /// How a request of the upstream `u` has failed, by the arguments of `peer.free`.
    pub fn of(pc: Peer<'_>, u: Upstream<'_>, state: ngx_uint_t) -> Failure {
        if state & NGX_PEER_FAILED as ngx_uint_t == 0 {
            return Failure::Own;
        }
        let Some((read_timed_out, write_timed_out)) = pc.timed_out() else {
            // `connect` has failed at once, perhaps for a reason on this machine: a second try shows the
            // error.
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
