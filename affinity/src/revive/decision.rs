//! What happens to a request of a session that may be lost: tables, without nginx.

use super::owner::Owner;
use super::record::Record;
use crate::rpc::RpcAnswer;
use crate::servers::Known;

/// How long the answer to a `ping` may take, in milliseconds.
pub const PING_TIMEOUT: u64 = 2_000;

/// The code of a JSON-RPC error: the server does not have the method.
const METHOD_NOT_FOUND: i64 = -32601;

/// What a request presents, to be held against a record.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The hash of its credentials; none if the session's key has `bind` in it, which then says whose
    /// the session is.
    pub owner: Option<Owner>,
    /// What opened the session, if this request had: `Record::opener`.
    pub opener: &'a [u8],
    /// Path and query that nginx sends to the server: `Record::uri`. A credential may be in them, and several locations
    /// may lead to a named one.
    pub uri: &'a [u8],
}

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The session's owner, through the location that opened it.
    Owner,
    /// Somebody else. He starts nothing and ends nothing: he gets the server's answer, or 404 where the
    /// server is gone.
    Stranger,
}

impl Standing {
    /// Whose a request is.
    pub fn of(record: &Record, presented: &Presented) -> Standing {
        let is_owner = presented.owner.is_none_or(|owner| owner == record.owner);
        let came_alike = presented.opener == record.opener && presented.uri == record.uri;
        match is_owner && came_alike {
            true => Standing::Owner,
            false => Standing::Stranger,
        }
    }
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A POST with requests or notifications.
    Call,
    /// A POST that answers requests of the server, and nothing else.
    Answer,
    /// A GET: a stream.
    Stream,
    /// A DELETE.
    Delete,
    /// An `initialize` that carries an id.
    Initialize,
    /// Anything else.
    Other,
}

/// What is known of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The state of its server, before the request is sent.
    Server(Known),
    /// Its server has answered the request with this status.
    Answered(u16),
    /// After that, its server was asked a `ping` in that session.
    Pinged {
        /// The answer to the request.
        first: Reply,
        /// The answer to the ping; none if there was none within [`PING_TIMEOUT`].
        ping: Option<Reply>,
    },
}

/// An answer, as far as it says whether a session is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its HTTP status.
    pub status: u16,
    /// The code of its JSON-RPC error, if it has one.
    pub code: Option<i64>,
}

impl Reply {
    /// An answer with this status, and what its body says as JSON-RPC: `rpc::any_answer`, `rpc::Call::answer`.
    pub fn new(status: u16, body: Option<RpcAnswer>) -> Reply {
        let code = match body {
            Some(RpcAnswer::Error(code)) => Some(code),
            _ => None,
        };
        Reply { status, code }
    }
}

/// What happens to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is sent, or treated by the other rules, as if nothing were kept of the session.
    Send,
    /// It waits until the server is reachable or gone.
    Wait,
    /// The server is asked a `ping`. The answer is held meanwhile.
    Ping,
    /// The session is opened anew, and the request is sent in it.
    Revive,
    /// The session ends. The request is answered 204.
    End,
    /// The request is answered 202, and sent nowhere: the question that it answers died with the server.
    Drop,
    /// The server's answer is passed on.
    PassOn,
    /// It is answered 404.
    NotFound,
}

/// What happens to a request of a session that is kept.
pub fn decide(evidence: Evidence, kind: RequestKind, standing: Standing) -> Step {
    use RequestKind::{Answer, Call, Delete, Initialize, Other, Stream};
    use Standing::{Owner, Stranger};
    match (evidence, standing) {
        (Evidence::Server(Known::Up | Known::Slow), _) => Step::Send,
        (Evidence::Server(Known::Unreachable), Stranger) => Step::Send,
        (Evidence::Server(Known::Gone), Stranger) => match kind {
            Initialize => Step::Send,
            _ => Step::NotFound,
        },
        (Evidence::Server(Known::Unreachable), Owner) => match kind {
            // It is balanced.
            Initialize => Step::Send,
            _ => Step::Wait,
        },
        (Evidence::Server(Known::Gone), Owner) => match kind {
            Initialize => Step::Send,
            Other => Step::NotFound,
            Call | Answer | Stream | Delete => lost(kind),
        },
        (Evidence::Answered(_) | Evidence::Pinged { .. }, Stranger) => Step::PassOn,
        (Evidence::Answered(status), Owner) => match kind {
            Call | Answer | Stream | Delete if is_suspect(status) => Step::Ping,
            _ => Step::PassOn,
        },
        (Evidence::Pinged { first, ping }, Owner) => match ping {
            Some(ping) if is_suspect(first.status) && agree(kind, first, ping) => lost(kind),
            _ => Step::PassOn,
        },
    }
}

/// Whether a request and the ping after it have been answered alike.
fn agree(kind: RequestKind, first: Reply, ping: Reply) -> bool {
    // To a GET or DELETE, which is no JSON-RPC, a server may answer in plain text. One that knows no ping says
    // nothing about the session.
    let is_plain = matches!(kind, RequestKind::Stream | RequestKind::Delete)
        && first.code.is_none()
        && ping.code != Some(METHOD_NOT_FOUND);
    first.status == ping.status && (first.code == ping.code || is_plain)
}

/// Whether a server may answer a session that it does not know with this status.
pub fn is_suspect(status: u16) -> bool {
    matches!(status, 400 | 404 | 410 | 422)
}

fn lost(kind: RequestKind) -> Step {
    match kind {
        RequestKind::Call | RequestKind::Stream => Step::Revive,
        RequestKind::Delete => Step::End,
        RequestKind::Answer => Step::Drop,
        RequestKind::Initialize | RequestKind::Other => Step::PassOn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revive::Capabilities;
    use crate::rpc::any_answer;

    const KINDS: [RequestKind; 6] = [
        RequestKind::Call,
        RequestKind::Answer,
        RequestKind::Stream,
        RequestKind::Delete,
        RequestKind::Initialize,
        RequestKind::Other,
    ];

    fn steps(evidence: Evidence, standing: Standing) -> [Step; 6] {
        KINDS.map(|kind| decide(evidence, kind, standing))
    }

    #[test]
    fn the_state_of_the_server_decides_before_a_request_is_sent() {
        use Standing::{Owner, Stranger};
        use Step::{Drop, End, NotFound, Revive, Send, Wait};
        let table = [
            (Known::Up, Owner, [Send; 6]),
            (Known::Up, Stranger, [Send; 6]),
            (Known::Slow, Owner, [Send; 6]),
            (Known::Unreachable, Owner, [Wait, Wait, Wait, Wait, Send, Wait]),
            (Known::Unreachable, Stranger, [Send; 6]),
            (Known::Gone, Owner, [Revive, Drop, Revive, End, Send, NotFound]),
            (Known::Gone, Stranger, [NotFound, NotFound, NotFound, NotFound, Send, NotFound]),
        ];
        for (known, standing, expected) in table {
            assert_eq!(
                steps(Evidence::Server(known), standing),
                expected,
                "{known:?}, {standing:?}"
            );
        }
    }

    #[test]
    fn only_four_answers_to_the_owner_lead_to_a_ping() {
        use Step::{PassOn, Ping};
        for status in 100..600 {
            let expected = match status {
                400 | 404 | 410 | 422 => [Ping, Ping, Ping, Ping, PassOn, PassOn],
                _ => [PassOn; 6],
            };
            assert_eq!(steps(Evidence::Answered(status), Standing::Owner), expected, "{status}");
            assert_eq!(steps(Evidence::Answered(status), Standing::Stranger), [PassOn; 6]);
        }
    }

    #[test]
    fn a_session_is_lost_if_the_ping_is_answered_as_the_request_was() {
        use Step::{Drop, End, PassOn, Revive};
        let reply = |status, code| Reply { status, code };
        let not_found = reply(404, Some(-32001));
        let lost = [Revive, Drop, Revive, End, PassOn, PassOn];
        let table = [
            (not_found, Some(not_found), lost),
            (reply(400, Some(-32000)), Some(reply(400, Some(-32000))), lost),
            (reply(404, None), Some(reply(404, None)), lost),
            (not_found, Some(reply(200, None)), [PassOn; 6]),
            (not_found, Some(reply(202, None)), [PassOn; 6]),
            (not_found, Some(reply(404, Some(-32601))), [PassOn; 6]),
            (not_found, Some(reply(404, None)), [PassOn; 6]),
            (not_found, Some(reply(400, Some(-32001))), [PassOn; 6]),
            // Only GET and DELETE may be answered in plain text.
            (reply(404, None), Some(not_found), [PassOn, PassOn, Revive, End, PassOn, PassOn]),
            (reply(404, None), Some(reply(404, Some(-32601))), [PassOn; 6]),
            (reply(404, None), Some(reply(400, Some(-32001))), [PassOn; 6]),
            (not_found, None, [PassOn; 6]),
            (reply(200, None), Some(reply(200, None)), [PassOn; 6]),
            (reply(500, None), Some(reply(500, None)), [PassOn; 6]),
        ];
        for (first, ping, expected) in table {
            let evidence = Evidence::Pinged { first, ping };
            assert_eq!(steps(evidence, Standing::Owner), expected, "{evidence:?}");
            assert_eq!(steps(evidence, Standing::Stranger), [PassOn; 6], "{evidence:?}");
        }
    }

    #[test]
    fn a_reply_has_the_code_of_its_error() {
        let code = |body: &[u8]| Reply::new(404, any_answer(body)).code;
        let error =
            br#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":""}}"#;
        assert_eq!(code(error), Some(-32600));
        assert_eq!(code(&[b"[", &error[..], b"]"].concat()), Some(-32600));
        for body in [&b""[..], b"Not Found", b"{}", br#"{"jsonrpc":"2.0","id":1,"result":{}}"#] {
            assert_eq!(code(body), None);
        }
    }

    #[test]
    fn the_owner_comes_with_the_same_credentials_through_the_same_location() {
        let owner = |name: &str| Owner::of(&[0; 16], &[], core::iter::empty(), name.as_bytes());
        let record = Record {
            initialize: b"{}",
            opener: b"1",
            uri: b"/",
            version: "x",
            capabilities: Capabilities::default(),
            owner: owner("alice"),
            server_id: None,
        };
        let standing = |owner: Option<Owner>, opener: &[u8]| {
            Standing::of(&record, &Presented { owner, opener, uri: b"/" })
        };
        let elsewhere = Presented { owner: None, opener: b"1", uri: b"/?key=mallory" };
        assert_eq!(Standing::of(&record, &elsewhere), Standing::Stranger);
        assert_eq!(standing(Some(owner("alice")), b"1"), Standing::Owner);
        assert_eq!(standing(None, b"1"), Standing::Owner);
        assert_eq!(standing(Some(owner("mallory")), b"1"), Standing::Stranger);
        assert_eq!(standing(Some(owner("alice")), b"2"), Standing::Stranger);
        assert_eq!(standing(None, b"2"), Standing::Stranger);
    }
}
