//! `peer.init`: looks up the server of a request's session.

use affinity::mcp::Effects;
use affinity::policy::{Presented, Route, Rules, Status, Unknown};
use affinity::table::{Key, Kind, ServerId, Session, Tick};
use nginx_sys::{ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t};

use super::id::RequestId;
use super::{message, precontent, reject, Next, PeerData};
use crate::conf::{foreign, Affinity, Lookup, UpstreamConf};
use crate::hold;
use crate::nginx::cycle::Cycle;
use crate::nginx::request::Request;
use crate::nginx::upstream::{Block, Upstream};
use crate::nginx::{self, ERROR, OK};
use crate::peers::hooks;
use crate::peers::tried::RoundRobin;
use crate::revive::rename::{self, Sent};
use crate::zone::sessions::Sessions;

/// `peer.init` of an upstream with sessions.
pub unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: the arguments of this hook.
    match unsafe { prepare(r, us) } {
        Ok(data) => data.begin(),
        Err(rc) => rc,
    }
}

/// The data of a request at its upstream; the error is the result of the hook.
///
/// # Safety
/// `r` is a live request, and `us` its upstream, in `peer.init`.
#[inline(always)]
unsafe fn prepare(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> Result<&'static PeerData, ngx_int_t> {
    // SAFETY: the caller's promise.
    let Some((r, block, affinity, sessions)) = (unsafe { begin(r, us) }) else {
        return Err(ERROR);
    };
    let Some(peer) = r.upstream().map(Upstream::peer) else {
        return Err(ERROR);
    };
    // SAFETY: the balancer's `peer.init` has just set the data, in the request's pool. The balancer keeps a
    // list of peers: a foreign one has `init_without_session` as its hook.
    if unsafe { RoundRobin::find(block, peer.data()) }.is_none() {
        return Err(begin_without_session(r, block));
    }
    // SAFETY: this is `peer.init`. `is_read` was true or `read` has just succeeded, and since then only the
    // balancer's `peer.init` has run.
    let id = || unsafe { precontent::last() };
    let Some(data) = PeerData::create(r, affinity, sessions, id) else {
        return Err(ERROR);
    };
    hooks::wrap(peer, data);
    Ok(data)
}

/// `peer.init` of an upstream whose sessions are revived.
pub unsafe extern "C" fn init_reviving(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request. All that keeps it is in its pool and is dropped with that.
    let request = unsafe { Request::<'static>::new(r) };
    if hold::has_begun_again(request) {
        if let Some(former) = PeerData::last(request) {
            former.leave_uncounted();
        }
    }
    // SAFETY: the arguments of this hook.
    let data = match unsafe { prepare(r, us) } {
        Ok(data) => data,
        Err(rc) => return rc,
    };
    let rc = data.begin();
    if rc != OK {
        return rc;
    }
    let r = request;
    let id = data.id.get();
    let (Some(key), Kind::Session, Some(store)) = (id.key, id.kind, &data.sessions().records)
    else {
        return OK;
    };
    match rename::apply(r, key, store) {
        Sent::Unchanged => OK,
        Sent::Renamed { for_this } => {
            if for_this {
                data.note_revived();
            }
            OK
        }
        Sent::Dropped(status) => reject::send_status(r, data.upstream(), status),
        Sent::Failed => ERROR,
    }
}

/// Reads the request's id, and initialises the balancer for the request. [`precontent::last`] then returns the
/// id.
///
/// # Safety
/// `r` is a live request, and `us` its upstream.
#[inline(always)]
pub(super) unsafe fn begin(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> Option<(Request<'static>, Block<'static>, &'static Affinity, &'static Sessions)> {
    // SAFETY: the caller's promise. All that keeps the request is in its pool and is dropped with that; the
    // configuration outlives its requests.
    let (r, block) = unsafe { (Request::<'static>::new(r), Block::<'static>::new(us)) };
    let conf = UpstreamConf::of(block)?;
    let (affinity, init) = (conf.affinity()?, conf.balancer.init_peer.get()?);
    let sessions = affinity.zone.sessions()?;
    if !precontent::is_read(r, affinity) {
        precontent::read(r, affinity, &sessions.table).ok()?;
    }
    precontent::note(r, affinity);
    // SAFETY: a `peer.init` hook of this upstream, called with the arguments of ours.
    (unsafe { init(r.raw(), us) } == OK).then_some((r, block, affinity, sessions))
}

/// `peer.init` of an upstream with a foreign balancer.
pub unsafe extern "C" fn init_without_session(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request and its upstream. All that keeps the request is in its pool and is
    // dropped with that; the configuration outlives its requests.
    let (r, block) = unsafe { (Request::<'static>::new(r), Block::<'static>::new(us)) };
    match UpstreamConf::of(block).and_then(|conf| conf.balancer.init_peer.get()) {
        // SAFETY: a `peer.init` hook of this upstream, called with the arguments of ours.
        Some(init) if unsafe { init(r.raw(), us) } == OK => begin_without_session(r, block),
        _ => ERROR,
    }
}

/// Leaves a request to a foreign balancer: no session is looked up or learned.
#[cold]
fn begin_without_session(r: Request<'static>, block: Block<'static>) -> ngx_int_t {
    let Some(conf) = UpstreamConf::of(block) else {
        return ERROR;
    };
    foreign::note(Cycle::running_log(), block, conf);
    let Some(affinity) = conf.affinity() else {
        return ERROR;
    };
    let Some(sessions) = affinity.zone.sessions() else {
        return ERROR;
    };
    match PeerData::create(r, affinity, sessions, || RequestId::NONE) {
        Some(_) => OK,
        None => ERROR,
    }
}

impl PeerData {
    /// The last part of `peer.init`.
    #[inline(always)]
    fn begin(&self) -> ngx_int_t {
        match self.affinity.policy.unknown {
            // The session is needed only in `peer.get`. The lookup waits until then, so that the prefetch can
            // finish.
            Unknown::Balance => OK,
            Unknown::Reject => self.begin_with_lookup(),
        }
    }

    /// The request begins again, and is counted by its next data.
    #[cold]
    fn leave_uncounted(&self) {
        // A hit of no server is not counted.
        self.status.set(Status::Hit);
        self.session.set(None);
    }

    /// The request has waited for the revival of its session.
    #[cold]
    fn note_revived(&self) {
        if self.next.get() == Next::ToLookUp {
            // The result is in the target. A later lookup would set the status again.
            self.look_up();
        }
        if self.status.get() == Status::Hit {
            self.status.set(Status::Revived);
        }
    }

    /// Looks up the request's id, and sets the target.
    #[inline(always)]
    pub(super) fn look_up(&self) -> Route {
        let now = nginx::now();
        if let (Some(key), Rules::Affinity) = (self.id.get().key, self.affinity.policy.rules) {
            let sessions = self.sessions();
            if let Some(session) = sessions.visit_at_once(key, now, &self.affinity.limits) {
                return self.found(key, session.server, now);
            }
        }
        self.look_up_slow(now)
    }

    /// The slow path: the session is not found at the first try, or the rules are those of NGINX Plus.
    #[cold]
    pub(super) fn look_up_slow(&self, now: Tick) -> Route {
        self.next.set(Next::Any);
        let (sessions, limits) = (self.sessions(), &self.affinity.limits);
        let visit = |key| match self.affinity.policy.rules {
            Rules::Affinity => sessions.visit(key, now, limits),
            Rules::Plus => sessions.lookup(key, now, limits),
        };
        let first = self.id.get().key;
        if let Some((key, session)) = first.and_then(|key| Some((key, visit(key)?))) {
            return self.found(key, session.server, now);
        }
        if let Some((id, key, session)) = self.find_other_cookie(visit) {
            self.id.set(RequestId { presented: id, key: Some(key), ..self.id.get() });
            return self.found(key, session.server, now);
        }
        match first {
            Some(key) => self.look_up_second(key, now),
            None if self.id.get().mcp.as_ref().is_some_and(Effects::is_ambiguous) => {
                self.next.set(Next::Ambiguous);
                self.decide(Presented::Ambiguous)
            }
            None => self.decide(Presented::NoId),
        }
    }

    /// Continues after the first id was unknown: with a second id, or without a session.
    pub(super) fn look_up_second(&self, first: Key, now: Tick) -> Route {
        let sessions = self.sessions();
        let mut presented = Presented::Unknown(self.id.get().kind);
        if self.id.get().mcp.is_some() {
            let message = message::of(self.request);
            let second = message::with_second_id(&message, |kind, id| {
                Some((kind, self.key(kind, id).ok()?))
            });
            if let Some((kind, key)) = second.flatten() {
                if let Some(session) = sessions.visit(key, now, &self.affinity.limits) {
                    self.id.set(RequestId { kind, ..self.id.get() });
                    return self.found(key, session.server, now);
                }
            }
            presented = message.unknown();
        }
        presented = self.after_question(presented, first);
        if !matches!(presented, Presented::NoId | Presented::Unanswered(_)) {
            sessions.table.count_unknown(first);
        }
        self.decide(presented)
    }

    /// The first of the request's other cookies of the same name that is the id of a session. A browser sends
    /// several cookies of a name if they were set with different paths or domains.
    pub(super) fn find_other_cookie(
        &self,
        visit: impl Fn(Key) -> Option<Session>,
    ) -> Option<(&'static [u8], Key, Session)> {
        let Lookup::Values(values) = &self.affinity.lookup else { return None };
        // The cookies of the value that counts: the first that is not empty.
        let cookies = values.iter().find_map(|value| {
            let cookies = value.cookie().and_then(|cookie| cookie.sent(self.request));
            let cookies = cookies.unwrap_or_default();
            let is_given = || value.eval(self.request).is_ok_and(|id| !id.is_empty());
            (cookies.iter().next().is_some() || is_given()).then_some(cookies)
        })?;
        let others = cookies.iter().filter(|id| *id != self.id.get().presented);
        others.into_iter().find_map(|id| {
            let key = self.key(Kind::Session, id).ok()?;
            Some((id, key, visit(key)?))
        })
    }

    /// Sets the session that was found.
    #[inline(always)]
    pub(super) fn found(&self, key: Key, server: ServerId, now: Tick) -> Route {
        self.session.set(Some(server));
        match self.affinity.policy.rules {
            // SAFETY: a recycled place does not move, and the pool drops the value before the place is used
            // again.
            Rules::Affinity => unsafe { self.in_flight.hold(key, now) },
            Rules::Plus => self.in_flight.note(key),
        }
        self.next.set(Next::SessionServer);
        self.decide(Presented::Session)
    }

    /// Looks up the id before `peer.get`, so that the request can be rejected in `peer.init`.
    #[inline(never)]
    pub(super) fn begin_with_lookup(&self) -> ngx_int_t {
        match self.look_up() {
            Route::Reject(why) if !self.is_spared(why) => self.reject_at_once(why),
            _ => OK,
        }
    }

    pub(super) fn decide(&self, presented: Presented) -> Route {
        let (status, route) = self.affinity.policy.on_lookup(presented);
        self.status.set(status);
        route
    }
}
