//! A revived session has another id at its new server. It is put into requests after nginx has made them, before they
//! are sent, and taken out of answers before anything else reads them: variables, logs and the session table only
//! know the client's id.

use core::cell::Cell;

use affinity::http::{with_value, without};
use affinity::mcp::trim;
use affinity::revive::{EventId, EventIds, ServerRequests, Store};
use affinity::table::Key;
use nginx_sys::{ngx_palloc, NGX_HTTP_GET};

use super::head;
use super::session::{dropped_with, id_of, with_record, Place};
use super::streams;
use crate::hold::{self, read_body, BodyReader};
use crate::nginx::per_worker::PerWorker;
use crate::nginx::pool::string;
use crate::nginx::recycled::{self, Recycled, Spare};
use crate::nginx::request::Request;

/// A request that is sent in a revived session.
struct Renamed {
    request: Request<'static>,
    place: Place,
    key: Key,
    client_id: &'static [u8],
    server_id: Vec<u8>,
    /// How often the session was revived before.
    revivals: u16,
}

impl Recycled for Renamed {
    fn spare() -> &'static Spare<Renamed> {
        static SPARE: Spare<Renamed> = Spare::new();
        &SPARE
    }
}

/// The header by which a client resumes a stream.
const LAST_EVENT_ID: &str = "last-event-id";

/// How many of them this worker has.
static COUNT: PerWorker<Cell<usize>> = PerWorker::new(Cell::new(0));

impl Drop for Renamed {
    fn drop(&mut self) {
        COUNT.set(COUNT.get().saturating_sub(1));
    }
}

/// How often the session of a request had been revived when the request was sent.
pub(super) fn revivals(r: Request<'static>) -> u16 {
    find(r).map_or(0, |renamed| renamed.revivals)
}

/// Whether a request was sent in a revived session.
pub(super) fn is_renamed(r: Request<'static>) -> bool {
    find(r).is_some()
}

fn find(r: Request<'static>) -> Option<&'static Renamed> {
    recycled::find::<Renamed>(r.pool(), |renamed| renamed.request == r)
}

/// What becomes of a request in `peer.init`.
pub enum Sent {
    /// It goes to its session's server.
    Unchanged,
    /// It has the id of its revived session; whether the session was revived for it.
    Renamed { for_this: bool },
    /// It is answered with this status: it answers a question that died with the old server.
    Dropped(u16),
    /// It cannot be sent.
    Failed,
}

/// Puts the new id of a revived session into the request to the server. To be called from `peer.init`.
#[inline(always)]
pub fn apply(r: Request<'static>, key: Key, store: &Store) -> Sent {
    match store.is_revived(key) {
        true => rename(r, key),
        false => Sent::Unchanged,
    }
}

#[cold]
fn rename(r: Request<'static>, key: Key) -> Sent {
    let Some((place, client_id)) = Place::of(r).zip(id_of(r)) else { return Sent::Unchanged };
    if place.key(r, client_id) != Some(key) {
        return Sent::Unchanged;
    }
    let Some(kept) = place.store.get(key) else { return Sent::Unchanged };
    let opened = place.record_key(client_id, key).and_then(|record_key| {
        with_record(&record_key, &kept.sealed, |record| record.server_id.map(<[u8]>::to_vec))
    });
    let Some(Some(server_id)) = opened else { return Sent::Unchanged };
    if let Some(status) = dropped_with(r, &place, key) {
        return Sent::Dropped(status);
    }
    let before = find(r).map(|renamed| renamed.revivals);
    // A location may take the header out of the request.
    let Some(sent) = head::sent(r).and_then(|it| with_value(it, "mcp-session-id", &server_id))
    else {
        return Sent::Unchanged;
    };
    if replace(r, &place, key, sent).is_none() {
        return Sent::Failed;
    }
    let revivals = kept.revivals;
    let make = || Renamed { request: r, place, key, client_id, server_id, revivals };
    if recycled::make(r.pool(), make).is_none() {
        return Sent::Failed;
    }
    COUNT.set(COUNT.get() + 1);
    let for_this = hold::has_begun_again(r) && before.is_none_or(|before| before != revivals);
    Sent::Renamed { for_this }
}

/// Replaces the request that nginx has made by `bytes`, and removes the id of an event of the lost session.
fn replace(r: Request<'static>, place: &Place, key: Key, mut bytes: Vec<u8>) -> Option<()> {
    let last = r.headers_in().find(|it| it.name().eq_ignore_ascii_case(LAST_EVENT_ID.as_bytes()));
    let resumes = |last: &[u8]| place.store.may_have_event(key, EventId::of(last));
    if last.is_some_and(|last| !resumes(trim(last.value()))) {
        // The event died with the lost session.
        bytes = without(&bytes, LAST_EVENT_ID).unwrap_or(bytes);
    }
    // SAFETY: the pool returns memory for as many bytes, or null. The buffer is that of `head::sent`, of this request
    // alone; nothing of it has been sent, and nginx sends what lies between `pos` and `last`.
    unsafe {
        let room = ngx_palloc(r.pool().raw(), bytes.len()).cast::<u8>();
        if room.is_null() {
            return None;
        }
        room.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        let buf = (*(*r.upstream()?.raw()).request_bufs).buf;
        (*buf).start = room;
        (*buf).pos = room;
        (*buf).last = room.add(bytes.len());
        (*buf).end = (*buf).last;
    }
    Some(())
}

/// Whether [`restore`] has anything to do with an answer.
#[inline(always)]
pub fn concerns(r: Request<'_>) -> bool {
    COUNT.get() > 0 || r.method() == NGX_HTTP_GET
}

/// Puts the client's id into the header of an answer, and has a stream watched. To be called by a header filter, before
/// anything else reads the header.
#[cold]
#[inline(never)]
pub fn restore(r: Request<'static>) {
    restore_id(r);
    streams::watch(r);
}

/// Puts the client's id into the answer, and has the stream of a revived session read.
fn restore_id(r: Request<'static>) {
    let Some(renamed) = find(r) else { return };
    let is_id = |name: &[u8]| name.eq_ignore_ascii_case(b"mcp-session-id");
    for header in r.headers_out().filter(|it| !it.is_deleted() && is_id(it.name())) {
        if header.value() == renamed.server_id {
            // SAFETY: an element of the response's headers; the text lives as long as the request.
            unsafe { (*header.raw()).value = string(renamed.client_id) };
        }
    }
    if r.response_content_type().starts_with(b"text/event-stream") {
        let (place, key, revivals) = (renamed.place, renamed.key, renamed.revivals);
        let (requests, events) = (ServerRequests::new(), EventIds::new());
        if let Some(stream) =
            crate::nginx::try_box(Stream { place, key, revivals, requests, events })
        {
            read_body(r, stream);
        }
    }
}

/// The stream of a revived session: what its server asks may be answered, and its events can be resumed after.
struct Stream {
    place: Place,
    key: Key,
    revivals: u16,
    requests: ServerRequests,
    events: EventIds,
}

impl BodyReader for Stream {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        let (store, key, revivals) = (self.place.store, self.key, self.revivals);
        self.requests.feed(bytes, |id| {
            store.note_request(key, revivals, id);
        });
        self.events.feed(bytes, |id| store.note_event(key, revivals, id));
        true
    }

    fn finish(self: Box<Self>) {}
}
