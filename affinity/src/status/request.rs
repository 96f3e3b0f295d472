//! Requests: from method, path and headers to a task, or to a refusal.

use super::body::millis;
use super::negotiate::Format;
use super::refusal::{refusal, Refusal, NO_RESOURCE};

/// How long a request waits without `timeout` (milliseconds).
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

/// A request without its body.
#[derive(Clone, Copy, Debug)]
pub struct ApiRequest<'a> {
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

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// `/`
    Everything,
    /// `/zones`
    Zones,
    /// `/zones/NAME`
    Zone(&'a [u8]),
    /// `/zones/NAME/session`: the session that the request names.
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
    /// Reads a path. Addresses may contain slashes (`unix:/run/server.sock`).
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

    /// The methods that the resource accepts, as in `Allow`.
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

/// The part of a path before its first slash, and the part behind it.
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

/// What a request asks for. A task that changes the state exists only where `write` is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Show a resource.
    Show(Resource<'a>, Format),
    /// Show a server of an upstream when it has no session any more, or after so many milliseconds.
    Wait(&'a [u8], &'a [u8], u64),
    /// Show the server of a session of a zone; the id is in the request's headers.
    Find(&'a [u8]),
    /// The same; the id is in the body.
    FindByBody(&'a [u8]),
    /// Forget a session of a zone; the id is in the body, or else in the headers.
    Forget(&'a [u8]),
    /// Drain a server of an upstream, or end that, as the body says.
    Drain(&'a [u8], &'a [u8]),
    /// Forget all sessions of a server of an upstream.
    ForgetAll(&'a [u8], &'a [u8]),
}

impl Task<'_> {
    /// Whether the task needs the body of the request.
    pub fn has_body(&self) -> bool {
        matches!(self, Task::FindByBody(_) | Task::Forget(_) | Task::Drain(..))
    }
}

impl<'a> ApiRequest<'a> {
    /// The task of the request. `write`: requests may change the state.
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

    /// The page of another origin cannot send this type: a browser asks with `OPTIONS` first (CORS).
    fn check_type(&self) -> Result<(), Refusal> {
        let mut parts = self.content_type.split(|&byte| byte == b';');
        match parts.next().map(<[u8]>::trim_ascii) {
            Some(kind) if kind.eq_ignore_ascii_case(b"application/json") => Ok(()),
            _ => Err(refusal(415, "Content-Type must be application/json")),
        }
    }

    /// A request that a browser sends for a page must come from a page of this host.
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

#[cfg(test)]
mod tests;
