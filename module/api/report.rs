//! What the zones and the upstreams of a configuration know, collected for `sticky_api`.

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::HashMap;

use affinity::servers::{Known, Reason, Source};
use affinity::status::{
    Admin, Draining, Holder, OutOfMemory, Report, Server, Text, Upstream, Utc, Zone as ZoneReport,
};
use affinity::table::{ServerId, ServerStats, Table, Tick};
use nginx_sys::{
    ngx_cached_time, ngx_cycle, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_pool_t,
    ngx_str_t, NGINX_VERSION,
};

use crate::conf::{self, Affinity, MainConf, UpstreamConf};
use crate::nginx;
use crate::peers::list;
use crate::servers::evidence;
use crate::servers::upstreams;
use crate::zone::sessions::Sessions;
use crate::zone::Zone;

/// When this nginx was started (monotonic milliseconds); workers inherit it.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Notes the time of the first configuration.
pub fn note_start() {
    // A second configuration finds it set.
    let _ = STARTED.compare_exchange(0, nginx::millis(), Ordering::Relaxed, Ordering::Relaxed);
}

/// Collects all that a request's configuration has.
///
/// # Safety
/// `r` is a live request; the report must not outlive it.
pub unsafe fn collect<'a>(
    r: *mut ngx_http_request_t,
    write: bool,
) -> Result<Report<'a>, OutOfMemory> {
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        nginx_version: NGX_VERSION_TEXT,
        uptime_ms: nginx::millis().saturating_sub(STARTED.load(Ordering::Relaxed)),
        write,
        ..Report::default()
    };
    // SAFETY: by this function's contract, the configuration lives as long as the request.
    unsafe {
        upstreams::refresh(ngx_cycle);
        for zone in zones(r) {
            let (shown, known) = zone_report((*r).pool, zone)?;
            let first = report.upstreams.len();
            for (us, affinity) in conf::upstreams(r) {
                if ptr::eq(affinity.zone, zone) {
                    push(&mut report.upstreams, upstream_report(r, us, affinity, zone, &known)?)?;
                }
            }
            if let Some(upstreams) = report.upstreams.get_mut(first..) {
                add_gone(upstreams, zone, &shown, &known)?;
            }
            push(&mut report.zones, shown)?;
        }
    }
    Ok(report)
}

const NGX_VERSION_TEXT: &str = match NGINX_VERSION.to_str() {
    Ok(text) => text,
    Err(_) => "",
};

/// The zones of a request's configuration.
///
/// # Safety
/// `r` is a live request.
pub unsafe fn zones<'a>(r: *const ngx_http_request_t) -> impl Iterator<Item = &'a Zone> {
    // SAFETY: by this function's contract; zones live as long as the configuration.
    unsafe {
        let zones = MainConf::of_request(r).map_or(&[][..], |main| &main.zones);
        zones.iter().map(|zone| &**zone)
    }
}

/// Whether the balancer of an upstream cannot be told which server to take.
///
/// # Safety
/// As above.
pub unsafe fn is_foreign(r: *const ngx_http_request_t, name: &[u8]) -> bool {
    // SAFETY: as above.
    unsafe {
        conf::upstreams(r).any(|(us, _)| {
            nginx::bytes(&(*us).host) == name && UpstreamConf::of(us).is_some_and(|it| it.foreign)
        })
    }
}

/// The servers that a zone knows, by address: to look for one in the zone itself costs a pass over
/// its list.
type Members<'a> = HashMap<&'a [u8], (ServerId, ServerStats)>;

/// # Safety
/// The request that `pool` belongs to outlives the result.
unsafe fn zone_report<'a>(
    pool: *mut ngx_pool_t,
    zone: &'a Zone,
) -> Result<(ZoneReport<'a>, Members<'a>), OutOfMemory> {
    let limits = zone.limits();
    let mut report = ZoneReport {
        // SAFETY: the configuration's string.
        name: Text(unsafe { bytes(zone.name()) }),
        size: zone.size() as u64,
        timeout_ms: limits.timeout.as_millis(),
        lifetime_ms: limits.lifetime.map(|lifetime| lifetime.as_millis()),
        stats: Default::default(),
        tally: Default::default(),
        servers: Vec::new(),
    };
    let mut known = Members::new();
    let Some(sessions) = zone.sessions() else { return Ok((report, known)) };
    report.stats = sessions.table.stats();
    report.tally = sessions.tally();
    for server in sessions.table.servers() {
        // SAFETY: by this function's contract.
        let address = unsafe { address(pool, &sessions.table, server)? };
        if let (Some(address), Some(stats)) = (address, sessions.table.server_stats(server)) {
            push(&mut report.servers, Holder { address, stats })?;
            insert(&mut known, address.0, (server, stats))?;
        }
    }
    Ok((report, known))
}

/// # Safety
/// `us` is an upstream of the configuration of `r`, which outlives the result.
unsafe fn upstream_report<'a>(
    r: *mut ngx_http_request_t,
    us: *const ngx_http_upstream_srv_conf_t,
    affinity: &Affinity,
    zone: &'a Zone,
    known: &Members<'a>,
) -> Result<Upstream<'a>, OutOfMemory> {
    // SAFETY: by this function's contract.
    unsafe {
        let mut report = Upstream {
            name: Text(bytes((*us).host)),
            zone: Text(bytes(zone.name())),
            servers: Vec::new(),
        };
        let (Some(sessions), Some(conf)) = (zone.sessions(), UpstreamConf::of(us)) else {
            return Ok(report);
        };
        let Ok(addresses) = conf.addresses.try_borrow() else { return Ok(report) };
        let mut places = HashMap::new();
        for peer in addresses.iter() {
            let down = peer.listed && peer.down;
            let place = places.get(peer.name()).copied();
            if let Some(shown) = place.and_then(|place: usize| report.servers.get_mut(place)) {
                // The same address once more: it is in service if one of the two is.
                if shown.admin == Admin::Down && !down {
                    let (address, route, backup) = (shown.address, shown.route, shown.backup);
                    let server = server(us, affinity, sessions, known, address, false);
                    *shown = Server { route, backup, ..server };
                }
                continue;
            }
            let address = copy((*r).pool, peer.name())?;
            let route = peer.route().map(|route| copy((*r).pool, route)).transpose()?;
            let mut server = server(us, affinity, sessions, known, address, down);
            if server.admin == Admin::InService && peer.draining {
                server.admin = Admin::Draining;
            }
            insert(&mut places, address.0, report.servers.len())?;
            push(&mut report.servers, Server { route, backup: peer.backup, ..server })?;
        }
        Ok(report)
    }
}

/// Adds to the upstreams of a zone the servers that it knows and that none of them has any more.
fn add_gone<'a>(
    upstreams: &mut [Upstream<'a>],
    zone: &Zone,
    shown: &ZoneReport<'a>,
    known: &Members<'a>,
) -> Result<(), OutOfMemory> {
    let Some(sessions) = zone.sessions() else { return Ok(()) };
    let mut present = HashMap::new();
    for server in upstreams.iter().flat_map(|upstream| &upstream.servers) {
        insert(&mut present, server.address.0, ())?;
    }
    for Holder { address, .. } in &shown.servers {
        if !present.contains_key(address.0) {
            for upstream in &mut *upstreams {
                let server = Server {
                    state: Known::Gone,
                    reason: Reason::Removed,
                    ..shown_as(sessions, known, *address)
                };
                push(&mut upstream.servers, server)?;
            }
        }
    }
    Ok(())
}

/// Whether an upstream has a server of that address.
///
/// # Safety
/// `us` is an upstream of a live configuration.
pub unsafe fn has_peer(us: *const ngx_http_upstream_srv_conf_t, address: &[u8]) -> bool {
    let mut found = false;
    // SAFETY: by this function's contract.
    unsafe {
        if UpstreamConf::of(us).is_some_and(|conf| conf.balancer.keeps_round_robins_list) {
            list::each(us, |peer| found |= peer.address() == address);
        }
    }
    found
}

/// What an upstream makes of a server that its configuration has, or its resolver has given; `down`: it
/// says so.
///
/// # Safety
/// `us` is the upstream that `affinity` belongs to, in the running configuration.
unsafe fn server<'a>(
    us: *const ngx_http_upstream_srv_conf_t,
    affinity: &Affinity,
    sessions: &Sessions,
    known: &Members<'_>,
    address: Text<'a>,
    down: bool,
) -> Server<'a> {
    let shown = shown_as(sessions, known, address);
    let id = known.get(address.0).map(|(id, _)| *id);
    let record = id.map(|id| sessions.table.record(id)).unwrap_or_default();
    // SAFETY: by this function's contract.
    let view = unsafe { evidence::view(us, affinity, address.0, &record, down) };
    Server {
        state: view.known,
        reason: view.reason,
        since: view.since.map(utc),
        seen_by: view.source,
        admin: if down { Admin::Down } else { shown.admin },
        ..shown
    }
}

/// What the zone knows of a server, whatever upstream it is in.
fn shown_as<'a>(sessions: &Sessions, known: &Members<'_>, address: Text<'a>) -> Server<'a> {
    let table = &sessions.table;
    let (id, stats) = known.get(address.0).copied().unzip();
    let stats = stats.unwrap_or_default();
    let draining = id.map_or(Draining::NO, |id| Draining(table.server_flags(id)));
    let record = id.map(|id| table.record(id)).unwrap_or_default();
    Server {
        address,
        route: None,
        state: Known::Up,
        reason: Reason::None,
        since: None,
        seen_by: Source::None,
        last_failure: record.last_failure.map(utc),
        last_success: record.last_success.map(utc),
        admin: if draining.is_on() { Admin::Draining } else { Admin::InService },
        backup: false,
        live: stats.live,
        hits: stats.hits,
        drain_deadline: draining.deadline().map(utc),
    }
}

/// The time of day of a moment.
fn utc(tick: Tick) -> Utc {
    let now = nginx::now();
    // SAFETY: nginx always points it to a valid slot.
    let (seconds, millis) = unsafe { ((*ngx_cached_time).sec, (*ngx_cached_time).msec) };
    let time = u64::try_from(seconds).unwrap_or(0) * 1000 + millis as u64;
    Utc::from_millis(time + tick.since(now).as_millis(), now.since(tick).as_millis())
}

/// # Safety
/// As for [`copy`].
unsafe fn address<'a>(
    pool: *mut ngx_pool_t,
    table: &Table,
    server: ServerId,
) -> Result<Option<Text<'a>>, OutOfMemory> {
    let mut buffer = [0; Table::MAX_ADDRESS];
    match table.address(server, &mut buffer) {
        // SAFETY: by this function's contract.
        Some(address) => unsafe { copy(pool, address).map(Some) },
        None => Ok(None),
    }
}

/// # Safety
/// `pool` outlives the result.
unsafe fn copy<'a>(pool: *mut ngx_pool_t, text: &[u8]) -> Result<Text<'a>, OutOfMemory> {
    // SAFETY: by this function's contract.
    unsafe { ngx_str_t::from_bytes(pool, text).map(|copy| Text(bytes(copy))).ok_or(OutOfMemory) }
}

/// # Safety
/// As for [`nginx::bytes`].
unsafe fn bytes<'a>(text: ngx_str_t) -> &'a [u8] {
    // SAFETY: by this function's contract.
    unsafe { nginx::bytes(&text) }
}

fn push<T>(list: &mut Vec<T>, value: T) -> Result<(), OutOfMemory> {
    list.try_reserve(1).map_err(|_| OutOfMemory)?;
    list.push(value);
    Ok(())
}

fn insert<'a, T>(
    map: &mut HashMap<&'a [u8], T>,
    key: &'a [u8],
    value: T,
) -> Result<(), OutOfMemory> {
    map.try_reserve(1).map_err(|_| OutOfMemory)?;
    map.insert(key, value);
    Ok(())
}
