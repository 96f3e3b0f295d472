//! The bodies of requests.

use std::borrow::Cow;

use serde::Deserialize;

use super::refusal::{refusal, Refusal, NO_DRAIN, NO_NAME};
use crate::table::Kind;

/// Longest body of a request, in bytes.
pub const MAX_BODY: u64 = 4096;
/// Longest time (milliseconds) that a request may wait, and longest deadline of a drain.
pub const MAX_WAIT: u64 = 24 * 3600 * 1000;

/// A time as in nginx's configuration: a number of seconds, or a number with a unit. None if the text is
/// no time, or the time is longer than `MAX_WAIT`.
pub(super) fn millis(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        b"ms" => 1,
        b"" | b"s" => 1000,
        b"m" => 60_000,
        b"h" => 3_600_000,
        b"d" => 86_400_000,
        _ => return None,
    };
    let number: u64 = core::str::from_utf8(number).ok()?.parse().ok()?;
    number.checked_mul(unit).filter(|millis| *millis <= MAX_WAIT)
}

/// The body of a request that drains a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Drain {
    /// Whether the server is to drain.
    pub drain: bool,
    /// Milliseconds from now until its sessions are forgotten.
    pub deadline: Option<u64>,
}

impl Drain {
    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Drain, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct DrainBody<'a> {
            drain: bool,
            #[serde(borrow)]
            deadline: Option<Cow<'a, str>>,
        }
        let body: DrainBody<'_> = serde_json::from_slice(body).map_err(|_| NO_DRAIN)?;
        let deadline = match body.deadline {
            Some(text) => Some(millis(text.as_bytes()).ok_or(refusal(400, "invalid deadline"))?),
            None => None,
        };
        match (body.drain, deadline) {
            (false, Some(_)) => Err(refusal(400, "a deadline belongs to a drain")),
            (drain, deadline) => Ok(Drain { drain, deadline }),
        }
    }
}

/// The id of a session, and its kind.
#[derive(Debug, PartialEq, Eq)]
pub struct SessionId<'a> {
    /// What the id names.
    pub kind: Kind,
    /// The id.
    pub id: Cow<'a, [u8]>,
    /// What the id is bound to, or empty.
    pub bind: Cow<'a, [u8]>,
}

impl<'a> SessionId<'a> {
    /// Reads a body. If it is empty, takes the id of the request's header.
    pub fn read(body: &'a [u8], header: Option<&'a [u8]>) -> Result<SessionId<'a>, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum KindName {
            Session,
            Sse,
            Task,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct SessionBody<'a> {
            #[serde(borrow)]
            id: Cow<'a, str>,
            kind: Option<KindName>,
            #[serde(borrow)]
            bind: Option<Cow<'a, str>>,
        }
        const NO_ID: Refusal = refusal(400, "no session id");

        if body.is_empty() {
            let id = header.filter(|id| !id.is_empty()).ok_or(NO_ID)?;
            return Ok(SessionId { kind: Kind::Session, id: id.into(), bind: Cow::default() });
        }
        let body: SessionBody<'_> = serde_json::from_slice(body).map_err(|_| NO_NAME)?;
        if body.id.is_empty() {
            return Err(NO_ID);
        }
        let kind = match body.kind {
            None | Some(KindName::Session) => Kind::Session,
            Some(KindName::Sse) => Kind::Sse,
            Some(KindName::Task) => Kind::Task,
        };
        Ok(SessionId { kind, id: bytes(body.id), bind: bytes(body.bind.unwrap_or_default()) })
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
