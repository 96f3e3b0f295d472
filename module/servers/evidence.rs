//! From what happens with a server to what is known of it, and what an upstream makes of that.

use affinity::servers::{Event, Known, Place, Reason, Record, View};
use affinity::status::Text;
use affinity::table::{ServerId, Table, Tick};
use nginx_sys::{
    ngx_cycle, ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_peer_connection_t,
    ngx_uint_t, NGX_LOG_NOTICE, NGX_LOG_WARN, NGX_PEER_FAILED,
};

use crate::conf::{Affinity, UpstreamConf};
use crate::nginx;
use crate::nginx::bits;
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
    // SAFETY: a process that serves requests has a cycle with a log.
    let log = unsafe { (*ngx_cycle).log };
    let mut buffer = [0; Table::MAX_ADDRESS];
    let Some(address) = sessions.table.address(server, &mut buffer) else { return };
    let (address, name) = (Text(address), zone.name());
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
///
/// # Safety
/// `us` is the upstream that `affinity` belongs to, in the running configuration.
pub unsafe fn view(
    us: *const ngx_http_upstream_srv_conf_t,
    affinity: &Affinity,
    address: &[u8],
    record: &Record,
    down: bool,
) -> View {
    let now = nginx::now();
    let place = Place { gone_after: affinity.policy.gone_after, down, alone: false };
    let view = record.view(&place, now);
    if view.known != Known::Gone {
        return view;
    }
    // SAFETY: by this function's contract.
    let alone = unsafe { is_alone(us, affinity, address) };
    record.view(&Place { alone, ..place }, now)
}

/// Whether no other server of an upstream can be reached, as far as is known.
///
/// # Safety
/// As for [`view`].
pub unsafe fn is_alone(
    us: *const ngx_http_upstream_srv_conf_t,
    affinity: &Affinity,
    address: &[u8],
) -> bool {
    // SAFETY: by this function's contract.
    let conf = unsafe { UpstreamConf::of(us) };
    let sessions = unsafe { (*affinity.zone).sessions() };
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
    /// # Safety
    /// `pc` is that of the upstream `u`, as `peer.free` gets it with this `state`.
    pub unsafe fn of(
        pc: &ngx_peer_connection_t,
        u: *const ngx_http_upstream_t,
        state: ngx_uint_t,
    ) -> Failure {
        if state & NGX_PEER_FAILED as ngx_uint_t == 0 {
            return Failure::Own;
        }
        // SAFETY: by this function's contract; nginx has set the address that it tried.
        unsafe {
            let Some(c) = pc.connection.as_ref() else {
                // `connect` has failed at once, perhaps for want of something here.
                let reason = crate::servers::socket::connect_once(pc.sockaddr, pc.socklen);
                return reason.map_or(Failure::Own, Failure::Unreachable);
            };
            let read_timed_out = (*c.read).timedout() != 0;
            let timed_out = read_timed_out || (*c.write).timedout() != 0;
            let has_answered = (*u).headers_in.status_n != 0
                || (*u).state.as_ref().is_some_and(|state| state.bytes_received > 0);
            if bits::is_shaking_hands(u) {
                Failure::Handshake
            } else if read_timed_out && !has_answered {
                Failure::Silent
            } else if pc.cached() != 0 {
                match timed_out || has_answered {
                    true => Failure::Own,
                    false => Failure::Stale,
                }
            } else if bits::was_connected(u) {
                Failure::Own
            } else if timed_out {
                Failure::Unreachable(Reason::TimedOut)
            } else {
                Failure::Unreachable(Reason::Refused)
            }
        }
    }
}
