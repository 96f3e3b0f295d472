//! Asks others for the server of an id that the session table does not have, at PRECONTENT.
//!
//! `peer.init` cannot wait, so the question is asked before the upstream is chosen. Where the location names
//! its upstream, that is asked; else the guess is the upstream of the location's last request. After a wrong
//! guess nobody was asked: `peer.init` treats the id like one whose question was not answered, and the next
//! request of the location has the right guess.

use affinity::policy::{Presented, Status};
use affinity::table::{Key, Kind};
use nginx_sys::{ngx_int_t, NGX_AGAIN};

use super::id::RequestId;
use super::{message, PeerData};
use crate::conf::value::Value;
use crate::conf::{Affinity, LocationConf, UpstreamConf};
use crate::nginx::request::Request;
use crate::nginx::{self, DECLINED};
use crate::share;
use crate::wait::{self, phase};

/// How the id of a request is found out early; `None` if it may be another one later.
type ReadEarly = fn(Request<'static>, &Affinity) -> Option<RequestId>;

/// Asks for the id of a request, if that is needed. Returns what the handler of PRECONTENT returns now;
/// `None` if the request goes on.
pub fn ask(r: Request<'static>, read_early: ReadEarly) -> Option<ngx_int_t> {
    // Handlers behind ours may change the id.
    if phase::move_behind_others(r) {
        return Some(DECLINED);
    }
    let affinity = upstream(r)?;
    let source = affinity.source.as_deref()?;
    let key = key_to_ask(r, affinity, read_early)?;
    let is_final = wait::ask(r, affinity, source, key).is_final();
    (!is_final).then_some(NGX_AGAIN as ngx_int_t)
}

/// The upstream that a request goes to, as far as it is known before its content handler.
fn upstream(r: Request<'static>) -> Option<&'static Affinity> {
    let location = LocationConf::of(r)?;
    match location.upstream.get() {
        Some(block) => UpstreamConf::of(block)?.affinity(),
        None => location.last.get(),
    }
}

/// The key of the request's id, if the source has to be asked for it: the table does not have it, and its
/// session may be elsewhere, or another machine may have changed the session.
fn key_to_ask(r: Request<'static>, affinity: &Affinity, read_early: ReadEarly) -> Option<Key> {
    let (zone, sessions) = (affinity.zone, affinity.zone.sessions()?);
    let id = match read_early(r, affinity) {
        Some(id) => id,
        None => {
            let mut id = RequestId::NONE;
            // If memory is short, `peer.init` fails as well.
            id.read(r, affinity, &sessions.table, Value::eval).ok()?;
            id
        }
    };
    let key = id.key?;
    if let Some(session) = sessions.lookup(key, nginx::now(), &affinity.limits) {
        return share::is_doubtful(zone, &session).then_some(key);
    }
    // A target of HTTP+SSE that looks as if it had an id may have been announced through another machine.
    let is_target = id.kind == Kind::Sse && zone.share().is_some();
    let is_id = || matches!(message::of(r).unknown(), Presented::Unknown(_));
    if id.mcp.is_some() && !is_target && !is_id() {
        return None;
    }
    let is_taken_over = share::has_own_ids(zone) && {
        let mut own = RequestId::NONE;
        own.read(r, affinity, &sessions.table.with_own_ids(), Value::eval).ok()?;
        own.key.is_some_and(|own| share::take_over(zone, own, key))
    };
    (!is_taken_over).then_some(key)
}

impl PeerData {
    /// What a request presents whose id `first` the table does not have, after the question to others.
    pub(super) fn after_question(&self, presented: Presented, first: Key) -> Presented {
        match presented {
            Presented::Unknown(kind) if self.affinity.source.is_some() => {
                wait::outcome(self.request, self.affinity, first).presented(kind)
            }
            _ => presented,
        }
    }

    /// Whether it is not known which server has the session of the request's id.
    pub(super) fn is_unanswered(&self) -> bool {
        self.status.get() == Status::Unavailable && self.session.get().is_none()
    }
}
