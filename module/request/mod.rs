//! The hooks around an upstream's balancer, and what one request keeps between them.

pub mod id;
pub mod notices;
pub mod precontent;
pub mod reject;

use crate::peers::take;
use crate::peers::tried;
use core::ffi::c_void;
use core::mem;
use core::ptr;

use affinity::cookies::Few;
use affinity::mcp::{Learned, Outlook, Refusal};
use affinity::policy::{
    self, Absence, Announced, Answer, Bound as Whose, Clash, Created, Holder, Lesson, Moment,
    Presented, Rejection, Route, Rules, Status, Unavailable, Unknown,
};
use affinity::servers::{Avoided, Event, Known, Record};
use affinity::table::{Bound, Existing, Key, Kind, ServerId, Session, Span, Tick};
use nginx_sys::{
    ngx_chain_t, ngx_conf_t, ngx_cycle, ngx_cycle_t, ngx_http_request_t,
    ngx_http_upstream_init_peer_pt, ngx_http_upstream_init_pt, ngx_http_upstream_init_round_robin,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_int_t, ngx_peer_connection_t, ngx_str_t,
    ngx_uint_t, NGX_HTTP_NOT_MODIFIED, NGX_HTTP_NO_CONTENT, NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT,
    NGX_PEER_FAILED, NGX_PEER_NEXT,
};

use crate::conf::foreign;
use crate::conf::value::{first_value, OutOfMemory, Value};
use crate::conf::{self, Affinity, Lookup, MainConf, UpstreamConf};
use crate::nginx::bits;
use crate::nginx::conf::Logged;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::{self, BUSY, DONE, ERROR, OK};
use crate::peers::addresses::{self, Address};
use crate::peers::hooks::{self, Hooked, Inner};
use crate::peers::list::{self, Candidate, Missing};
use crate::request::id::{read_bind, Carried};
use crate::response::body;
use crate::servers::evidence::{self, Failure};
use crate::sticky;
use crate::worker::in_flight::InFlight;
use crate::zone::sessions::Sessions;
use notices::Notice;

/// Puts our hooks around the balancer of each upstream that asked for them.
///
/// # Safety
/// `cf` has read all of `http {}`, and nginx has not initialised its upstreams yet.
pub unsafe fn wire(cf: &mut ngx_conf_t, _main: &MainConf) -> Result<(), Logged> {
    // SAFETY: by this function's contract.
    unsafe {
        for &us in
            nginx::conf::upstreams(nginx::conf::main_conf(cf, nginx::conf::upstream_module()))
        {
            let Some(conf) = UpstreamConf::of(us) else {
                continue;
            };
            foreign::warn_at_start(cf, us, conf);
            let beneath_keepalive = match (conf.wrapped, (*us).peer.init_upstream) {
                (Some(wrapped), Some(outermost)) => ptr::fn_addr_eq(wrapped, outermost),
                _ => false,
            };
            if init_peer_of(conf).is_some() && !beneath_keepalive {
                conf.balancer.outermost = (*us).peer.init_upstream;
                (*us).peer.init_upstream = Some(init_outermost);
            }
        }
    }
    Ok(())
}

/// Looks at all values once more when nginx has read its whole configuration.
///
/// # Safety
/// `cycle` is complete.
pub unsafe fn confirm_values(cycle: *const ngx_cycle_t) {
    let confirm = |affinity: &mut Affinity| {
        let lookup = match &mut affinity.lookup {
            Lookup::Values(values) => &mut values[..],
            Lookup::Mcp => &mut [],
        };
        let ids = affinity.create.iter_mut().chain(lookup);
        // SAFETY: by this function's contract; the values are those of the cycle.
        ids.chain(&mut affinity.bind).for_each(|value| unsafe { value.confirm(cycle) });
    };
    // SAFETY: as above.
    unsafe { conf::each_affinity(cycle, confirm) };
}

/// What is to begin each request of an upstream, if a directive has asked for it.
fn init_peer_of(conf: &UpstreamConf) -> ngx_http_upstream_init_peer_pt {
    match conf.affinity {
        Some(_) if conf.foreign => Some(init_without_session),
        Some(_) => Some(init_peer),
        None if conf.foreign => None,
        None => sticky::init_peer_of(&conf.sticky),
    }
}

/// Initialises the balancer that `keepalive` has captured.
pub unsafe extern "C" fn init_upstream(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes an upstream that `keepalive` has put this hook in.
    unsafe { init_beneath(cf, us, |conf| conf.balancer.init_upstream) }
}

/// Initialises whatever balances the upstream, and hooks in unless that was done on the way: behind
/// `keepalive`, one directive may wrap it once more, and another throw it out, and us with it.
unsafe extern "C" fn init_outermost(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes an upstream that `wire` has put this hook in.
    unsafe { init_beneath(cf, us, |conf| conf.balancer.outermost) }
}

unsafe fn init_beneath(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
    beneath: fn(&UpstreamConf) -> ngx_http_upstream_init_pt,
) -> ngx_int_t {
    // SAFETY: by the callers; nginx reads its configuration in one thread.
    unsafe {
        let conf = UpstreamConf::of(us);
        let init = conf.as_deref().and_then(beneath).unwrap_or(ngx_http_upstream_init_round_robin);
        let rc = init(cf, us);
        let Some(conf) = UpstreamConf::of(us) else {
            return ERROR;
        };
        conf.balancer.keeps_round_robins_list = rc == OK && list::are_round_robins(us);
        let asks_for_us = init_peer_of(conf).is_some() && conf.balancer.init_peer.is_none();
        if rc == OK && asks_for_us {
            if conf.balancer.keeps_round_robins_list {
                sticky::arrange(us, &mut conf.sticky);
            } else {
                foreign::note((*cf).log, us, conf);
            }
            if let Some(ours) = init_peer_of(conf) {
                conf.balancer.init_peer = (*us).peer.init;
                (*us).peer.init = Some(ours);
            }
        }
        rc
    }
}

/// One request on its way through an upstream with sessions; lives as long as the request's pool.
pub struct PeerData {
    /// Holds the request's session as well: that of its id, or the one that it has just got.
    in_flight: InFlight,
    request: *mut ngx_http_request_t,
    /// Lives as long as the configuration, which outlives its requests.
    affinity: &'static Affinity,
    inner: Inner,
    carried: Carried,
    /// The server of its session.
    session: Option<ServerId>,
    status: Status,
    /// What `get` is to do next.
    target: Target,
    /// What is known of the peer that the request holds.
    held: Held,
    /// The response has taught.
    learned: bool,
    /// Another server was chosen, and why.
    away: Away,
    /// A kept connection that its server had closed was forgiven.
    forgiven: bool,
    /// What it holds is no peer of the upstream, but an address that has left DNS.
    departed: bool,
    /// The body of the response is read as it passes, and has not given its id yet.
    pub watching: bool,
    /// The server of a response whose body still passes when its peer has been given back.
    served: Option<ServerId>,
}

/// In place of our context of a request: it was expected. No pointer is as low as that, but null.
pub const MARK: *mut c_void = ptr::without_provenance_mut(1);

/// Our context of a request; `None` if all that is there is our mark.
///
/// # Safety
/// `r` is a live request, `T` is what its context was set to.
pub unsafe fn context<'a, T>(r: *const ngx_http_request_t) -> Option<&'a mut T> {
    // SAFETY: by this function's contract.
    unsafe {
        let context = *nginx::context(r, &nginx::MODULE);
        // One comparison, for the mark and for null.
        if context > MARK {
            Some(&mut *context.cast())
        } else {
            None
        }
    }
}

impl Recycled for PeerData {
    fn spare() -> &'static Spare<PeerData> {
        static SPARE: Spare<PeerData> = Spare::new();
        &SPARE
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Ask the zone first.
    ToLookUp,
    /// Ask the balancer.
    Any,
    /// Take the session's server.
    SessionServer,
    /// Decide what to do after the session's server could not be reached by this request.
    Failed,
    /// None: the request's ids contradict each other.
    Ambiguous,
}

/// Why a request of a session is not with its server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    /// It is, or has no session.
    No,
    /// That cannot be reached: another one serves in its stead.
    Unreachable,
    /// That is full, or has been sent the request and failed, or is in the upstream that the request
    /// comes from (`X-Accel-Redirect`, `error_page`).
    Busy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// None, or no longer.
    Nothing,
    /// That of the session.
    SessionServer,
    /// One that the balancer chose.
    Chosen,
}

/// Begins a request of an upstream with sessions.
pub unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request on its way to an upstream that has our hook.
    unsafe {
        let Some(conf) = UpstreamConf::of(us) else {
            return ERROR;
        };
        let (Some(affinity), Some(init)) = (&conf.affinity, conf.balancer.init_peer) else {
            return ERROR;
        };
        let Some(sessions) = (*affinity.zone).sessions() else {
            return ERROR;
        };
        let carried = match precontent::carried(r, affinity) {
            Some(carried) => carried,
            None => match precontent::read(r, affinity, &sessions.table) {
                Ok(carried) => carried,
                Err(OutOfMemory) => return ERROR,
            },
        };
        precontent::note(r, affinity);
        // No request is at a phase meanwhile, so what was read stays where it is.
        if init(r, us) != OK {
            return ERROR;
        }
        let peer = &mut (*(*r).upstream).peer;
        if !list::is_round_robin(peer.data, us) {
            return begin_without_session(r, us);
        }
        let Some(data) = PeerData::create(r, affinity, sessions, carried) else {
            return ERROR;
        };
        hooks::wrap(peer, data);
        match affinity.policy.unknown {
            // All that the session decides is which server to take. Until then it may still be on its
            // way from memory.
            Unknown::Balance => OK,
            Unknown::Reject => data.begin_with_lookup(),
        }
    }
}

/// Begins a request of an upstream whose balancer chooses the server itself.
pub unsafe extern "C" fn init_without_session(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: as above.
    unsafe {
        match UpstreamConf::of(us).and_then(|conf| conf.balancer.init_peer) {
            Some(init) if init(r, us) == OK => begin_without_session(r, us),
            _ => ERROR,
        }
    }
}

/// Leaves a request to such a balancer: no session is looked up or learned.
///
/// # Safety
/// The balancer has initialised the request's peer.
#[cold]
unsafe fn begin_without_session(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: by this function's contract.
    unsafe {
        let Some(conf) = UpstreamConf::of(us) else {
            return ERROR;
        };
        foreign::note((*ngx_cycle).log, us, conf);
        let Some(affinity) = &conf.affinity else {
            return ERROR;
        };
        let Some(sessions) = (*affinity.zone).sessions() else {
            return ERROR;
        };
        match PeerData::create(r, affinity, sessions, &Carried::NOTHING) {
            Some(_) => OK,
            None => ERROR,
        }
    }
}

impl Hooked for PeerData {
    fn inner(&self) -> Option<&Inner> {
        (!self.departed).then_some(&self.inner)
    }

    #[inline(always)]
    unsafe fn get(&mut self, pc: &mut ngx_peer_connection_t) -> ngx_int_t {
        self.held = Held::Nothing;
        // SAFETY: called from `peer.get`, with no peer taken; the upstream is that of the request, and
        // the balancer's data are round robin's.
        unsafe {
            if self.target == Target::ToLookUp {
                // A request that is to be rejected has a target that says so.
                self.look_up();
            }
            match (self.target, self.session) {
                (Target::SessionServer, Some(server)) if self.take_at_once(pc, server) => OK,
                _ => self.get_otherwise(pc),
            }
        }
    }

    #[inline(always)]
    unsafe fn free(&mut self, pc: &mut ngx_peer_connection_t, state: ngx_uint_t) {
        // SAFETY: the response has ended, the request has not; nginx gives back what the balancer has
        // chosen, or what was taken in its name.
        unsafe {
            if self.departed || state & (NGX_PEER_FAILED | NGX_PEER_NEXT) as ngx_uint_t != 0 {
                return self.free_otherwise(pc, state);
            }
            let held = mem::replace(&mut self.held, Held::Nothing);
            self.ended(held);
            self.inner.free(pc, state);
        }
    }
}

impl PeerData {
    /// Takes whatever peer there is to take when the usual way has led to none.
    ///
    /// # Safety
    /// Called from `peer.get`, with no peer taken.
    #[cold]
    unsafe fn get_otherwise(&mut self, pc: &mut ngx_peer_connection_t) -> ngx_int_t {
        self.departed = false;
        // SAFETY: by this function's contract.
        let absence = unsafe {
            match mem::replace(&mut self.target, Target::Any) {
                Target::ToLookUp | Target::Any => None,
                Target::Ambiguous => return self.reject_at_once(Rejection::Ambiguous),
                Target::SessionServer => match self.take(pc) {
                    Ok(()) => return OK,
                    Err(absence) => Some(absence),
                },
                Target::Failed => {
                    if self.affinity.policy.rules == Rules::Affinity {
                        tried::start_over(self.us(), self.inner.data);
                    }
                    self.session.map(|server| self.absence(server, Missing::Failed))
                }
            }
        };
        if let Some(absence) = absence {
            if let Route::Reject(why) = self.give_up(absence) {
                // SAFETY: as above.
                return unsafe { self.reject(pc, why) };
            }
        }
        // SAFETY: as above.
        if self.has_to_avoid() && !unsafe { self.avoid() } {
            // SAFETY: as above.
            return unsafe { self.reject(pc, Rejection::Unavailable) };
        }
        // SAFETY: as above.
        if self.away != Away::No && unsafe { self.take_stand_in(pc) } {
            self.held = Held::Chosen;
            return OK;
        }
        // SAFETY: as above.
        let rc = unsafe { self.inner.get(pc) };
        if rc == OK || rc == DONE {
            self.held = Held::Chosen;
        }
        rc
    }

    /// Takes a backup server if there is no other one for a session without its own: the same each time.
    ///
    /// # Safety
    /// As above; the session has had its server among the peers, which are round robin's.
    unsafe fn take_stand_in(&self, pc: &mut ngx_peer_connection_t) -> bool {
        let (Some(key), Rules::Affinity) = (self.carried.key, self.affinity.policy.rules) else {
            return false;
        };
        let rank =
            |candidate: &Candidate<'_>| policy::stand_in(key.fingerprint(), candidate.address());
        // SAFETY: by this function's contract.
        unsafe { take::take_backup(pc, self.upstream(), self.us(), self.inner.data, rank) }
    }

    /// Gives back a peer that has failed, or whose answer is not wanted, or that is none of the
    /// upstream's.
    ///
    /// # Safety
    /// Called from `peer.free`.
    #[cold]
    unsafe fn free_otherwise(&mut self, pc: &mut ngx_peer_connection_t, state: ngx_uint_t) {
        let (mut state, has_failed) = (state, state != 0);
        // SAFETY: nginx passes its connection as it is; what is held is given back once, to the
        // balancer if it is one of its peers.
        unsafe {
            if !has_failed {
                let held = mem::replace(&mut self.held, Held::Nothing);
                self.ended(held);
            } else {
                let failure = Failure::of(pc, self.upstream(), state);
                self.note_failure(pc, failure);
                let is_judged_here = matches!(failure, Failure::Silent | Failure::Handshake);
                if is_judged_here && self.affinity.policy.rules == Rules::Affinity {
                    // Not for `max_fails` as well: new sessions would leave the server.
                    state &= !(NGX_PEER_FAILED as ngx_uint_t);
                }
                if mem::replace(&mut self.held, Held::Nothing) == Held::SessionServer {
                    self.session_server_failed(failure, &mut state);
                }
            }
            if mem::replace(&mut self.departed, false) {
                pc.tries = pc.tries.saturating_sub(1);
            } else {
                self.inner.free(pc, state);
            }
            self.decide_tries(pc, has_failed);
        }
    }

    /// Notes what a failure says of the server.
    ///
    /// # Safety
    /// Called from `peer.free`, before the server is given back.
    unsafe fn note_failure(&self, pc: &ngx_peer_connection_t, failure: Failure) {
        let event = match failure {
            Failure::Unreachable(reason) => Event::Failed(reason),
            Failure::Silent => Event::Silent,
            Failure::Stale | Failure::Handshake | Failure::Own => return,
        };
        let table = &self.sessions().table;
        // SAFETY: the name is that of the server that is held; the zone and the request are live, and
        // nginx has noted when it began to connect.
        unsafe {
            let begun = match failure {
                Failure::Unreachable(_) => Tick::from_millis((*self.upstream()).start_time as u64),
                _ => nginx::now(),
            };
            let name = pc.name.as_ref().map(|name| nginx::bytes(name));
            let server = name.and_then(|name| table.intern(name, nginx::now()));
            if let Some(server) = server {
                evidence::note_begun(&*self.affinity.zone, server, event, begun);
            }
        }
    }

    /// Decides what becomes of a request that its session's server has failed.
    ///
    /// # Safety
    /// As above.
    unsafe fn session_server_failed(&mut self, failure: Failure, state: &mut ngx_uint_t) {
        match failure {
            Failure::Stale if !self.forgiven => {
                // The server has closed an idle connection, or does so whenever it gets this request:
                // once that is no failure, and it is tried anew.
                self.forgiven = true;
                *state &= !(NGX_PEER_FAILED as ngx_uint_t);
                self.target = Target::SessionServer;
                if !self.departed {
                    // SAFETY: by this function's contract; the data are round robin's.
                    unsafe { tried::forget_try(self.inner.data) };
                }
            }
            Failure::Unreachable(_) => self.target = Target::Failed,
            // NGINX Plus's rules know no other failure.
            _ if self.affinity.policy.rules == Rules::Plus => {
                self.target = match *state & NGX_PEER_FAILED as ngx_uint_t {
                    0 => Target::Any,
                    _ => Target::Failed,
                };
                self.status = Status::Unavailable;
            }
            // It was sent the request: what another one answers moves nothing.
            _ => {
                self.away = Away::Busy;
                if self.affinity.policy.unavailable != Unavailable::Reject {
                    self.status = Status::Unavailable;
                    if !self.departed {
                        // SAFETY: as above.
                        unsafe { tried::start_over(self.us(), self.inner.data) };
                    }
                }
            }
        }
    }

    /// Sees to it that nginx asks for a server again exactly if there is one, or an answer of ours.
    ///
    /// # Safety
    /// Called from `peer.free`, when the server has been given back.
    unsafe fn decide_tries(&self, pc: &mut ngx_peer_connection_t, has_failed: bool) {
        if self.affinity.policy.unavailable != Unavailable::Reject || self.session.is_none() {
            return;
        }
        match self.target {
            // nginx gives the try back itself.
            Target::SessionServer => (),
            // nginx asks once more, and is told what becomes of the session; unless its cache has
            // something that may be sent instead.
            // SAFETY: the request is live, and has its upstream.
            Target::Failed if !unsafe { bits::allow_stale(self.request) } => pc.tries = 1,
            // No other server takes a session over: the failure is the answer.
            _ if has_failed && self.status == Status::Hit => {
                pc.tries = 0;
                pc.set_cached(0);
            }
            _ => (),
        }
    }

    /// Makes the data of a request, over what the balancer has set up.
    ///
    /// # Safety
    /// The balancer has initialised the request's peer, and has no data of ours over it yet.
    unsafe fn create<'a>(
        r: *mut ngx_http_request_t,
        affinity: &'static Affinity,
        sessions: &'static Sessions,
        carried: &Carried,
    ) -> Option<&'a mut PeerData> {
        // SAFETY: the request is live; by this function's contract.
        unsafe {
            let peer = &(*(*r).upstream).peer;
            let data = recycled::make((*r).pool, || PeerData {
                in_flight: InFlight::new(sessions),
                request: r,
                affinity,
                inner: Inner::of(peer),
                carried: *carried,
                session: None,
                status: Status::None,
                target: Target::ToLookUp,
                held: Held::Nothing,
                learned: false,
                away: Away::No,
                forgiven: false,
                departed: false,
                watching: false,
                served: None,
            })?;
            *nginx::context(r, &nginx::MODULE) = ptr::from_mut(data).cast();
            Some(data)
        }
    }

    /// The data of a request whose response comes from the peer that it holds.
    ///
    /// # Safety
    /// `r` is a live request.
    pub unsafe fn current<'a>(r: *mut ngx_http_request_t) -> Option<&'a mut PeerData> {
        // SAFETY: only `create` sets the context.
        unsafe {
            let data = context::<PeerData>(r)?;
            (data.held != Held::Nothing && !data.is_from_cache()).then_some(data)
        }
    }

    /// Whether the response is an earlier one: from nginx's cache, perhaps confirmed by the server.
    ///
    /// # Safety
    /// The request is live.
    unsafe fn is_from_cache(&self) -> bool {
        #[cfg(ngx_feature = "http_cache")]
        // SAFETY: by this function's contract.
        let from_cache = unsafe {
            !(*self.request).cache.is_null()
                && (bits::is_cached(self.request)
                    || (*self.upstream()).cache_status() == nginx_sys::NGX_HTTP_CACHE_REVALIDATED)
        };
        #[cfg(not(ngx_feature = "http_cache"))]
        let from_cache = false;
        from_cache
    }

    /// The data of the last upstream with sessions that a request has been to.
    ///
    /// # Safety
    /// `r` is a live request.
    pub unsafe fn last<'a>(r: *mut ngx_http_request_t) -> Option<&'a PeerData> {
        // SAFETY: only `create` sets the context. An internal redirect clears it, but the data
        // stay in the request's pool, the latest first.
        unsafe {
            if let Some(data) = context::<PeerData>(r) {
                return Some(data);
            }
            recycled::find::<PeerData>((*r).pool, |data| data.request == r)
        }
    }

    pub fn status(&self) -> Status {
        self.status
    }

    /// Calls `f` with the address that the request's session is bound to, if any.
    pub fn with_bound_address<T>(&self, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.sessions().with_address(self.session?, f)
    }

    fn sessions(&self) -> &'static Sessions {
        self.in_flight.sessions()
    }

    fn upstream(&self) -> *mut ngx_http_upstream_t {
        // SAFETY: the request is live, and has had its upstream since before `create`.
        unsafe { (*self.request).upstream }
    }

    fn us(&self) -> *const ngx_http_upstream_srv_conf_t {
        // SAFETY: as above; nginx notes there where it has got the peers from.
        unsafe { (*self.upstream()).upstream }
    }

    /// Asks the zone where the request's id leads, and notes it as the target.
    ///
    /// # Safety
    /// The data lie in the request's pool.
    #[inline(always)]
    unsafe fn look_up(&mut self) -> Route {
        let now = nginx::now();
        // SAFETY: by this function's contract.
        unsafe {
            if let (Some(key), Rules::Affinity) = (self.carried.key, self.affinity.policy.rules) {
                let sessions = self.sessions();
                if let Some(session) = sessions.visit_at_once(key, now, &self.affinity.limits) {
                    return self.found(key, session.server, now);
                }
            }
            self.look_up_otherwise(now)
        }
    }

    /// The same wherever the session is, if there is one, and by any rules.
    ///
    /// # Safety
    /// As above.
    #[cold]
    unsafe fn look_up_otherwise(&mut self, now: Tick) -> Route {
        self.target = Target::Any;
        let (sessions, limits) = (self.sessions(), &self.affinity.limits);
        let visit = |key| match self.affinity.policy.rules {
            Rules::Affinity => sessions.visit(key, now, limits),
            Rules::Plus => sessions.lookup(key, now, limits),
        };
        let first = self.carried.key;
        if let Some((key, session)) = first.and_then(|key| Some((key, visit(key)?))) {
            // SAFETY: by this function's contract.
            return unsafe { self.found(key, session.server, now) };
        }
        // SAFETY: the request is live.
        if let Some((id, key, session)) = unsafe { self.find_other_cookie(visit) } {
            (self.carried.presented, self.carried.key) = (id, Some(key));
            // SAFETY: by this function's contract.
            return unsafe { self.found(key, session.server, now) };
        }
        match first {
            // SAFETY: as above.
            Some(key) => unsafe { self.look_up_second(key, now) },
            None if self.carried.mcp.as_ref().is_some_and(Outlook::is_ambiguous) => {
                self.target = Target::Ambiguous;
                self.decide(Presented::Ambiguous)
            }
            None => self.decide(Presented::NoId),
        }
    }

    /// The id that was asked for first leads nowhere.
    ///
    /// # Safety
    /// As above.
    unsafe fn look_up_second(&mut self, first: Key, now: Tick) -> Route {
        let sessions = self.sessions();
        let mut presented = Presented::Stranger(self.carried.kind);
        if self.carried.mcp.is_some() {
            // SAFETY: by this function's contract; the request is live.
            unsafe {
                let said = body::request(self.request);
                let second =
                    body::with_second_id(&said, |kind, id| Some((kind, self.key(kind, id).ok()?)));
                if let Some((kind, key)) = second.flatten() {
                    if let Some(session) = sessions.visit(key, now, &self.affinity.limits) {
                        self.carried.kind = kind;
                        return self.found(key, session.server, now);
                    }
                }
                presented = said.unknown();
            }
        }
        if presented != Presented::NoId {
            sessions.table.count_unknown(first);
        }
        self.decide(presented)
    }

    /// The first of the request's other cookies of the same name that is the id of a session: a browser
    /// sends several if they have been set with different paths or domains.
    ///
    /// # Safety
    /// The request is live.
    unsafe fn find_other_cookie(
        &self,
        visit: impl Fn(Key) -> Option<Session>,
    ) -> Option<(&'static [u8], Key, Session)> {
        let Lookup::Values(values) = &self.affinity.lookup else { return None };
        // SAFETY: the request is live, and outlives its cookies; the strings are those of its headers.
        unsafe {
            // Those of the value that counts, which is the first that is given.
            let cookies = values.iter().find_map(|value| {
                let cookies = value.cookie().and_then(|cookie| cookie.carried(self.request));
                let cookies = cookies.unwrap_or_default();
                let is_given = || value.eval(self.request).is_ok_and(|id| !id.is_empty());
                (cookies.iter().next().is_some() || is_given()).then_some(cookies)
            })?;
            let others = cookies.iter().filter(|id| *id != self.carried.presented);
            others.into_iter().find_map(|id| {
                let key = self.key(Kind::Session, id).ok()?;
                Some((id, key, visit(key)?))
            })
        }
    }

    /// The id leads to a server.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn found(&mut self, key: Key, server: ServerId, now: Tick) -> Route {
        self.session = Some(server);
        match self.affinity.policy.rules {
            // SAFETY: the data stay where they are until their pool is destroyed.
            Rules::Affinity => unsafe { self.in_flight.hold(key, now) },
            Rules::Plus => self.in_flight.note(key),
        }
        self.target = Target::SessionServer;
        self.decide(Presented::Session)
    }

    /// Looks up the id of a request before a server is asked for, so that it can be rejected.
    ///
    /// # Safety
    /// As above.
    #[inline(never)]
    unsafe fn begin_with_lookup(&mut self) -> ngx_int_t {
        // SAFETY: by this function's contract.
        match unsafe { self.look_up() } {
            // SAFETY: as above.
            Route::Reject(why) => unsafe { self.reject_at_once(why) },
            _ => OK,
        }
    }

    fn decide(&mut self, presented: Presented) -> Route {
        let (status, route) = self.affinity.policy.on_lookup(presented);
        self.status = status;
        route
    }

    /// The key of an id that the response carries.
    #[inline(always)]
    unsafe fn key(&self, kind: Kind, id: &[u8]) -> Result<Key, OutOfMemory> {
        // SAFETY: the request is live.
        let bind = unsafe { read_bind(&self.affinity.bind, self.request, Value::eval)? };
        Ok(self.sessions().table.key(kind, id, bind))
    }

    /// Takes the session's server, if its address is at hand and the server can be had without more
    /// ado; otherwise nothing is done.
    ///
    /// # Safety
    /// Called from `peer.get`, with no peer taken; the balancer's data are round robin's.
    #[inline(always)]
    unsafe fn take_at_once(&mut self, pc: &mut ngx_peer_connection_t, server: ServerId) -> bool {
        if self.affinity.policy.rules != Rules::Affinity || self.sessions().is_troubled() {
            return false;
        }
        // SAFETY: by this function's contract; nobody asks for addresses meanwhile.
        unsafe {
            let Some(address) = self.sessions().known_address(server) else {
                return false;
            };
            let (u, us, data) = (self.upstream(), self.us(), self.inner.data);
            if !take::take_at_once(pc, u, us, data, address) {
                return false;
            }
        }
        self.target = Target::Any;
        self.hold_session_server(pc);
        true
    }

    #[inline(always)]
    fn hold_session_server(&mut self, pc: &mut ngx_peer_connection_t) {
        self.held = Held::SessionServer;
        if self.affinity.policy.unavailable == Unavailable::Reject {
            // There is no other: nginx passes on whatever it answers.
            pc.tries = 1;
        }
    }

    /// Takes the session's server.
    ///
    /// # Safety
    /// Called from `peer.get`, with no peer taken; the balancer's data are round robin's.
    unsafe fn take(&mut self, pc: &mut ngx_peer_connection_t) -> Result<(), Absence> {
        let sessions = self.sessions();
        let server = self.session.ok_or(Absence::Gone)?;
        let (u, us, data) = (self.upstream(), self.us(), self.inner.data);
        if self.affinity.policy.rules == Rules::Plus {
            // SAFETY: as above.
            let take = |address: &[u8]| unsafe {
                take::take_in_turn(pc, u, us, data, |candidate| candidate.is_named(address))
            };
            let taken = sessions.with_address(server, take).unwrap_or(Err(Missing::Removed));
            // SAFETY: as above.
            taken.map_err(|missing| unsafe { self.absence(server, missing) })?;
            self.held = Held::SessionServer;
            return Ok(());
        }
        // SAFETY: as above.
        if let Some(absence) = unsafe { self.known_absence(server, false) } {
            // SAFETY: as above.
            if pc.local.is_null() || !unsafe { self.is_to_try(server, absence) } {
                return Err(absence);
            }
        }
        // SAFETY: as above.
        let take = |address: &[u8]| unsafe { take::take(pc, u, us, data, address) };
        match sessions.with_address(server, take).unwrap_or(Err(Missing::Removed)) {
            Ok(()) => (),
            // SAFETY: as above.
            Err(Missing::Removed) => unsafe { self.take_departed(pc, server)? },
            // SAFETY: as above.
            Err(missing) => return Err(unsafe { self.absence(server, missing) }),
        }
        self.hold_session_server(pc);
        Ok(())
    }

    /// Takes the session's server by its address, which its name does not have at the moment.
    ///
    /// # Safety
    /// As above; the server is not among the peers.
    unsafe fn take_departed(
        &mut self,
        pc: &mut ngx_peer_connection_t,
        server: ServerId,
    ) -> Result<(), Absence> {
        // SAFETY: by this function's contract; the configuration outlives its requests.
        let taken = unsafe {
            let conf = UpstreamConf::of(self.us());
            let addresses = conf.and_then(|conf| conf.addresses.try_borrow().ok());
            let take = |name: &[u8]| {
                let address = addresses.as_ref()?.find(name).filter(|found| found.is_resolved())?;
                addresses::take(pc, self.request, address)
            };
            self.sessions().with_address(server, take).flatten()
        };
        if taken.is_none() {
            // SAFETY: as above.
            return Err(unsafe { self.absence(server, Missing::Removed) });
        }
        self.departed = true;
        Ok(())
    }

    /// Why the session's server cannot be had.
    ///
    /// # Safety
    /// As above.
    unsafe fn absence(&self, server: ServerId, missing: Missing) -> Absence {
        match missing {
            Missing::Full => Absence::Full,
            Missing::Failed | Missing::Down => {
                // SAFETY: by this function's contract.
                let known = unsafe { self.known_absence(server, missing == Missing::Down) };
                known.unwrap_or(Absence::Unreachable)
            }
            Missing::Removed => {
                // An address that has left DNS may come back, whether this worker knows it or not.
                // SAFETY: as above; the configuration outlives its requests.
                let may_return = self.sessions().table.record(server).resolved
                    && unsafe { UpstreamConf::of(self.us()) }.is_some_and(|conf| {
                        conf.addresses.try_borrow().is_ok_and(|addresses| addresses.are_resolved())
                    });
                // SAFETY: as above.
                if unsafe { bits::comes_from_upstream(self.request) && self.is_elsewhere(server) } {
                    return Absence::Elsewhere;
                }
                if !may_return {
                    return Absence::Gone;
                }
                // SAFETY: as above.
                unsafe { self.known_absence(server, false) }.unwrap_or(Absence::Unreachable)
            }
        }
    }

    /// Whether another upstream of the zone has the server.
    ///
    /// # Safety
    /// The request is in its upstream.
    unsafe fn is_elsewhere(&self, server: ServerId) -> bool {
        let has = |name: &[u8]| {
            // SAFETY: the request is live, and so is its configuration.
            let mut upstreams = unsafe { conf::upstreams(self.request) };
            let is_listed = upstreams.any(|(us, affinity)| {
                // SAFETY: as above.
                let conf = unsafe { UpstreamConf::of(us) };
                affinity.zone == self.affinity.zone
                    && us != self.us()
                    && conf.and_then(|conf| conf.addresses.try_borrow().ok()).is_some_and(
                        |addresses| addresses.find(name).is_some_and(|address| address.listed),
                    )
            });
            is_listed.then_some(())
        };
        self.sessions().with_address(server, has).flatten().is_some()
    }

    /// Why the session's server is not to be tried, by what is known of it.
    ///
    /// # Safety
    /// The request is in its upstream.
    unsafe fn known_absence(&self, server: ServerId, down: bool) -> Option<Absence> {
        let sessions = self.sessions();
        let record = sessions.table.record(server);
        let view = |address: &[u8]| {
            // SAFETY: by this function's contract.
            unsafe { evidence::view(self.us(), self.affinity, address, &record, down) }
        };
        match sessions.with_address(server, view)?.known {
            Known::Up | Known::Slow => None,
            Known::Unreachable => Some(Absence::Unreachable),
            Known::Gone => Some(Absence::Gone),
        }
    }

    /// Whether a request with an address of its own (`proxy_bind`) is to try a server that nginx's
    /// attempts do not reach: they come from another address, which the server may not admit. One
    /// request of a worker does so in the time between two attempts, and each before it would take the
    /// server for gone.
    ///
    /// # Safety
    /// The request is in its upstream.
    unsafe fn is_to_try(&self, server: ServerId, absence: Absence) -> bool {
        // What has left DNS is gone whoever asks.
        if self.sessions().table.record(server).missing.is_some() {
            return false;
        }
        if absence == Absence::Gone {
            return true;
        }
        // SAFETY: by this function's contract; the configuration outlives its requests.
        let (conf, interval) =
            unsafe { (UpstreamConf::of(self.us()), (*self.affinity.zone).attempt_interval()) };
        let Some(addresses) = conf.and_then(|conf| conf.addresses.try_borrow().ok()) else {
            return false;
        };
        let is_due = |name: &[u8]| {
            let address = addresses.find(name)?;
            address.is_due(nginx::now(), Span::from_millis(interval)).then_some(())
        };
        self.sessions().with_address(server, is_due).flatten().is_some()
    }

    /// Whether there may be servers that new sessions are to avoid.
    fn has_to_avoid(&self) -> bool {
        self.sessions().drains() || self.sessions().is_troubled()
    }

    /// Keeps the balancer from servers that drain, and, while it has better ones, from those that are
    /// slow or cannot be reached. False if all drain.
    ///
    /// # Safety
    /// Called from `peer.get` with no peer taken; the balancer's data are round robin's.
    #[cold]
    unsafe fn avoid(&self) -> bool {
        let (us, data) = (self.us(), self.inner.data);
        let heeds_evidence = self.affinity.policy.rules == Rules::Affinity;
        // Collected before nginx's lock is taken: mostly it is one server of many.
        let Some(avoided) = self.sessions().avoided(heeds_evidence) else { return true };
        let mut best = Avoided::Unreachable;
        // SAFETY: by this function's contract.
        unsafe {
            tried::each_left(us, data, |candidate| best = best.min(avoided.rank(candidate)));
            tried::exclude(us, data, |candidate| avoided.rank(candidate) > best)
        }
    }

    /// Decides what to do without the session's server.
    fn give_up(&mut self, absence: Absence) -> Route {
        self.away = match absence {
            Absence::Full | Absence::Elsewhere => Away::Busy,
            Absence::Unreachable | Absence::Gone => Away::Unreachable,
        };
        let opens_stream = self.carried.mcp.as_ref().is_some_and(Outlook::opens_stream);
        let (status, route) =
            self.affinity.policy.on_unavailable(self.carried.kind, absence, opens_stream);
        self.status = status;
        let is_over = matches!(route, Route::Afresh | Route::Reject(Rejection::Gone));
        if is_over && absence != Absence::Elsewhere {
            self.forget();
        }
        route
    }

    /// The session of the request is no more.
    fn forget(&mut self) {
        self.in_flight.drop_hold();
        if let Some(key) = self.in_flight.key() {
            self.sessions().forget(key);
        }
    }

    /// Answers in place of a server; what this gives is what `peer.get` returns.
    ///
    /// # Safety
    /// Called from `peer.get`, with no peer taken.
    unsafe fn reject(&self, pc: &mut ngx_peer_connection_t, why: Rejection) -> ngx_int_t {
        // SAFETY: by this function's contract.
        unsafe {
            if why == Rejection::Unavailable && bits::allow_stale(self.request) {
                pc.name = list::name(self.us());
                return BUSY;
            }
            self.reject_at_once(why)
        }
    }

    /// The same, but for what nginx has in its cache.
    ///
    /// # Safety
    /// As for [`reject::send`].
    unsafe fn reject_at_once(&self, why: Rejection) -> ngx_int_t {
        /// Seconds; within one nginx has tried the server again.
        const RETRY_AFTER: u64 = 1;

        self.sessions().count_rejection(why);
        let body = self.affinity.policy.mcp.then(|| affinity::mcp::rejection::body(why));
        // SAFETY: by this function's contract.
        unsafe { reject::send(self.request, self.upstream(), why, RETRY_AFTER, body) }
    }

    /// The headers of the held peer's response are complete, and none has been sent. Gives what its
    /// body may teach, in MCP mode.
    ///
    /// # Safety
    /// Called by the header filter.
    #[inline(always)]
    pub unsafe fn answered(&mut self) -> Option<Outlook> {
        if self.sessions().is_troubled() {
            // SAFETY: by this function's contract.
            unsafe { self.note_answer() };
        }
        // SAFETY: the request is live.
        let only_headers = || unsafe {
            let u = &*self.upstream();
            bits::is_header_only(self.request)
                || u.headers_in.content_length_n == 0
                || matches!(
                    u.headers_in.status_n as u32,
                    NGX_HTTP_NO_CONTENT | NGX_HTTP_NOT_MODIFIED
                )
        };
        if self.affinity.policy.learn == Moment::Header || only_headers() {
            // SAFETY: the response's headers are there.
            unsafe { self.learn_now(self.held) };
        }
        self.carried.mcp
    }

    /// The server has answered, whether its session or the balancer has led there.
    ///
    /// # Safety
    /// A peer is held.
    #[cold]
    unsafe fn note_answer(&self) {
        let table = &self.sessions().table;
        // SAFETY: the request is live; the name is the peer's; the zone is the configuration's.
        unsafe {
            let name = (*self.upstream()).peer.name.as_ref().map(|name| nginx::bytes(name));
            if let Some(server) = name.and_then(|name| table.find_server(name)) {
                evidence::note(&*self.affinity.zone, server, Event::Answered);
            }
        }
    }

    /// A part of the held peer's response is about to leave. With the last one the response has
    /// ended for the client, who may come back before nginx is done with the server.
    ///
    /// # Safety
    /// Called by the body filter, with buffers that live until the next filter has them.
    pub unsafe fn leaves(&mut self, chain: *const ngx_chain_t) {
        if self.learned {
            return;
        }
        // SAFETY: the request and its upstream are live, as is the chain.
        unsafe {
            let u = &*self.upstream();
            let left = match u.pipe.as_ref() {
                Some(pipe) if u.buffering() != 0 => pipe.length,
                _ => u.length,
            };
            let mut link = chain;
            let mut last = left == 0;
            while let Some(part) = link.as_ref().filter(|_| !last) {
                last = (*part.buf).last_buf() != 0;
                link = part.next;
            }
            if last {
                self.learn(self.held);
            }
        }
    }

    /// The held peer's response has ended, or the client has left.
    ///
    /// # Safety
    /// The request is live, and its peer has not been given back.
    #[inline(always)]
    unsafe fn ended(&mut self, held: Held) {
        // SAFETY: as above.
        unsafe {
            if !self.learned {
                self.ended_unlearned(held);
            }
            if self.carried.mcp.is_some() {
                self.note_server();
            }
        }
        self.in_flight.release(nginx::now());
    }

    /// The response has ended, or there is none, and has not taught.
    ///
    /// # Safety
    /// The request is live.
    #[cold]
    unsafe fn ended_unlearned(&mut self, held: Held) {
        // SAFETY: by this function's contract; the request learns only if the response's headers are
        // there.
        unsafe {
            let answered = (*self.upstream()).headers_in.status_n != 0;
            if answered && self.sessions().is_troubled() {
                // What `error_page` replaces does not pass the header filter.
                self.note_answer();
            }
            let learns = self.affinity.policy.learn == Moment::End || self.is_redirected();
            if answered && learns && !self.is_from_cache() {
                self.learn(held);
            }
        }
    }

    /// Whether nginx goes on elsewhere, with the response's cookies but without its other headers.
    ///
    /// # Safety
    /// The request is live.
    unsafe fn is_redirected(&self) -> bool {
        // SAFETY: by this function's contract.
        unsafe {
            let u = &*self.upstream();
            let ignored =
                (*u.conf).ignore_headers & NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT as ngx_uint_t;
            !u.headers_in.x_accel_redirect.is_null() && ignored == 0
        }
    }

    /// Notes the server of a response whose body is still read: a slow client's part of it waits in a
    /// file, and may have to be read by a thread.
    ///
    /// # Safety
    /// The request is live, and its peer has not been given back.
    #[inline(never)]
    unsafe fn note_server(&mut self) {
        // SAFETY: by this function's contract.
        unsafe {
            if self.watching {
                let Some(name) = (*self.upstream()).peer.name.as_ref() else { return };
                self.served = self.sessions().table.intern(nginx::bytes(name), nginx::now());
                if self.served.is_none() {
                    self.complain_of_full_list(nginx::bytes(name));
                }
            }
        }
    }

    /// Lets the response teach.
    ///
    /// # Safety
    /// The response's headers have come, from the peer that is `held`.
    #[inline(never)]
    unsafe fn learn(&mut self, held: Held) {
        // SAFETY: by this function's contract.
        unsafe { self.learn_now(held) };
    }

    /// The same, for the place where most responses teach.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn learn_now(&mut self, held: Held) {
        self.learned = true;
        // SAFETY: the request is live, as is what it holds.
        let status = unsafe { (*self.upstream()).headers_in.status_n as u16 };
        let (opens, ends) = match &self.carried.mcp {
            Some(outlook) => (outlook.opens(status), outlook.ends(self.carried.kind, status)),
            None => (true, false),
        };
        // SAFETY: as above.
        let created = match unsafe { first_value(&self.affinity.create, self.request, Value::eval) }
        {
            Ok(created) if opens => created,
            Ok(_) => &[],
            Err(OutOfMemory) => return,
        };
        // The usual case, decided early: nothing new, from where it was expected.
        let refreshed = self.affinity.policy.rules == Rules::Affinity;
        if !created.is_empty() || held != Held::SessionServer || !refreshed || ends {
            // SAFETY: as above.
            unsafe { self.take_lesson(held, status, created, ends) };
        }
    }

    /// What the response says, it teaches.
    ///
    /// # Safety
    /// As for `learn`; `created` is the id that it carries, or empty, and `ends` whether it is to end
    /// the session.
    #[inline(never)]
    unsafe fn take_lesson(&mut self, held: Held, status: u16, created: &[u8], ends: bool) {
        // SAFETY: the request is live, as is what it holds.
        let u = unsafe { &*self.upstream() };
        // SAFETY: the name is the peer's, which is held.
        let Some(name) = (unsafe { u.peer.name.as_ref().map(|name| nginx::bytes(name)) }) else {
            return;
        };
        let table = &self.sessions().table;
        let session = self.session.map(|server| {
            if held == Held::SessionServer || table.find_server(name) == Some(server) {
                Whose::Here
            } else if self.away == Away::Unreachable {
                Whose::Instead
            } else {
                Whose::Elsewhere
            }
        });
        // SAFETY: the request is live.
        let ends = ends && !unsafe { self.was_answered_before() };
        // SAFETY: the request is in the upstream; that of a session that is away has round robin's peers.
        let stands_in = self.away != Away::No
            && held == Held::Chosen
            && unsafe { list::is_backup(self.us(), self.inner.data) };
        // SAFETY: the request is live.
        let others = unsafe { self.created_besides(created) };
        for created in core::iter::once(created).chain(others.iter()) {
            let created_is = match self.carried.presented {
                _ if created.is_empty() => None,
                presented if presented == created => Some(Created::Presented),
                _ => Some(Created::Other),
            };
            let answer = Answer { status, session, created: created_is, ends, stands_in };
            match (self.affinity.policy.on_answer(&answer), self.in_flight.key()) {
                (Lesson::BindCreated(existing), _) => {
                    // SAFETY: the request is live.
                    if let Ok(key) = unsafe { self.key(Kind::Session, created) } {
                        self.bind(key, name, None, existing);
                    }
                }
                (Lesson::BindPresented(existing), Some(key)) => {
                    let now = nginx::now();
                    if self.sessions().lookup(key, now, &self.affinity.limits).is_some() {
                        self.bind(key, name, None, existing);
                    }
                }
                (Lesson::End, _) => self.forget(),
                _ => (),
            }
        }
    }

    /// Whether the session's server has answered before, and nginx has redirected the request since
    /// (`X-Accel-Redirect`, `error_page`). What the server says of the session is its first answer: what
    /// follows answers a request that nginx has made of it.
    ///
    /// # Safety
    /// The request is live.
    #[cold]
    unsafe fn was_answered_before(&self) -> bool {
        let is_earlier = |data: &PeerData| {
            data.request == self.request
                && !ptr::eq(data, self)
                && data.status == Status::Hit
                && data.in_flight.key() == self.in_flight.key()
        };
        // SAFETY: by this function's contract; the data of a request stay in its pool.
        unsafe { recycled::find::<PeerData>((*self.request).pool, is_earlier) }.is_some()
    }

    /// Further ids of the response beside the first: cookies of the same name.
    ///
    /// # Safety
    /// As for `learn`.
    unsafe fn created_besides(&self, first: &[u8]) -> Few<'static> {
        if first.is_empty() {
            return Few::default();
        }
        // SAFETY: the request is live, and so are the headers of its upstream's response.
        let cookies = self.affinity.create.iter().find_map(|value| unsafe {
            let cookies = value.cookie()?.set(self.request)?;
            cookies.iter().next().is_some_and(|id| id == first).then_some(cookies)
        });
        cookies.map(|cookies| cookies.without(first)).unwrap_or_default()
    }

    /// The body of the response gives an id.
    ///
    /// # Safety
    /// Called by the body filter.
    pub unsafe fn learn_from_body(&mut self, learned: &Learned<'_>) {
        // SAFETY: the request is live, and so is the name of a peer that is held.
        unsafe {
            let Ok(key) = self.key(learned.kind, learned.id) else {
                return;
            };
            let name = (*self.upstream()).peer.name.as_ref().filter(|_| self.held != Held::Nothing);
            let table = &self.sessions().table;
            let server = match (name, self.served) {
                (Some(name), _) => table.intern(nginx::bytes(name), nginx::now()),
                (None, Some(server)) => Some(server),
                (None, None) => return,
            };
            let Some(server) = server else {
                return name.map_or((), |name| self.complain_of_full_list(nginx::bytes(name)));
            };
            // A target that is the same for every stream is that whoever asks: without `bind`.
            let target = (learned.announced == Announced::Target)
                .then(|| table.key(learned.kind, learned.id, &[]).fingerprint());
            self.bind_announced(key, server, learned.announced, target, learned.ttl);
        }
    }

    /// Binds the id that a body gives to the server that sent it, unless another one has it. `target` is
    /// the fingerprint under which a target may be known to be shared.
    ///
    /// # Safety
    /// The request is live.
    unsafe fn bind_announced(
        &mut self,
        key: Key,
        server: ServerId,
        announced: Announced,
        target: Option<u64>,
        ttl: Option<Span>,
    ) {
        let sessions = self.sessions();
        let session = sessions.lookup(key, nginx::now(), &self.affinity.limits);
        let holder = match session.map(|session| session.server).filter(|other| *other != server) {
            None => Holder::None,
            // SAFETY: by this function's contract.
            Some(other) if unsafe { self.is_gone(other) } => Holder::Gone,
            Some(_) => Holder::Other,
        };
        let shared = target.is_some_and(|target| sessions.shared_targets().has(target));
        let existing = match self.affinity.policy.on_announced(announced, holder, shared) {
            Clash::Keep => Existing::Keep,
            Clash::Move => Existing::Move,
            Clash::End => {
                target.into_iter().for_each(|target| sessions.shared_targets().note(target));
                if session.is_some() {
                    sessions.forget(key);
                }
                return self.tell(server, Notice::Shared(key));
            }
        };
        // A server that is no longer on the list has nothing bound to it.
        let _ = self.bind_to(key, server, ttl, existing);
    }

    /// Whether a server counts as gone, or is no longer in the upstream.
    ///
    /// # Safety
    /// The request is in its upstream.
    unsafe fn is_gone(&self, server: ServerId) -> bool {
        // SAFETY: by this function's contract; the configuration outlives its requests.
        let down = unsafe { UpstreamConf::of(self.us()) }.and_then(|conf| {
            let addresses = conf.addresses.try_borrow().ok()?;
            let is_down = |name: &[u8]| addresses.find(name).map(|address| address.down);
            self.sessions().with_address(server, is_down).flatten()
        });
        // SAFETY: as above.
        let absence = unsafe {
            match down {
                Some(down) => self.known_absence(server, down),
                None => Some(self.absence(server, Missing::Removed)),
            }
        };
        absence == Some(Absence::Gone)
    }

    /// The body of the response should give an id, and gives none.
    ///
    /// # Safety
    /// Called by the body filter.
    pub unsafe fn body_refused(&self, why: Refusal) {
        // SAFETY: the request is live, and so is the name of a peer that is held.
        let name = unsafe {
            let name = (*self.upstream()).peer.name.as_ref().filter(|_| self.held != Held::Nothing);
            name.map(|name| nginx::bytes(name))
        };
        match (name, self.served) {
            (Some(name), _) => notices::tell(self.zone_name(), name, Notice::Refused(why)),
            (None, Some(server)) => self.tell(server, Notice::Refused(why)),
            (None, None) => (),
        }
    }

    /// Binds a key to the server of that name.
    fn bind(&mut self, key: Key, name: &[u8], ttl: Option<Span>, existing: Existing) {
        let server = self.sessions().table.intern(name, nginx::now());
        if let Some(server) = server {
            self.note_resolved(server, name);
        }
        let bound = server.and_then(|server| self.bind_to(key, server, ttl, existing));
        if bound.is_none() {
            self.complain_of_full_list(name);
        }
    }

    /// Notes that a server may leave DNS, which may be before the next look at all servers.
    fn note_resolved(&self, server: ServerId, name: &[u8]) {
        // SAFETY: the configuration outlives its requests.
        let conf = unsafe { UpstreamConf::of(self.us()) };
        let Some(addresses) = conf.and_then(|conf| conf.addresses.try_borrow().ok()) else {
            return;
        };
        if addresses.are_resolved() && addresses.find(name).is_none_or(Address::is_resolved) {
            let resolved = |record| Record { resolved: true, ..record };
            let _ = self.sessions().table.update_record(server, resolved);
        }
    }

    /// Binds a key to a server; `None` if that is no longer on the list.
    fn bind_to(
        &mut self,
        key: Key,
        server: ServerId,
        ttl: Option<Span>,
        existing: Existing,
    ) -> Option<()> {
        let now = nginx::now();
        let claimed = self.affinity.policy.mcp && self.session.is_none();
        match self.sessions().bind(key, server, ttl, now, &self.affinity.limits, existing) {
            Bound::Created => self.status = Status::New,
            Bound::Moved => {
                self.status = Status::Rebound;
                if claimed {
                    self.tell(server, Notice::Moved(key));
                }
            }
            Bound::Refreshed => (),
            Bound::Kept => {
                if claimed {
                    self.tell(server, Notice::Kept(key));
                }
                return Some(());
            }
            Bound::Refused => return None,
        }
        self.session = Some(server);
        if self.affinity.policy.rules == Rules::Affinity {
            // SAFETY: the data stay where they are until their pool is destroyed.
            unsafe { self.in_flight.hold(key, now) };
        }
        Some(())
    }

    #[cold]
    fn tell(&self, server: ServerId, notice: Notice) {
        let tell = |address: &[u8]| notices::tell(self.zone_name(), address, notice);
        let _ = self.sessions().with_address(server, tell);
    }

    fn zone_name(&self) -> ngx_str_t {
        // SAFETY: the zone lives as long as the configuration, which outlives its requests.
        unsafe { (*self.affinity.zone).name() }
    }

    #[cold]
    fn complain_of_full_list(&self, name: &[u8]) {
        let server = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        // SAFETY: the request and the zone are live.
        unsafe {
            // Not the connection's log: that adds the request line, which may hold an id.
            (*self.affinity.zone).report_full_list((*ngx_cycle).log, nginx::now(), server);
        }
    }
}

/// With the request's pool, when its line in the access log has been written.
impl Drop for PeerData {
    fn drop(&mut self) {
        self.sessions().count_request(self.status, self.session);
    }
}
