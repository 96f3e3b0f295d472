//! Requests about one server or session: drain a server, show a session, forget a session.

use affinity::status::{
    Document, Drain, Draining, Format, Outcome, Refusal, Resource, SessionId, Text, FOREIGN,
    NO_ROOM, NO_SERVER, NO_SESSION, NO_UPSTREAM, NO_ZONE,
};
use affinity::table::{End, Key, Span, Tick};
use nginx_sys::NGX_LOG_NOTICE;

use super::{answer, report};
use crate::nginx::request::Request;
use crate::zone::sessions::Sessions;
use crate::zone::Zone;
use crate::{conf, nginx, share};

/// The zone of an upstream that has, or had, a server with that address.
pub fn find_server(
    r: Request<'_>,
    upstream: &[u8],
    server: &[u8],
) -> Result<&'static Zone, Refusal> {
    let named = conf::upstreams(r).find(|(block, _)| block.name() == upstream);
    let (block, affinity) = named.ok_or(NO_UPSTREAM)?;
    let zone = affinity.zone;
    let known = || {
        let table = zone.sessions().map(|sessions| &sessions.table);
        table.is_some_and(|table| table.find_server(server).is_some())
    };
    match report::has_peer(block, server) || known() {
        true => Ok(zone),
        false => Err(NO_SERVER),
    }
}

/// Begins or ends the draining of a server, as the body says; returns its new state.
pub fn drain(
    r: Request<'_>,
    upstream: &[u8],
    server: &[u8],
    body: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let change = Drain::read(body)?;
    let now = nginx::now();
    let draining = match change {
        Drain { drain: false, .. } => Draining::NO,
        Drain { deadline, .. } => Draining::until(
            deadline.map(|millis| Tick(now.0.wrapping_add(Span::from_millis(millis).0))),
        ),
    };
    let zone = find_server(r, upstream, server)?;
    if change.drain && report::is_foreign(r, upstream) {
        return Err(FOREIGN);
    }
    let sessions = zone.sessions().ok_or(NO_ROOM)?;
    if !sessions.set_draining(server, draining, now) {
        return Err(NO_ROOM);
    }
    share::write::drains(zone, server, draining);
    ngx::ngx_log_error!(
        NGX_LOG_NOTICE,
        r.log(),
        "server \"{}\" of zone \"{}\" {}",
        Text(server),
        zone.log_name(),
        if change.drain { "drains" } else { "drains no longer" }
    );
    answer::show(r, &Resource::Server(upstream, server), Format::Json)
}

type WithSession = fn(&Zone, &Sessions, Key) -> Result<Vec<u8>, Refusal>;

/// Calls `f` with the session that the body names, or, without a body, the header `Mcp-Session-Id`.
pub fn with_session(
    r: Request<'_>,
    zone: &[u8],
    body: &[u8],
    f: WithSession,
) -> Result<Vec<u8>, Refusal> {
    let named = report::zones(r).find(|known| known.name().0 == zone);
    let zone = named.ok_or(NO_ZONE)?;
    let id = SessionId::read(body, r.last_header(b"mcp-session-id"))?;
    let sessions = zone.sessions().ok_or(NO_SESSION)?;
    f(zone, sessions, sessions.table.key(id.kind, &id.id, &id.bind))
}

/// The state of a session.
pub fn found(zone: &Zone, sessions: &Sessions, key: Key) -> Result<Vec<u8>, Refusal> {
    let now = nginx::now();
    let session = sessions.lookup(key, now, &zone.limits()).ok_or(NO_SESSION)?;
    let shown = sessions.with_address(session.server, |address| {
        let answer = Outcome::Session {
            server: Text(address),
            age_ms: now.since(session.created).as_millis(),
            idle_ms: now.since(session.used).as_millis(),
        };
        Document::Outcome(answer).to_json()
    });
    Ok(shown.ok_or(NO_SESSION)??)
}

/// Forgets a session.
pub fn forget(zone: &Zone, sessions: &Sessions, key: Key) -> Result<Vec<u8>, Refusal> {
    sessions.lookup(key, nginx::now(), &zone.limits()).ok_or(NO_SESSION)?;
    sessions.forget(key, End::Forgotten);
    share::write::ended(zone, key);
    Ok(Document::Outcome(Outcome::Forgotten { forgotten: 1 }).to_json()?)
}
