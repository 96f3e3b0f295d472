//! The state of a configuration's zones and upstreams, collected for `sticky_api`.

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::HashMap;

use affinity::servers::{Known, Reason, Source};
use affinity::status::{
    Admin, Began, Draining, FileReport, OutOfMemory, RecordsReport, Report, ServerReport, Text,
    UpstreamReport, Utc, ZoneReport, ZoneServer,
};
use affinity::table::{ServerId, ServerStats, Span, Table, Tick};
use nginx_sys::NGINX_VERSION;

use crate::conf::{self, Affinity, MainConf, UpstreamConf};
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::pool::Pool;
use crate::nginx::request::Request;
use crate::nginx::upstream::Block;
use crate::servers::{evidence, upstreams};
use crate::share;
use crate::zone::sessions::{Origin, Sessions};
use crate::zone::Zone;

/// When this nginx was started (monotonic milliseconds); workers inherit it.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Stores the time of the first configuration.
pub fn note_start() {
    // A later configuration finds the time set, and changes nothing.
    let _ = STARTED.compare_exchange(0, nginx::millis(), Ordering::Relaxed, Ordering::Relaxed);
}

/// Collects the state of all zones and upstreams of a request's configuration.
pub fn collect<'a>(r: Request<'a>, write: bool) -> Result<Report<'a>, OutOfMemory> {
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        nginx_version: NGX_VERSION_TEXT,
        uptime_ms: nginx::millis().saturating_sub(STARTED.load(Ordering::Relaxed)),
        write,
        ..Report::default()
    };
    Cycle::with_running(upstreams::refresh);
    for zone in zones(r) {
        let (shown, known) = zone_report(r.pool(), zone)?;
        let first = report.upstreams.len();
        for (block, affinity) in conf::upstreams(r) {
            if ptr::eq(affinity.zone, zone) {
                push(&mut report.upstreams, upstream_report(r, block, affinity, zone, &known)?)?;
            }
        }
        if let Some(upstreams) = report.upstreams.get_mut(first..) {
            add_gone(upstreams, zone, &shown, &known)?;
        }
        push(&mut report.zones, shown)?;
    }
    Ok(report)
}

const NGX_VERSION_TEXT: &str = match NGINX_VERSION.to_str() {
    Ok(text) => text,
    Err(_) => "",
};

/// The zones of a request's configuration.
pub fn zones<'a>(r: Request<'a>) -> impl Iterator<Item = &'a Zone> {
    MainConf::of_request(r).map_or(&[][..], |main| &main.zones).iter().copied()
}

/// Whether an upstream's balancer chooses the servers itself, so that sessions have no effect.
pub fn is_foreign(r: Request<'_>, name: &[u8]) -> bool {
    conf::upstreams(r).any(|(block, _)| {
        block.name() == name && UpstreamConf::of(block).is_some_and(|it| it.foreign.get())
    })
}

/// The servers of a zone, by address. A lookup in the zone itself would be a pass over its list.
type Members<'a> = HashMap<&'a [u8], (ServerId, ServerStats)>;

fn zone_report<'a>(
    pool: Pool<'a>,
    zone: &'a Zone,
) -> Result<(ZoneReport<'a>, Members<'a>), OutOfMemory> {
    let limits = zone.limits();
    let mut report = ZoneReport {
        name: zone.name(),
        size: zone.size() as u64,
        timeout_ms: limits.timeout.as_millis(),
        lifetime_ms: limits.lifetime.map(|lifetime| lifetime.as_millis()),
        file: None,
        records: None,
        share: share::report(zone),
        stats: Default::default(),
        tally: Default::default(),
        servers: Vec::new(),
    };
    let mut known = Members::new();
    let Some(sessions) = zone.sessions() else { return Ok((report, known)) };
    report.stats = sessions.table.stats();
    report.tally = sessions.tally();
    report.file = file_report(sessions);
    report.records = sessions.records.as_ref().map(|records| {
        let stats = records.stats();
        RecordsReport { size: records.size(), kept: stats.kept, evicted: stats.evicted }
    });
    for server in sessions.table.servers() {
        let address = address(pool, &sessions.table, server)?;
        if let (Some(address), Some(stats)) = (address, sessions.table.server_stats(server)) {
            push(&mut report.servers, ZoneServer { address, stats })?;
            insert(&mut known, address.0, (server, stats))?;
        }
    }
    Ok((report, known))
}

fn file_report(sessions: &Sessions) -> Option<FileReport<'_>> {
    let path = Text(sessions.memory().path()?.as_bytes());
    let began = match sessions.origin {
        Origin::New => Began::New,
        Origin::Damaged => Began::Damaged,
        Origin::Attached => Began::Attached,
        Origin::Imported { taken, of, damaged_pages } => {
            Began::Imported { taken, of, damaged_pages }
        }
    };
    Some(FileReport {
        path,
        size: sessions.memory().file_len() as u64,
        began,
        linked: sessions.memory().is_linked(),
        synced: sessions.memory().header().synced().map(|wall| Utc::from_millis(wall, 0)),
        oldest_ms: sessions.table.oldest(nginx::now()).map(Span::as_millis),
    })
}

fn upstream_report<'a>(
    r: Request<'a>,
    block: Block<'a>,
    affinity: &Affinity,
    zone: &'a Zone,
    known: &Members<'a>,
) -> Result<UpstreamReport<'a>, OutOfMemory> {
    let mut report =
        UpstreamReport { name: Text(block.name()), zone: zone.name(), servers: Vec::new() };
    let (Some(sessions), Some(conf)) = (zone.sessions(), UpstreamConf::of(block)) else {
        return Ok(report);
    };
    let Ok(addresses) = conf.addresses.try_borrow() else { return Ok(report) };
    let mut places = HashMap::new();
    for peer in addresses.iter() {
        let down = peer.listed && peer.down;
        let place = places.get(peer.name()).copied();
        if let Some(shown) = place.and_then(|place: usize| report.servers.get_mut(place)) {
            // The address is listed twice: it is in service if one of the two is.
            if shown.admin == Admin::Down && !down {
                let (address, route, backup) = (shown.address, shown.route, shown.backup);
                let server = server(block, affinity, sessions, known, address, false);
                *shown = ServerReport { route, backup, ..server };
            }
            continue;
        }
        let address = copy(r.pool(), peer.name())?;
        let route = peer.route().map(|route| copy(r.pool(), route)).transpose()?;
        let mut server = server(block, affinity, sessions, known, address, down);
        if server.admin == Admin::InService && peer.draining {
            server.admin = Admin::Draining;
        }
        insert(&mut places, address.0, report.servers.len())?;
        push(&mut report.servers, ServerReport { route, backup: peer.backup, ..server })?;
    }
    Ok(report)
}

/// Adds to each upstream of a zone the servers of the zone that none of these upstreams has any more.
fn add_gone<'a>(
    upstreams: &mut [UpstreamReport<'a>],
    zone: &Zone,
    shown: &ZoneReport<'a>,
    known: &Members<'a>,
) -> Result<(), OutOfMemory> {
    let Some(sessions) = zone.sessions() else { return Ok(()) };
    let mut present = HashMap::new();
    for server in upstreams.iter().flat_map(|upstream| &upstream.servers) {
        insert(&mut present, server.address.0, ())?;
    }
    for ZoneServer { address, .. } in &shown.servers {
        if !present.contains_key(address.0) {
            for upstream in &mut *upstreams {
                let server = ServerReport {
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

/// Whether an upstream has a server with that address.
pub fn has_peer(block: Block<'_>, address: &[u8]) -> bool {
    let mut found = false;
    if let Some(list) = UpstreamConf::of(block).and_then(|conf| conf.balancer.list(block)) {
        list.each(|peer| found |= peer.address() == address);
    }
    found
}

/// The state of a server that is in the upstream, by its configuration or by DNS. `down` is its parameter.
fn server<'a>(
    block: Block<'_>,
    affinity: &Affinity,
    sessions: &Sessions,
    known: &Members<'_>,
    address: Text<'a>,
    down: bool,
) -> ServerReport<'a> {
    let shown = shown_as(sessions, known, address);
    let id = known.get(address.0).map(|(id, _)| *id);
    let record = id.map(|id| sessions.table.record(id)).unwrap_or_default();
    let view = evidence::view(block, affinity, address.0, &record, down);
    ServerReport {
        state: view.known,
        reason: view.reason,
        since: view.since.map(utc),
        seen_by: view.source,
        admin: if down { Admin::Down } else { shown.admin },
        ..shown
    }
}

/// The state of a server by the zone alone, the same for all upstreams.
fn shown_as<'a>(sessions: &Sessions, known: &Members<'_>, address: Text<'a>) -> ServerReport<'a> {
    let table = &sessions.table;
    let (id, stats) = known.get(address.0).copied().unzip();
    let stats = stats.unwrap_or_default();
    let draining = id.map_or(Draining::NO, |id| Draining(table.server_flags(id)));
    let record = id.map(|id| table.record(id)).unwrap_or_default();
    ServerReport {
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

/// The time of day of a moment of the monotonic clock.
fn utc(tick: Tick) -> Utc {
    let now = nginx::now();
    let time = nginx::wall_clock_millis();
    Utc::from_millis(time + tick.since(now).as_millis(), now.since(tick).as_millis())
}

fn address<'a>(
    pool: Pool<'a>,
    table: &Table,
    server: ServerId,
) -> Result<Option<Text<'a>>, OutOfMemory> {
    let mut buffer = [0; Table::MAX_ADDRESS];
    match table.address(server, &mut buffer) {
        Some(address) => copy(pool, address).map(Some),
        None => Ok(None),
    }
}

fn copy<'a>(pool: Pool<'a>, text: &[u8]) -> Result<Text<'a>, OutOfMemory> {
    pool.concat(&[text]).map(Text).ok_or(OutOfMemory)
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
