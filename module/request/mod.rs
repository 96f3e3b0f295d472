//! One request at an upstream with sessions: what nginx's calls keep between them.

mod absence;
mod bind;
mod free;
pub mod id;
mod learn;
mod message;
mod notices;
pub mod precontent;
mod reject;
pub mod route;
mod take;

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr;

use affinity::policy::Status;
use affinity::table::{Key, Kind, ServerId};
use id::{read_bind, RequestId};
use nginx_sys::ngx_str_t;
use notices::Notice;

use crate::conf::value::{OutOfMemory, Value};
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

/// One request on its way through an upstream with sessions; lives as long as the request's pool.
///
/// It changes in cells: nginx calls with the one pointer, and a call may come while another one runs.
pub struct PeerData {
    /// Holds the request's session as well: that of its id, or the one that it has just got.
    in_flight: InFlight,
    /// The request that these data go with.
    request: Request<'static>,
    /// Lives as long as the configuration, which outlives its requests.
    affinity: &'static Affinity,
    inner: Inner,
    id: Cell<RequestId>,
    /// The server of its session.
    session: Cell<Option<ServerId>>,
    status: Cell<Status>,
    /// What `peer.get` is to do next.
    target: Cell<Target>,
    /// What is known of the peer that the request holds.
    held: Cell<Held>,
    /// What the response changes has been changed.
    learned: Cell<bool>,
    /// Another server was chosen, and why.
    away: Cell<Away>,
    /// A kept connection that its server had closed was forgiven.
    forgiven: Cell<bool>,
    /// What it holds is no peer of the upstream, but an address that has left DNS.
    departed: Cell<bool>,
    /// The body of the response is read as it passes, and has not given its id yet.
    watching: Cell<bool>,
    /// The server of a response whose body still passes when its peer has been given back.
    served: Cell<Option<ServerId>>,
}

/// In place of our context of a request: its id was read in PRECONTENT. No pointer is as low as that, but
/// null.
const MARK: *mut c_void = ptr::without_provenance_mut(1);

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
    /// The server cannot be reached: another one serves in its stead.
    Unreachable,
    /// The server is full, or has been sent the request and failed, or is in the upstream that the request
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

impl PeerData {
    /// Makes the data of a request, over what the balancer has set up; `None` without memory, or where the
    /// request is at no upstream.
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
            target: Cell::new(Target::ToLookUp),
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

    /// The data in a request's context; `None` if all that is there is our mark.
    #[inline(always)]
    fn in_context<'r>(r: Request<'r>) -> Option<&'r PeerData> {
        let context = r.context(&nginx::MODULE);
        // One comparison, for the mark and for null.
        // SAFETY: only `create` sets the context, to data that live as long as the request.
        (context > MARK).then(|| unsafe { &*context.cast::<PeerData>() })
    }

    /// The data of a request whose response comes from the peer that it holds.
    pub fn current<'r>(r: Request<'r>) -> Option<&'r PeerData> {
        let data = PeerData::in_context(r)?;
        (data.held.get() != Held::Nothing && !data.is_from_cache()).then_some(data)
    }

    /// The data of the last upstream with sessions that a request has been to.
    pub fn last<'r>(r: Request<'r>) -> Option<&'r PeerData> {
        // An internal redirect clears the context, but the data stay in the request's pool, the latest first.
        PeerData::in_context(r)
            .or_else(|| recycled::find::<PeerData>(r.pool(), |data| data.request == r))
    }

    /// Whether the response is an earlier one: from nginx's cache, perhaps confirmed by the server.
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

    /// Calls `f` with the address that the request's session is bound to, if any.
    pub fn with_bound_address<T>(&self, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.sessions().with_address(self.session.get()?, f)
    }

    /// Notes whether the body of the response is read as it passes.
    pub fn set_watching(&self, watching: bool) {
        self.watching.set(watching);
    }

    fn sessions(&self) -> &'static Sessions {
        self.in_flight.sessions()
    }

    #[inline(always)]
    fn upstream(&self) -> Upstream<'static> {
        // SAFETY: the request has had its upstream since before `create`.
        unsafe { self.request.upstream().unwrap_unchecked() }
    }

    #[inline(always)]
    fn block(&self) -> Block<'static> {
        // SAFETY: nginx notes there where it has got the peers from, before `peer.init`.
        unsafe { self.upstream().block().unwrap_unchecked() }
    }

    /// Our configuration of the upstream.
    fn conf(&self) -> Option<&'static UpstreamConf> {
        UpstreamConf::of(self.block())
    }

    /// What the balancer keeps of the request.
    #[inline(always)]
    fn peers(&self) -> RoundRobin<'static> {
        // SAFETY: `init_peer` has found such data there before it put our hooks over the balancer's.
        unsafe { RoundRobin::again(self.block(), self.inner.data).unwrap_unchecked() }
    }

    /// The name of the server that is held. It is to be called before that is given back: with `resolve`, nginx
    /// may free a peer and its name then.
    fn held_name(&self) -> Option<&'static [u8]> {
        self.upstream().peer().name()
    }

    /// The same at any time; `None` if no server is held.
    fn name_if_held(&self) -> Option<&'static [u8]> {
        match self.held.get() {
            Held::Nothing => None,
            Held::SessionServer | Held::Chosen => self.held_name(),
        }
    }

    /// The key of an id that the request or its response gives.
    #[inline(always)]
    fn key(&self, kind: Kind, id: &[u8]) -> Result<Key, OutOfMemory> {
        let bind = read_bind(&self.affinity.bind, self.request, Value::eval)?;
        Ok(self.sessions().table.key(kind, id, bind))
    }

    #[cold]
    fn tell(&self, server: ServerId, notice: Notice) {
        let tell = |address: &[u8]| notices::tell(self.zone_name(), address, notice);
        let _ = self.sessions().with_address(server, tell);
    }

    fn zone_name(&self) -> ngx_str_t {
        self.affinity.zone.log_name()
    }

    #[cold]
    fn complain_of_full_list(&self, name: &[u8]) {
        // Not the connection's log: that adds the request line, which may hold an id.
        let log = Cycle::running().log();
        self.affinity.zone.report_full_list(log, nginx::now(), name);
    }
}

/// With the request's pool, when its line in the access log has been written.
impl Drop for PeerData {
    fn drop(&mut self) {
        self.sessions().count_request(self.status.get(), self.session.get());
    }
}
