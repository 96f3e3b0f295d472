//! Learns, moves and ends sessions by the headers of a response.

use core::ptr;

use affinity::cookies::Few;
use affinity::mcp::Effects;
use affinity::policy::{Answer, AnsweredBy, Change, Created, Moment, Rules, Status};
use affinity::servers::Event;
use affinity::status::OutOfMemory;
use affinity::table::{Bound, End, Kind};
use nginx_sys::{NGX_HTTP_NOT_MODIFIED, NGX_HTTP_NO_CONTENT};

use super::{Away, Held, PeerData};
use crate::conf::value::{first_value, Value};
use crate::nginx;
use crate::nginx::recycled;
use crate::revive::{self, keep};
use crate::servers::evidence;

impl PeerData {
    /// Called when the headers of the held peer's response are complete, and before the first is sent.
    /// Returns what the body may change, in MCP mode.
    #[inline(always)]
    pub fn answered(&self) -> Option<Effects> {
        if self.sessions().is_troubled() {
            self.note_answer();
        }
        let only_headers = || {
            let u = self.upstream();
            self.request.is_header_only()
                || u.has_no_content()
                || matches!(u32::from(u.status()), NGX_HTTP_NO_CONTENT | NGX_HTTP_NOT_MODIFIED)
        };
        if self.affinity.policy.learn == Moment::Header || only_headers() {
            self.learn_now(self.held.get());
        }
        self.id.get().mcp
    }

    /// Records that the server has answered.
    #[cold]
    pub(super) fn note_answer(&self) {
        let table = &self.sessions().table;
        if let Some(server) = self.held_name().and_then(|name| table.find_server(name)) {
            evidence::note(self.affinity.zone, server, Event::Answered);
        }
    }

    /// Called before a part of the held peer's response is sent; `is_last` says whether it is the last part.
    /// After the last part the client may send its next request before nginx calls `peer.free`.
    #[inline(always)]
    pub fn leaves(&self, is_last: impl FnOnce() -> bool) {
        if !self.learned.get() && (self.upstream().has_all() || is_last()) {
            self.learn(self.held.get());
        }
    }

    /// Called when the held peer's response has ended, or the client has closed the connection.
    #[inline(always)]
    pub(super) fn ended(&self, held: Held) {
        if !self.learned.get() {
            self.ended_unlearned(held);
        }
        if self.watching.get() {
            self.note_server();
        }
        self.in_flight.release(nginx::now());
    }

    /// The response has ended, or there is none, and nothing was learned from it yet.
    #[cold]
    pub(super) fn ended_unlearned(&self, held: Held) {
        let answered = self.upstream().status() != 0;
        if answered && self.sessions().is_troubled() {
            // A response that `error_page` replaces does not pass the header filter.
            self.note_answer();
        }
        // After `X-Accel-Redirect` nginx keeps the response's cookies, but drops its other headers.
        let learns = self.affinity.policy.learn == Moment::End || self.upstream().is_redirected();
        if answered && learns && !self.is_from_cache() {
            self.learn(held);
        }
    }

    /// Keeps the server of a response whose body is still read after `peer.free`: nginx has buffered a part
    /// of it for a slow client, and may read that from a file.
    #[inline(never)]
    pub(super) fn note_server(&self) {
        let Some(name) = self.held_name() else { return };
        self.served.set(self.sessions().table.intern(name, nginx::now()));
        if self.served.get().is_none() {
            self.report_full_list(name);
        }
    }

    /// Applies what the response's headers say about the session.
    #[inline(never)]
    pub(super) fn learn(&self, held: Held) {
        self.learn_now(held);
    }

    /// The same, inlined on the path of most responses.
    #[inline(always)]
    pub(super) fn learn_now(&self, held: Held) {
        self.learned.set(true);
        let status = self.upstream().status();
        let (opens, ends) = match &self.id.get().mcp {
            Some(effects) => (effects.opens(status), effects.ends(self.id.get().kind, status)),
            None => (true, false),
        };
        let created = match first_value(&self.affinity.create, self.request, Value::eval) {
            Ok(created) if opens => created,
            Ok(_) => &[],
            Err(OutOfMemory) => return,
        };
        // The common case: no new id, and the session's own server has answered.
        let refreshed = self.affinity.policy.rules == Rules::Affinity;
        if !created.is_empty() || held != Held::SessionServer || !refreshed || ends {
            self.apply(held, status, created, ends);
        }
    }

    /// Applies the policy's decision about the response.
    #[inline(never)]
    pub(super) fn apply(&self, held: Held, status: u16, created: &[u8], ends: bool) {
        let Some(name) = self.held_name() else { return };
        let table = &self.sessions().table;
        let session = self.session.get().map(|server| {
            if held == Held::SessionServer || table.find_server(name) == Some(server) {
                AnsweredBy::Own
            } else if self.away.get() == Away::Unreachable {
                AnsweredBy::Instead
            } else {
                AnsweredBy::Other
            }
        });
        let ends = ends && !self.was_answered_before();
        let stands_in =
            self.away.get() != Away::No && held == Held::Chosen && self.peers().is_at_backup();
        let is_unanswered = self.is_unanswered();
        let others = self.created_besides(created);
        let revives = self.affinity.revive.is_some();
        for created in core::iter::once(created).chain(others.iter()) {
            let created_is = match self.id.get().presented {
                _ if created.is_empty() => None,
                presented if presented == created && is_unanswered => Some(Created::Unanswered),
                presented if presented == created => Some(Created::Presented),
                _ => Some(Created::Other),
            };
            let answer = Answer { status, session, created: created_is, ends, stands_in };
            match (self.affinity.policy.on_answer(&answer), self.in_flight.key()) {
                (Change::BindCreated(existing), _) => {
                    if let Ok(key) = self.key(Kind::Session, created) {
                        let bound = self.bind(key, name, None, existing);
                        if let Some(bound) = bound.filter(|bound| revives && *bound != Bound::Kept)
                        {
                            keep::begin(self.request, created, key, bound == Bound::Created);
                        }
                    }
                }
                (Change::BindPresented(existing), Some(key)) => {
                    let now = nginx::now();
                    if self.sessions().lookup(key, now, &self.affinity.limits).is_some() {
                        self.bind(key, name, None, existing);
                    }
                }
                // A server may answer anybody's DELETE, also of a session that it does not know.
                (Change::End, _) if revives && !revive::may_end(self.request) => (),
                (Change::End, _) => self.forget(End::Deleted),
                _ => (),
            }
        }
    }

    /// Whether the session's server has answered before, and nginx has redirected the request since
    /// (`X-Accel-Redirect`, `error_page`). Only the first response says something about the session: a later
    /// one belongs to a request that nginx has changed.
    #[cold]
    pub(super) fn was_answered_before(&self) -> bool {
        let is_earlier = |data: &PeerData| {
            data.request == self.request
                && !ptr::eq(data, self)
                && matches!(data.status.get(), Status::Hit | Status::Revived)
                && data.in_flight.key() == self.in_flight.key()
        };
        recycled::find::<PeerData>(self.request.pool(), is_earlier).is_some()
    }

    /// Further ids of the response besides the first: cookies of the same name.
    pub(super) fn created_besides(&self, first: &[u8]) -> Few<'static> {
        if first.is_empty() {
            return Few::default();
        }
        let cookies = self.affinity.create.iter().find_map(|value| {
            let cookies = value.cookie()?.set(self.request)?;
            cookies.iter().next().is_some_and(|id| id == first).then_some(cookies)
        });
        cookies.map(|cookies| cookies.without(first)).unwrap_or_default()
    }
}
