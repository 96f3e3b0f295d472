//! Requests: from the words of HTTP to a task, or to the reason why there is none.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Format, OutOfMemory};
use crate::table::Kind;

/// Longest body of a request, in bytes.
pub const MAX_BODY: u64 = 4096;
/// Longest time that a request may wait (milliseconds), and that sessions may have to leave.
pub const MAX_WAIT: u64 = 24 * 3600 * 1000;
/// How long a request waits that does not say (milliseconds).
const DEFAULT_WAIT: u64 = 60_000;

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET, and HEAD.
    Get,
    /// POST.
    Post,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// Any other.
    Other,
}

/// What a request says, but for its body.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: Method,
    /// The part of the decoded path behind the location's.
    pub path: &'a [u8],
    /// The query.
    pub arguments: &'a [u8],
    /// `Accept`.
    pub accept: &'a [u8],
    /// `Content-Type`.
    pub content_type: &'a [u8],
    /// `Host`.
    pub host: &'a [u8],
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
}

/// An error: its status and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// What is wrong.
    pub text: &'static str,
    /// The value of `Allow`.
    pub allow: Option<&'static str>,
}

const fn refusal(status: u16, text: &'static str) -> Refusal {
    Refusal { status, text, allow: None }
}

/// The path names nothing.
pub const NO_RESOURCE: Refusal = refusal(404, "no such resource");
/// The zone is not in the configuration.
pub const NO_ZONE: Refusal = refusal(404, "no such zone");
/// The upstream is not in the configuration, or has no sessions.
pub const NO_UPSTREAM: Refusal = refusal(404, "no such upstream");
/// The server is not in the upstream, and the zone does not know it.
pub const NO_SERVER: Refusal = refusal(404, "no such server");
/// The id has no session.
pub const NO_SESSION: Refusal = refusal(404, "no such session");
/// The body does not say how long it is.
pub const NO_LENGTH: Refusal = refusal(411, "Content-Length is required");
/// The body is longer than `MAX_BODY`.
pub const TOO_LARGE: Refusal = refusal(413, "request body is too large");
/// The body does not say how to drain.
pub const NO_DRAIN: Refusal = refusal(
    400,
    "invalid request body, it has \"drain\" (true or false) and may have \"deadline\"",
);
/// The body names no session.
pub const NO_NAME: Refusal =
    refusal(400, "invalid request body, it has \"id\" and may have \"kind\" and \"bind\"");
/// The upstream's balancer asks for no server of ours.
pub const FOREIGN: Refusal =
    refusal(409, "the balancer of this upstream is not one of nginx's own: drain has no effect");
/// All servers that the zone has room for have sessions.
pub const NO_ROOM: Refusal = refusal(503, "the zone has no room for the server");
/// There is no memory for an answer.
pub const NO_MEMORY: Refusal = refusal(503, "no memory");
/// A request that waits is to be sent again.
pub const RELOADING: Refusal = refusal(503, "nginx is reloading, ask again");

impl From<OutOfMemory> for Refusal {
    fn from(_: OutOfMemory) -> Refusal {
        NO_MEMORY
    }
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// `/`
    Everything,
    /// `/zones`
    Zones,
    /// `/zones/NAME`
    Zone(&'a [u8]),
    /// `/zones/NAME/session`: the one that the request names.
    Session(&'a [u8]),
    /// `/upstreams`
    Upstreams,
    /// `/upstreams/NAME`
    Upstream(&'a [u8]),
    /// `/upstreams/NAME/servers`
    Servers(&'a [u8]),
    /// `/upstreams/NAME/servers/ADDRESS`
    Server(&'a [u8], &'a [u8]),
    /// `/upstreams/NAME/servers/ADDRESS/sessions`
    Sessions(&'a [u8], &'a [u8]),
}

impl<'a> Resource<'a> {
    /// Reads a path. Addresses may hold slashes (`unix:/run/server.sock`).
    fn at(path: &'a [u8]) -> Option<Resource<'a>> {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if path.is_empty() {
            return Some(Resource::Everything);
        }
        match split(path) {
            (b"zones", None) => Some(Resource::Zones),
            (b"zones", Some(name)) => match name.strip_suffix(b"/session") {
                Some(name) => named(name).map(Resource::Session),
                None => named(name).map(Resource::Zone),
            },
            (b"upstreams", None) => Some(Resource::Upstreams),
            (b"upstreams", Some(rest)) => match split(rest) {
                (name, None) => named(name).map(Resource::Upstream),
                (name, Some(rest)) => match split(rest) {
                    (b"servers", None) => named(name).map(Resource::Servers),
                    (b"servers", Some(rest)) => {
                        let name = named(name)?;
                        match rest.strip_suffix(b"/sessions") {
                            Some(address) => Some(Resource::Sessions(name, named(address)?)),
                            None => Some(Resource::Server(name, named(rest)?)),
                        }
                    }
                    _ => None,
                },
            },
            _ => None,
        }
    }

    /// The methods that it takes, as `Allow` lists them.
    fn methods(&self, write: bool) -> &'static str {
        match (self, write) {
            (Resource::Session(_), true) => "GET, HEAD, POST, DELETE",
            (Resource::Session(_), false) => "GET, HEAD, POST",
            (Resource::Server(..), true) => "GET, HEAD, PATCH",
            (Resource::Sessions(..), true) => "GET, HEAD, DELETE",
            _ => "GET, HEAD",
        }
    }
}

/// A part of a path up to its first slash, and what is behind it.
fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|&byte| byte == b'/') {
        Some(at) => match path.split_at_checked(at) {
            Some((first, rest)) => (first, rest.get(1..)),
            None => (path, None),
        },
        None => (path, None),
    }
}

fn named(name: &[u8]) -> Option<&[u8]> {
    Some(name).filter(|name| !name.is_empty())
}

/// What a request asks for. What changes something can only come where that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Show a resource.
    Show(Resource<'a>, Format),
    /// Show a server of an upstream once it has no session left, or so many milliseconds have
    /// passed.
    Wait(&'a [u8], &'a [u8], u64),
    /// Say where a session of a zone is; its id is in the request's headers.
    Find(&'a [u8]),
    /// The same; its id is in the body.
    FindByBody(&'a [u8]),
    /// Forget a session of a zone; its id is in the body, or else in the headers.
    Forget(&'a [u8]),
    /// Drain a server of an upstream, or end that, as the body says.
    Drain(&'a [u8], &'a [u8]),
    /// Forget all sessions of a server of an upstream.
    ForgetAll(&'a [u8], &'a [u8]),
}

impl Task<'_> {
    /// Whether it needs the body of the request.
    pub fn has_body(&self) -> bool {
        matches!(self, Task::FindByBody(_) | Task::Forget(_) | Task::Drain(..))
    }
}

impl<'a> Request<'a> {
    /// What is to be done, where requests may change things (`write`) or not.
    pub fn task(&self, write: bool) -> Result<Task<'a>, Refusal> {
        let resource = Resource::at(self.path).ok_or(NO_RESOURCE)?;
        let arguments = Arguments::read(self.arguments)?;
        if self.method != Method::Get && arguments != Arguments::default() {
            return Err(refusal(400, "arguments belong to GET"));
        }
        let task = match (self.method, resource) {
            (Method::Get, Resource::Session(zone)) => Task::Find(zone),
            (Method::Get, resource) => return self.show(resource, &arguments),
            (Method::Post, Resource::Session(zone)) => Task::FindByBody(zone),
            (Method::Patch, Resource::Server(upstream, server)) => Task::Drain(upstream, server),
            (Method::Delete, Resource::Session(zone)) => Task::Forget(zone),
            (Method::Delete, Resource::Sessions(upstream, server)) => {
                Task::ForgetAll(upstream, server)
            }
            _ => return Err(self.refuse_method(&resource, write)),
        };
        match task {
            Task::Find(_) => Ok(task),
            Task::FindByBody(_) => self.check_type().map(|()| task),
            _ if !write => Err(self.refuse_method(&resource, write)),
            _ => self.check_type().and_then(|()| self.check_origin()).map(|()| task),
        }
    }

    fn show(&self, resource: Resource<'a>, arguments: &Arguments) -> Result<Task<'a>, Refusal> {
        if let Some(timeout) = arguments.wait() {
            return match resource {
                Resource::Server(upstream, server) if arguments.format.is_none() => {
                    Ok(Task::Wait(upstream, server, timeout))
                }
                _ => Err(refusal(400, "only a server can be waited for")),
            };
        }
        let format = match (arguments.format, resource) {
            (None, Resource::Everything) => Format::accepted(self.accept),
            (None, _) => Format::Json,
            (Some(format), Resource::Everything) => format,
            (Some(Format::Json), _) => Format::Json,
            (Some(_), _) => return Err(refusal(400, "this resource is shown as JSON only")),
        };
        Ok(Task::Show(resource, format))
    }

    fn refuse_method(&self, resource: &Resource<'_>, write: bool) -> Refusal {
        Refusal {
            allow: Some(resource.methods(write)),
            ..refusal(
                405,
                match write {
                    true => "method is not allowed",
                    false => "method is not allowed, \"sticky_api\" without \"write\" only shows",
                },
            )
        }
    }

    /// A page of somebody else cannot send this type without asking first.
    fn check_type(&self) -> Result<(), Refusal> {
        let mut parts = self.content_type.split(|&byte| byte == b';');
        match parts.next().map(<[u8]>::trim_ascii) {
            Some(kind) if kind.eq_ignore_ascii_case(b"application/json") => Ok(()),
            _ => Err(refusal(415, "Content-Type must be application/json")),
        }
    }

    /// What a browser sends for a page must come from a page of ours.
    fn check_origin(&self) -> Result<(), Refusal> {
        let Some(origin) = self.origin else {
            return Ok(());
        };
        let host =
            [&b"http://"[..], b"https://"].iter().find_map(|scheme| origin.strip_prefix(*scheme));
        match host {
            Some(host) if !host.is_empty() && host.eq_ignore_ascii_case(self.host) => Ok(()),
            _ => Err(refusal(403, "Origin is foreign")),
        }
    }
}

/// The arguments of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Arguments {
    format: Option<Format>,
    wait: bool,
    timeout: Option<u64>,
}

impl Arguments {
    fn read(text: &[u8]) -> Result<Arguments, Refusal> {
        let mut arguments = Arguments::default();
        for argument in text.split(|&byte| byte == b'&').filter(|text| !text.is_empty()) {
            match argument {
                b"wait=empty" if !arguments.wait => arguments.wait = true,
                _ => {
                    match (argument.strip_prefix(b"format="), argument.strip_prefix(b"timeout=")) {
                        (Some(name), _) if arguments.format.is_none() => {
                            let format = Format::named(name);
                            arguments.format = Some(format.ok_or(refusal(400, "no such format"))?);
                        }
                        (_, Some(text)) if arguments.timeout.is_none() => {
                            let timeout = millis(text);
                            arguments.timeout =
                                Some(timeout.ok_or(refusal(400, "invalid timeout"))?);
                        }
                        _ => return Err(refusal(400, "invalid argument")),
                    }
                }
            }
        }
        match (arguments.timeout, arguments.wait) {
            (Some(_), false) => Err(refusal(400, "\"timeout\" belongs to \"wait\"")),
            _ => Ok(arguments),
        }
    }

    fn wait(&self) -> Option<u64> {
        self.wait.then(|| self.timeout.unwrap_or(DEFAULT_WAIT))
    }
}

/// A time as nginx writes it: a number, of seconds or with its unit. None if it is not one, or is
/// longer than `MAX_WAIT`.
fn millis(text: &[u8]) -> Option<u64> {
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
    /// Whether it shall drain.
    pub drain: bool,
    /// Milliseconds from now until its sessions are forgotten.
    pub deadline: Option<u64>,
}

impl Drain {
    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Drain, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body<'a> {
            drain: bool,
            #[serde(borrow)]
            deadline: Option<Cow<'a, str>>,
        }
        let body: Body<'_> = serde_json::from_slice(body).map_err(|_| NO_DRAIN)?;
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

/// What names a session.
#[derive(Debug, PartialEq, Eq)]
pub struct Id<'a> {
    /// What the id names.
    pub kind: Kind,
    /// The id.
    pub id: Cow<'a, [u8]>,
    /// What it is bound to, or empty.
    pub bind: Cow<'a, [u8]>,
}

impl<'a> Id<'a> {
    /// Reads a body, or, without one, takes the id of the request's header.
    pub fn read(body: &'a [u8], header: Option<&'a [u8]>) -> Result<Id<'a>, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Name {
            Session,
            Sse,
            Task,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body<'a> {
            #[serde(borrow)]
            id: Cow<'a, str>,
            kind: Option<Name>,
            #[serde(borrow)]
            bind: Option<Cow<'a, str>>,
        }
        const NO_ID: Refusal = refusal(400, "no session id");

        if body.is_empty() {
            let id = header.filter(|id| !id.is_empty()).ok_or(NO_ID)?;
            return Ok(Id { kind: Kind::Session, id: id.into(), bind: Cow::default() });
        }
        let body: Body<'_> = serde_json::from_slice(body).map_err(|_| NO_NAME)?;
        if body.id.is_empty() {
            return Err(NO_ID);
        }
        let kind = match body.kind {
            None | Some(Name::Session) => Kind::Session,
            Some(Name::Sse) => Kind::Sse,
            Some(Name::Task) => Kind::Task,
        };
        Ok(Id { kind, id: bytes(body.id), bind: bytes(body.bind.unwrap_or_default()) })
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

#[cfg(test)]
mod tests;
