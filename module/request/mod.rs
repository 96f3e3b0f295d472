//! One request at an upstream with sessions: its state between the calls of nginx.

mod absence;
mod ask;
mod bind;
pub mod by_lua;
mod free;
pub mod id;
mod learn;
mod message;
mod notices;
pub mod opening;
pub mod precontent;
mod reject;
pub mod route;
mod take;

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr;

use affinity::policy::Status;
use affinity::status::OutOfMemory;
use affinity::table::{Key, Kind, ServerId};
use id::{read_bind, RequestId};
use nginx_sys::ngx_str_t;
use notices::Notice;

use crate::conf::value::Value;
use crate::conf::{Affinity, UpstreamConf};
use crate::nginx;
use crate::nginx::cycle::Cycle;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::request::Request;
use crate::nginx::upstream::{Block, Upstream};
use crate::peers::hooks::Inner;
use crate::peers::tried::RoundRobin;
use crate::worker::in_flight::InFlight;
use crate::zone::sessions::Sessions;

/// The state of a request at an upstream with sessions; it lives as long as the request's pool.
///
/// It changes in cells: nginx may call while another call with the same pointer runs.
pub struct PeerData {
    /// Keeps the request's session alive: that of its id, or the one that was just learned.
    in_flight: InFlight,
    /// The request of these data.
    request: Request<'static>,
    /// The upstream's parameters; the configuration outlives its requests.
    affinity: &'static Affinity,
    inner: Inner,
    id: Cell<RequestId>,
    /// The server of the session.
    session: Cell<Option<ServerId>>,
    status: Cell<Status>,
    /// What the next `peer.get` does.
    next: Cell<Next>,
    /// Which peer the request holds.
    held: Cell<Held>,
    /// Whether the response's headers have been applied.
    learned: Cell<bool>,
    /// Whether and why another server than the session's is chosen.
    away: Cell<Away>,
    /// Whether a failure on a stale kept connection was forgiven; that happens once.
    forgiven: Cell<bool>,
    /// Whether the server that is held is not a peer of the upstream, but an address that has left DNS.
    departed: Cell<bool>,
    /// Whether the body of the response is read, and no id was found yet.
    watching: Cell<bool>,
    /// The server of a response whose body is still read after `peer.free`.
    served: Cell<Option<ServerId>>,
}

/// The context of a request whose id was read in PRECONTENT and which has no [`PeerData`] yet. Every pointer
/// to data is greater.
const MARK: *mut c_void = ptr::without_provenance_mut(1);

impl Recycled for PeerData {
    fn spare() -> &'static Spare<PeerData> {
        static SPARE: Spare<PeerData> = Spare::new();
        &SPARE
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Look the id up first.
    ToLookUp,
    /// Let the balancer choose.
    Any,
    /// Take the session's server.
    SessionServer,
    /// Decide again: this request could not reach the session's server.
    Failed,
    /// Reject: the request's ids contradict each other.
    Ambiguous,
}

/// Why a request is not at its session's server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    /// It is there, or has no session.
    No,
    /// The server cannot be reached: another one serves instead.
    Unreachable,
    /// The server is full, or failed after it had received the request, or is in the upstream that the
    /// request was redirected from (`X-Accel-Redirect`, `error_page`).
    Busy,
}

/// The peer that a request holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// None.
    Nothing,
    /// The session's server.
    SessionServer,
    /// A server that the balancer or a stand-in's rank has chosen.
    Chosen,
    /// Another one, in an upstream with `balancer_by_lua`.
    ByLua,
}

impl PeerData {
    /// Makes the data of a request after the balancer's `peer.init`; `None` if memory is short or the request
    /// is at no upstream.
    fn create(
        r: Request<'static>,
        affinity: &'static Affinity,
        sessions: &'static Sessions,
        id: impl FnOnce() -> RequestId,
    ) -> Option<&'static PeerData> {
        let peer = r.upstream()?.peer();
        let data = recycled::make(r.pool(), || PeerData {
            in_flight: InFlight::new(sessions),
            request: r,
            affinity,
            inner: Inner::of(peer),
            id: Cell::new(id()),
            session: Cell::new(None),
            status: Cell::new(Status::None),
            next: Cell::new(Next::ToLookUp),
            held: Cell::new(Held::Nothing),
            learned: Cell::new(false),
            away: Cell::new(Away::No),
            forgiven: Cell::new(false),
            departed: Cell::new(false),
            watching: Cell::new(false),
            served: Cell::new(None),
        })?;
        r.set_context(&nginx::MODULE, ptr::from_ref(data).cast_mut().cast());
        Some(data)
    }

    /// The data in a request's context; `None` if the context is empty or [`MARK`].
    #[inline(always)]
    fn in_context<'r>(r: Request<'r>) -> Option<&'r PeerData> {
        let context = r.context(&nginx::MODULE);
        // One comparison for null and `MARK`.
        // SAFETY: any other context was set by `create`, to data that live as long as the request.
        (context > MARK).then(|| unsafe { &*context.cast::<PeerData>() })
    }

    /// The data of a request whose response is from the peer that it holds, not from nginx's cache.
    #[inline(always)]
    pub fn current<'r>(r: Request<'r>) -> Option<&'r PeerData> {
        let data = PeerData::in_context(r)?;
        (data.held.get() != Held::Nothing && !data.is_from_cache()).then_some(data)
    }

    /// The data of the request's last upstream with sessions.
    pub fn last<'r>(r: Request<'r>) -> Option<&'r PeerData> {
        // An internal redirect clears the context, but the pool keeps the data, and `find` returns the
        // latest.
        PeerData::in_context(r)
            .or_else(|| recycled::find::<PeerData>(r.pool(), |data| data.request == r))
    }

    /// Whether the response is from nginx's cache, also if the server has confirmed it (304).
    fn is_from_cache(&self) -> bool {
        #[cfg(ngx_feature = "http_cache")]
        let from_cache = self.request.has_cache()
            && (self.request.is_cached() || self.upstream().is_revalidated());
        #[cfg(not(ngx_feature = "http_cache"))]
        let from_cache = false;
        from_cache
    }

    pub fn status(&self) -> Status {
        self.status.get()
    }

    /// Calls `f` with the address of the session's server, if the request has a session.
    pub fn with_bound_address<T>(&self, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.sessions().with_address(self.session.get()?, f)
    }

    /// Sets whether the body of the response is read.
    pub fn set_watching(&self, watching: bool) {
        self.watching.set(watching);
    }

    fn sessions(&self) -> &'static Sessions {
        self.in_flight.sessions()
    }

    #[inline(always)]
    fn upstream(&self) -> Upstream<'static> {
        // SAFETY: `create` has found an upstream, and nginx only ever replaces `r->upstream`.
        unsafe { self.request.upstream().unwrap_unchecked() }
    }

    #[inline(always)]
    fn block(&self) -> Block<'static> {
        // SAFETY: nginx sets `u->upstream` before it calls `peer.init`, hence before `create`.
        unsafe { self.upstream().block().unwrap_unchecked() }
    }

    /// Our configuration of the upstream.
    fn conf(&self) -> Option<&'static UpstreamConf> {
        UpstreamConf::of(self.block())
    }

    /// The balancer's data of the request. Not in an upstream with `balancer_by_lua`, which has data of its own.
    #[inline(always)]
    fn peers(&self) -> RoundRobin<'static> {
        debug_assert!(!self.is_by_lua());
        // SAFETY: `init_peer` has called `RoundRobin::find` with these data before it installed our hooks.
        unsafe { RoundRobin::again(self.block(), self.inner.data).unwrap_unchecked() }
    }

    /// The name of the server that is held. It is to be called before that is given back: with `resolve`,
    /// nginx may free a peer and its name then.
    fn held_name(&self) -> Option<&'static [u8]> {
        self.upstream().peer().name()
    }

    /// The same at any time; `None` if no server is held.
    fn name_if_held(&self) -> Option<&'static [u8]> {
        match self.held.get() {
            Held::Nothing => None,
            Held::SessionServer | Held::Chosen | Held::ByLua => self.held_name(),
        }
    }

    /// The key of an id of the request or its response.
    #[inline(always)]
    fn key(&self, kind: Kind, id: &[u8]) -> Result<Key, OutOfMemory> {
        let bind = read_bind(&self.affinity.bind, self.request, Value::eval)?;
        Ok(self.sessions().table.key(kind, id, bind))
    }

    #[cold]
    fn log_notice(&self, server: ServerId, notice: Notice) {
        let log = |address: &[u8]| notices::log(self.zone_name(), address, notice);
        let _ = self.sessions().with_address(server, log);
    }

    fn zone_name(&self) -> ngx_str_t {
        self.affinity.zone.log_name()
    }

    #[cold]
    fn report_full_list(&self, name: &[u8]) {
        // Not the connection's log: that adds the request line, which may contain an id.
        let log = Cycle::running_log();
        self.affinity.zone.report_full_list(log, nginx::now(), name);
    }
}

/// Runs with the request's pool, after the request's line in the access log.
impl Drop for PeerData {
    fn drop(&mut self) {
        self.sessions().count_request(self.status.get(), self.session.get());
    }
}
