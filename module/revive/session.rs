//! The session of a request: its id and key, whose it is, and what is kept of it.

use affinity::http::target;
use affinity::mcp::{trim, InitializeReader};
use affinity::revive::{
    ClientBody, Kept, Owner, Presented, Record, RecordKey, RequestKind, Standing, Store,
};
use affinity::table::{Key, Kind};
use nginx_sys::{
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_core_srv_conf_t, NGX_HTTP_ACCEPTED,
    NGX_HTTP_BAD_REQUEST, NGX_HTTP_DELETE, NGX_HTTP_GET, NGX_HTTP_POST,
};

use super::head;
use crate::conf::revive::Revive;
use crate::conf::{Affinity, UpstreamConf};
use crate::nginx;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::request::Request;
use crate::nginx::upstream::Block;

/// The upstream of a request, if its sessions are revived.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) block: Block<'static>,
    pub(super) affinity: &'static Affinity,
    pub(super) revive: &'static Revive,
    pub(super) store: &'static Store,
}

impl Place {
    pub(super) fn of(r: Request<'static>) -> Option<Place> {
        let block = r.upstream()?.block()?;
        let affinity: &'static Affinity = UpstreamConf::of(block)?.affinity()?;
        let revive = affinity.revive.as_ref()?;
        let store = affinity.zone.sessions()?.records.as_ref()?;
        Some(Place { block, affinity, revive, store })
    }

    /// The key of a session's id.
    pub(super) fn key(&self, r: Request<'static>, id: &[u8]) -> Option<Key> {
        let bind = match &self.affinity.bind {
            Some(value) => value.eval(r).ok()?,
            None => &[],
        };
        Some(self.affinity.zone.sessions()?.table.key(Kind::Session, id, bind))
    }

    pub(super) fn record_key(&self, id: &[u8], key: Key) -> Option<RecordKey> {
        Some(RecordKey::new(&self.affinity.zone.sessions()?.table.secret(), id, key))
    }

    /// As in `Presented`: what is in the key tells the owner, unless it is empty. `None` if memory is short.
    #[expect(clippy::option_option, reason = "one for memory, one for the owner")]
    pub(super) fn presented_owner(&self, r: Request<'static>) -> Option<Option<Owner>> {
        let is_bound = match &self.affinity.bind {
            Some(value) => !value.eval(r).ok()?.is_empty(),
            None => false,
        };
        if is_bound {
            return Some(None);
        }
        self.owner(r).map(Some)
    }

    /// The credentials of a request.
    pub(super) fn owner(&self, r: Request<'static>) -> Option<Owner> {
        let secret = self.affinity.zone.sessions()?.table.secret();
        let further: Vec<&[u8]> = self.revive.credentials.iter().map(Vec::as_slice).collect();
        let lines = r.headers_in().map(|header| (header.name(), header.value()));
        let certificate = match &self.revive.certificate {
            Some(value) => value.eval(r).ok()?,
            None => &[],
        };
        Some(Owner::of(&secret, &further, lines, certificate))
    }
}

/// The `Mcp-Session-Id` of a request. (One with different lines is rejected before.)
pub(super) fn id_of(r: Request<'static>) -> Option<&'static [u8]> {
    let is_it = |name: &[u8]| name.eq_ignore_ascii_case(b"mcp-session-id");
    let mut values = r.headers_in().filter(|it| is_it(it.name())).map(|it| trim(it.value()));
    values.find(|id| !id.is_empty())
}

/// The location, `server {}` and upstream of a request; `None` for a location without a name (`if`, `limit_except`).
pub(super) fn opener(r: Request<'static>, block: Block<'static>) -> Option<Vec<u8>> {
    // SAFETY: `ngx_http_core_module` makes these types for a location, a server and `http {}`.
    let (location, server, main) = unsafe {
        let module = &raw const ngx_http_core_module;
        (
            r.loc_conf::<ngx_http_core_loc_conf_t>(module)?,
            r.srv_conf::<ngx_http_core_srv_conf_t>(module)?,
            r.main_conf::<nginx_sys::ngx_http_core_main_conf_t>(module)?,
        )
    };
    if location.noname() != 0 {
        return None;
    }
    // SAFETY: the texts and the array of servers live as long as the configuration.
    let (name, server_name, servers) = unsafe {
        let servers = main.servers.as_slice::<*mut ngx_http_core_srv_conf_t>();
        (nginx::bytes(&location.name), nginx::bytes(&server.server_name), servers)
    };
    // Servers may have the same name, at different addresses.
    let before = servers.iter().take_while(|it| !core::ptr::eq(**it, server));
    // SAFETY: as above.
    let alike = before.filter(|it| unsafe { nginx::bytes(&(***it).server_name) } == server_name);
    let place = alike.count().to_string();
    Some([name, b"\n", server_name, b"\n", place.as_bytes(), b"\n", block.name()].concat())
}

/// Beside what opens a session, in the key of a location: no other key has it.
const LOCATION: &[u8] = b"\nlocation";

/// A session of which a record is kept, and a request of it.
pub(super) struct OwnSession {
    pub(super) place: Place,
    pub(super) id: &'static [u8],
    pub(super) key: Key,
    pub(super) kept: Kept,
    pub(super) kind: RequestKind,
    pub(super) standing: Standing,
    /// Stands for the location that the request came through.
    pub(super) location: Key,
}

impl OwnSession {
    /// `None` if nothing is kept of the request's session.
    pub(super) fn of(r: Request<'static>) -> Option<OwnSession> {
        let place = Place::of(r)?;
        let id = id_of(r)?;
        let key = place.key(r, id)?;
        let kept = place.store.get(key)?;
        let known = Known::of(r, &place)?;
        let uri = head::sent(r).and_then(target).unwrap_or_default();
        let presented = Presented { owner: known.owner, opener: &known.opener, uri };
        let record_key = place.record_key(id, key)?;
        let standing = with_record(&record_key, &kept.sealed, |it| Standing::of(it, &presented))?;
        let table = &place.affinity.zone.sessions()?.table;
        let location = table.key(Kind::Session, &known.opener, LOCATION);
        Some(OwnSession { place, id, key, kept, kind: known.kind, standing, location })
    }

    pub(super) fn is_owner(&self) -> bool {
        self.standing == Standing::Owner
    }
}

/// What is known of a request whose session is kept. A request that waits asks for it many times, and its body may be long.
struct Known {
    request: Request<'static>,
    kind: RequestKind,
    /// The body of a POST.
    body: Option<ClientBody>,
    /// As in `Presented`.
    owner: Option<Owner>,
    opener: Vec<u8>,
}

impl Recycled for Known {
    fn spare() -> &'static Spare<Known> {
        static SPARE: Spare<Known> = Spare::new();
        &SPARE
    }
}

impl Known {
    /// `None` if memory is short. The body of the request has been read.
    fn of(r: Request<'static>, place: &Place) -> Option<&'static Known> {
        if let Some(known) = recycled::find::<Known>(r.pool(), |known| known.request == r) {
            return Some(known);
        }
        let owner = place.presented_owner(r)?;
        // A location without a name opens no session.
        let opener = opener(r, place.block).unwrap_or_default();
        let (kind, body) = read(r);
        recycled::make(r.pool(), || Known { request: r, kind, body, owner, opener })
    }
}

/// Calls `f` with a record.
pub(super) fn with_record<T>(
    key: &RecordKey,
    sealed: &[u8],
    f: impl FnOnce(&Record<'_>) -> T,
) -> Option<T> {
    let mut copy = nginx::try_copy(sealed)?;
    key.open(&mut copy).map(|record| f(&record))
}

fn read(r: Request<'static>) -> (RequestKind, Option<ClientBody>) {
    let kind = match r.method() {
        NGX_HTTP_GET => RequestKind::Stream,
        NGX_HTTP_DELETE => RequestKind::Delete,
        _ => RequestKind::Other,
    };
    let Some(body) = r.body().filter(|_| r.method() == NGX_HTTP_POST) else { return (kind, None) };
    let (mut initialize, mut answers) = (InitializeReader::new(), ClientBody::new());
    body.each_part(|part| initialize.feed(part));
    body.each_part(|part| {
        answers.feed(part);
        true
    });
    let kind = match (initialize.is_initialize(), answers.is_answer()) {
        (true, _) => RequestKind::Initialize,
        (_, true) => RequestKind::Answer,
        _ => RequestKind::Call,
    };
    (kind, Some(answers))
}

/// With which status a request of a revived session is answered that must not be sent: it answers a question that the
/// session's server has not asked since the session was revived.
pub(super) fn dropped_with(r: Request<'static>, place: &Place, key: Key) -> Option<u16> {
    let known = Known::of(r, place)?;
    let may_be_sent = known.body.as_ref()?.may_be_sent(|id| place.store.has_request(key, id));
    (!may_be_sent).then_some(match known.kind {
        RequestKind::Answer => NGX_HTTP_ACCEPTED as u16,
        // It has calls as well, which the client would await.
        _ => NGX_HTTP_BAD_REQUEST as u16,
    })
}
