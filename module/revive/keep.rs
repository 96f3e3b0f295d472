//! Keeps the record of a session that begins.

use affinity::mcp::{InitializeReader, ResponseHead};
use affinity::revive::{
    Negotiated, NegotiatedReader, Owner, Presented, Record, RecordKey, Standing, MAX_INITIALIZE,
};
use affinity::table::Key;
use nginx_sys::NGX_HTTP_POST;

use super::session::{opener, Place};
use super::{head, rename};
use crate::hold::{read_body, BodyReader};
use crate::nginx;
use crate::nginx::request::Request;

/// What is known of a session before the body of its first answer has passed.
struct Keeper {
    place: Place,
    key: Key,
    record_key: RecordKey,
    initialize: Vec<u8>,
    opener: Vec<u8>,
    uri: Vec<u8>,
    owner: Owner,
    /// As in `Presented`.
    presented: Option<Owner>,
    is_new: bool,
    answer: NegotiatedReader,
    /// Bytes of the answer's body that have not passed yet, if it has a length. The record is kept before the last
    /// of them is sent: the next request may come to another worker at once.
    left: Option<u64>,
}

/// Keeps the record of the session that an answer has opened, once its body has passed. Without effect if the session
/// cannot be revived. To be called by a header filter; `id` is that of the answer, and `is_new` says that there was no
/// session with it.
#[cold]
pub fn begin(r: Request<'static>, id: &[u8], key: Key, is_new: bool) {
    // The record of a revived session has the id of its server, and stays.
    if rename::is_renamed(r) {
        return;
    }
    if let Some(keeper) = Keeper::new(r, id, key, is_new) {
        if let Some(keeper) = nginx::try_box(keeper) {
            read_body(r, keeper);
        }
    }
}

impl Keeper {
    fn new(r: Request<'static>, id: &[u8], key: Key, is_new: bool) -> Option<Keeper> {
        let place = Place::of(r)?;
        let body = r.body().filter(|body| body.is_complete() && !body.is_unbuffered())?;
        if r.method() != NGX_HTTP_POST || !r.is_main() || r.upstream()?.uses_tls() {
            return None;
        }
        let mut initialize = Vec::new();
        let mut reader = InitializeReader::new();
        let is_whole = body.each_part(|part| {
            reader.feed(part);
            let part = part.get(..MAX_INITIALIZE).unwrap_or(part);
            if initialize.try_reserve(part.len()).is_err() {
                return false;
            }
            initialize.extend_from_slice(part);
            initialize.len() <= MAX_INITIALIZE
        });
        if !is_whole || !reader.is_initialize() {
            return None;
        }
        let head = affinity::http::SentHead::parse(head::sent(r)?)?;
        let response = ResponseHead {
            status: r.response_status(),
            content_type: r.response_content_type(),
            encoding: r.response_encoding(),
        };
        Some(Keeper {
            place,
            key,
            record_key: place.record_key(id, key)?,
            initialize,
            opener: opener(r, place.block)?,
            uri: nginx::try_copy(head.target)?,
            owner: place.owner(r)?,
            presented: place.presented_owner(r)?,
            is_new,
            answer: NegotiatedReader::new(response.format()?),
            left: r.response_length(),
        })
    }

    /// Whether the record may take the place of the one that is kept, if there is one: it is not another owner's.
    fn may_replace(&self) -> bool {
        let Some(mut kept) = self.place.store.get(self.key).filter(|_| !self.is_new) else {
            return true;
        };
        let Some(record) = self.record_key.open(&mut kept.sealed) else { return true };
        let (owner, opener, uri) = (self.presented, &*self.opener, &*self.uri);
        Standing::of(&record, &Presented { owner, opener, uri }) == Standing::Owner
    }

    fn seal(&self, negotiated: &Negotiated) -> Option<Vec<u8>> {
        let record = Record {
            initialize: &self.initialize,
            opener: &self.opener,
            uri: &self.uri,
            version: negotiated.version(),
            capabilities: negotiated.capabilities(),
            owner: self.owner,
            server_id: None,
        };
        self.record_key.seal(&record, nonce()?).ok()
    }
}

impl BodyReader for Keeper {
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        self.answer.feed(bytes) && self.left != Some(0)
    }

    fn finish(mut self: Box<Self>) {
        let format = affinity::mcp::BodyFormat::Json;
        let answer = core::mem::replace(&mut self.answer, NegotiatedReader::new(format));
        let sealed = answer.finish().and_then(|negotiated| self.seal(&negotiated));
        let zone = self.place.affinity.zone;
        let sealed = sealed.filter(|_| self.may_replace());
        if let (Some(sealed), Some(sessions)) = (sealed, zone.sessions()) {
            let used = sessions.last_uses(zone.limits());
            self.place.store.put(self.key, &sealed, nginx::now(), used);
        }
    }
}

/// A random nonce; `None` if the system has none.
pub(super) fn nonce() -> Option<[u8; affinity::revive::NONCE_LEN]> {
    let mut nonce = [0; affinity::revive::NONCE_LEN];
    getrandom::fill(&mut nonce).ok()?;
    Some(nonce)
}
