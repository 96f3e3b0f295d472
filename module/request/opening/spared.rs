//! Where a POST is about to be rejected for its `Mcp-Session-Id`, its body decides. nginx has the body by then:
//! the modules that pass requests on read it before they call `peer.init`.

use affinity::mcp::InitializeReader;
use affinity::policy::Rejection;
use nginx_sys::NGX_HTTP_POST;

use crate::nginx::request::Request;
use crate::request::{Away, PeerData};

impl PeerData {
    /// Whether the request goes to another server instead of being rejected.
    #[cold]
    pub(in crate::request) fn is_spared(&self, why: Rejection) -> bool {
        self.affinity.policy.spares_initialize(self.id.get().kind, why)
            && may_be_initialize(self.request)
    }

    /// Continues as a request without a session. The session stays as it is.
    pub(in crate::request) fn leave_session(&self) {
        self.in_flight.drop_hold();
        self.session.set(None);
        self.away.set(Away::No);
        if self.is_by_lua() {
            return;
        }
        // A request to the session's server has one try only.
        let mut left = 0;
        self.peers().each_left(|_| left += 1);
        let pc = self.upstream().peer();
        if pc.tries() < left {
            let limit = self.upstream().max_tries().map_or(left, |limit| limit.saturating_sub(1));
            pc.set_tries(left.min(limit).max(pc.tries()));
        }
    }
}

/// Whether the body is an `initialize`, or may be one: without buffering, nginx may not have received all of
/// it.
fn may_be_initialize(r: Request<'_>) -> bool {
    if r.method() != NGX_HTTP_POST {
        return false;
    }
    let Some(body) = r.body() else { return false };
    let mut reader = InitializeReader::new();
    let is_open = body.each_part(|part| reader.feed(part));
    reader.is_initialize() || is_open && !body.is_complete()
}
