//! The target of a stream of HTTP+SSE: path and query of the URI that its `endpoint` event gives. The
//! client sends its messages there.
//!
//! # Which text names the session
//! The table has one entry for a stream. Its text is the first of these that exists:
//! 1. The session id in the event's query ([`query::session_id`](crate::text::query::session_id)), if it
//!    is the only one there and is not in the URI of the stream. The official SDKs write it so. It stays
//!    the same if a proxy in front of nginx changes the prefix of the path.
//! 2. The target: path and query as the client will send them ([`resolve`]), if it has an id of its
//!    own ([`own_id`]), or several session ids in its query. (One of several may be a user's key, the
//!    same for all streams of that user.) A target begins with a slash.
//! 3. The session id in the event's query that is also in the URI of the stream: the client has chosen
//!    it.
//!
//! The target of a request is looked up first, if it can have an id of its own, then the session id in
//! its query. The target is all that a server has announced; an id in a query may also have been put
//! there by a user (the key of an account). Both lead to the same server unless several streams share the
//! id in the query. Then the target is right.
//!
//! # Which target has an id of its own
//! `/messages` and `/mcp/notifications` are the same for every stream. If one were learned, the requests
//! of all streams would go to one server. A target has an id of its own if a segment of its path, or the
//! value of a parameter (`?name=value`, `;name=value`), is not in the URI of the stream and
//! - belongs to a parameter whose name contains `session` or `client` ([`OwnId::Named`]), or
//! - has [`MIN_MIXED`] bytes or more, one of them a digit, or
//! - has [`MIN_PLAIN`] bytes or more.
//!
//! Session ids in the query do not count here; they have an entry of their own. An id of the first kind
//! may be the client's own choice (`?clientId=bob`). So it counts also if it is in the URI of the stream,
//! in a parameter of such a name. It moves to the server that announces it last, with the client's newest
//! stream. A text that only looks like an id (`/v2beta1/messages`) is recognised when a second server
//! announces it. From then on it is bound to no server: see
//! [`Policy::on_announced`](crate::policy::Policy::on_announced) and
//! [`SharedTargets`](super::SharedTargets).
//!
//! # Prefixes
//! All URIs are as the client sees them: the URI of the stream is that of its request line, and so is the
//! URI of a later request. `location /api/ { proxy_pass http://u/; }` works with servers that announce
//! relative targets (`messages?sessionId=…`), or absolute ones with the prefix (Python's `root_path`). If
//! the prefix is added behind nginx's body filters or in front of nginx, only a session id that is alone
//! in its query is known.
//!
//! By hand: the crate `url` allocates, and changes the encoding of what it resolves.

use crate::text::bounded::Id;
use crate::text::query::{has_several, is_session_id, split};

/// The length, in bytes, from which on a text with a digit counts as an id.
const MIN_MIXED: usize = 6;
/// The length, in bytes, from which on any text counts as an id.
const MIN_PLAIN: usize = 20;

/// Whether URIs may contain a byte (RFC 3986, section 2). They contain no quotes and no braces.
pub(super) fn is_of_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// Puts into `out` the path and the query of a reference, resolved against the URI of the stream, as a
/// client does by the URL standard (WHATWG). Percent-encoding is not changed. False if the reference is
/// no URI of an HTTP server.
pub(super) fn resolve(reference: &[u8], stream: &[u8], out: &mut Id) -> bool {
    out.clear();
    if !reference.iter().all(|byte| is_of_uri(*byte)) {
        return false;
    }
    let (reference, _) = split(reference, b'#');
    let Some((from_root, reference)) = without_authority(reference) else {
        return false;
    };
    let (path, mut query) = split(reference, b'?');
    let (of_stream, query_of_stream) = split(stream, b'?');
    match path.strip_prefix(b"/") {
        Some(path) => push_segments(path, out),
        None if from_root => push_segments(path, out),
        None => {
            push_segments(of_stream.strip_prefix(b"/").unwrap_or_default(), out);
            if path.is_empty() {
                query = query.or(query_of_stream);
            } else {
                pop_segment(out);
                push_segments(path, out);
            }
        }
    }
    if let Some(query) = query {
        out.push(b'?');
        for byte in query {
            match byte {
                b'\'' => out.extend(b"%27"),
                byte => out.push(*byte),
            }
        }
    }
    true
}

/// Whether a reference has an authority, and its path and query. None if its scheme is not HTTP's.
fn without_authority(reference: &[u8]) -> Option<(bool, &[u8])> {
    let rest = match (reference.strip_prefix(b"//"), scheme(reference)) {
        (Some(rest), _) => rest,
        (None, None) => return Some((false, reference)),
        (None, Some((scheme, rest))) => {
            let is_http = [&b"http"[..], b"https"].iter().any(|s| s.eq_ignore_ascii_case(scheme));
            rest.strip_prefix(b"//").filter(|_| is_http)?
        }
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    rest.get(end..).filter(|_| end > 0).map(|rest| (true, rest))
}

/// The scheme of an absolute URI, and the text behind its colon.
fn scheme(reference: &[u8]) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = split(reference, b':');
    let is_scheme = scheme.first()?.is_ascii_alphabetic()
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    rest.filter(|_| is_scheme).map(|rest| (scheme, rest))
}

/// Adds the segments of a path, each behind a slash. `.` adds nothing, `..` removes a segment.
fn push_segments(path: &[u8], out: &mut Id) {
    let mut segments = path.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match dots(segment) {
            0 => {
                out.push(b'/');
                out.extend(segment);
            }
            dots => {
                if dots == 2 {
                    pop_segment(out);
                }
                if is_last {
                    out.push(b'/');
                }
            }
        }
    }
}

fn pop_segment(out: &mut Id) {
    let last = out.get().and_then(|path| path.iter().rposition(|byte| *byte == b'/'));
    if let Some(at) = last {
        out.truncate(at);
    }
}

/// 1 for the segment `.`, 2 for `..`, also if dots are encoded; 0 for any other.
fn dots(segment: &[u8]) -> usize {
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return 0,
        };
        dots += 1;
    }
    if dots <= 2 {
        dots
    } else {
        0
    }
}

/// Why a text of a target counts as an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OwnId {
    /// It looks like an id.
    Seeming,
    /// It is the value of a parameter whose name contains `session` or `client`.
    Named,
}

/// Which id a target has of its own, beside a session id in its query: the rule at the top of this file.
///
/// The stream's URI is searched once for each text of the target that could be an id.
pub(super) fn own_id(target: &[u8], stream: &[u8]) -> Option<OwnId> {
    parts(target).filter_map(|part| own_id_in(part, stream)).max()
}

/// Whether an `endpoint` event can have announced the target of a request.
pub(super) fn may_be_announced(target: &[u8]) -> bool {
    parts(target).any(|part| own_id_in(part, b"").is_some()) || has_session_ids(target)
}

/// Whether a target has several session ids in its query.
pub(super) fn has_session_ids(target: &[u8]) -> bool {
    split(target, b'?').1.is_some_and(has_several)
}

/// The texts of a target that may be an id, with the names of parameters.
fn parts(target: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (path, query) = split(target, b'?');
    let parameters = query.into_iter().flat_map(|query| query.split(|byte| *byte == b'&'));
    path.split(|byte| matches!(byte, b'/' | b';'))
        .chain(parameters.filter(|part| !is_session_id(split(part, b'=').0)))
}

fn own_id_in(part: &[u8], stream: &[u8]) -> Option<OwnId> {
    let (name, value) = match split(part, b'=') {
        (name, Some(value)) => (name, value),
        (text, None) => (&b""[..], text),
    };
    let is_long_enough = value.len() >= MIN_MIXED && value.iter().any(u8::is_ascii_digit)
        || value.len() >= MIN_PLAIN;
    let id = match (!value.is_empty() && names_session(name), is_long_enough) {
        (true, _) => OwnId::Named,
        (false, true) => OwnId::Seeming,
        (false, false) => return None,
    };
    let mut texts = stream.split(|byte| b"/?&;=".contains(byte));
    let is_own = !texts.any(|text| is_same_text(text, value))
        || id == OwnId::Named && is_chosen(value, stream);
    is_own.then_some(id)
}

/// Whether a parameter of the stream's URI, of such a name, has this value: the client has chosen it.
fn is_chosen(value: &[u8], stream: &[u8]) -> bool {
    stream.split(|byte| b"/?&;".contains(byte)).any(|part| match split(part, b'=') {
        (name, Some(chosen)) => names_session(name) && is_same_text(chosen, value),
        _ => false,
    })
}

/// Whether two texts of URIs are equal when a server has decoded them.
fn is_same_text(one: &[u8], other: &[u8]) -> bool {
    decoded(one).eq(decoded(other))
}

fn decoded(mut text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    core::iter::from_fn(move || {
        let (&first, rest) = text.split_first()?;
        text = rest;
        match (first, rest) {
            (b'%', &[high, low, ref rest @ ..]) => {
                let Some((high, low)) = digit(high).zip(digit(low)) else { return Some(first) };
                text = rest;
                u8::try_from(high * 16 + low).ok()
            }
            _ => Some(first),
        }
    })
}

fn names_session(name: &[u8]) -> bool {
    [&b"session"[..], b"client"]
        .iter()
        .any(|word| name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(reference: &str, stream: &str) -> Option<String> {
        let mut out = Id::new();
        let found = resolve(reference.as_bytes(), stream.as_bytes(), &mut out);
        found.then(|| String::from_utf8(out.get().unwrap().to_vec()).unwrap())
    }

    #[test]
    fn a_reference_is_resolved_against_the_uri_of_the_stream() {
        for (reference, target) in [
            ("/messages?a=b", "/messages?a=b"),
            ("messages?a=b", "/api/v/messages?a=b"),
            ("./messages", "/api/v/messages"),
            ("../messages", "/api/messages"),
            ("../../../messages", "/messages"),
            ("..", "/api/"),
            (".", "/api/v/"),
            ("a/%2e%2E/b/.", "/api/v/b/"),
            ("/a/.%2e/b", "/b"),
            ("?a=b", "/api/v/sse?a=b"),
            ("?", "/api/v/sse?"),
            ("", "/api/v/sse?k=1"),
            ("#a", "/api/v/sse?k=1"),
            ("//h:80/m?x", "/m?x"),
            ("http://h/m;s=1", "/m;s=1"),
            ("HTTPS://[::1]:80", "/"),
            ("http://h?x", "/?x"),
            ("/m/%7b?q='%41#f?g", "/m/%7b?q=%27%41"),
            ("/a//b/", "/a//b/"),
            ("/...", "/..."),
            ("m/a:b", "/api/v/m/a:b"),
        ] {
            let found = resolved(reference, "/api/v/sse?k=1");
            assert_eq!(found.as_deref(), Some(target), "{reference}");
        }
        assert_eq!(resolved("m", "*").as_deref(), Some("/m"));
        assert_eq!(resolved("m", "/a/../sse").as_deref(), Some("/m"));
    }

    #[test]
    fn what_is_no_uri_of_an_http_server_has_no_target() {
        for reference in [
            r#"{"url":"/m"}"#,
            r#""/m""#,
            "/m n",
            "/m\\n",
            "/é",
            "ftp://h/m",
            "mailto:x",
            "http:/m",
            "http:m",
            "http:///m",
            "//",
            "///m",
        ] {
            assert_eq!(resolved(reference, "/sse"), None, "{reference}");
        }
    }

    #[test]
    fn a_target_longer_than_an_id_may_be_has_no_value() {
        let mut out = Id::new();
        assert!(resolve(format!("/{}/../m", "x".repeat(2000)).as_bytes(), b"/sse", &mut out));
        assert_eq!(out.get(), None);
    }

    #[test]
    fn an_id_of_its_own_is_what_the_stream_does_not_have() {
        let (named, seeming) = (Some(OwnId::Named), Some(OwnId::Seeming));
        for (target, id) in [
            ("/messages", None),
            ("/mcp", None),
            ("/mcp/notifications", None),
            ("/v2/messages", None),
            ("/messages?version=2", None),
            ("/messages?transport=sse", None),
            ("/messages?key=a1b2c3d4", None),
            ("/tenants/tenant42/messages", None),
            ("/messages?client=", None),
            ("/messages?sessionId=5f0c1234", None),
            ("/messages?session%49d=5f0c1234", None),
            ("/messages?session=one", named),
            ("/messages?clientId=one", named),
            ("/messages?client_id=one", named),
            ("/messages;sessionId=one", named),
            ("/messages?sid=5f0c1234", seeming),
            ("/messages?5f0c1234", seeming),
            ("/messages/5f0c1234", seeming),
            ("/v2beta1/messages", seeming),
            ("/v2beta1/messages?clientId=one", named),
            ("/messages?client=bob&x=5f0c1234", named),
            ("/messages/5f0c1234;session=one", named),
            ("/messages/5f0c1234/send", seeming),
            ("/messages/ABCDEFGHIJKLMNOPQRSTUVWXYZ", seeming),
            ("/messages?sessionId=one&clientId=two", named),
            ("/messages?sessionId=one&key=a1b2c3d4", None),
            ("/messages?key=%61%31b2c3d%34", None),
            ("/messages?client=tenant%34%32", None),
            ("/messages?client=tenant%4", named),
        ] {
            let stream = b"/tenants/tenant42/sse?key=a1b2c3d4";
            assert_eq!(own_id(target.as_bytes(), stream), id, "{target}");
        }
    }

    #[test]
    fn an_id_that_the_client_has_chosen_is_its_own() {
        for (stream, target, id) in [
            ("/sse?clientId=bob", "/messages?clientId=bob", Some(OwnId::Named)),
            ("/sse?a=1&client_id=b%6Fb", "/messages?clientId=bob", Some(OwnId::Named)),
            ("/sse?sessionId=bob", "/messages?clientId=bob", Some(OwnId::Named)),
            ("/sse;session=bob", "/messages/;session=bob", Some(OwnId::Named)),
            ("/bob/sse", "/bob/messages?clientId=bob", None),
            ("/sse?user=bob", "/messages?clientId=bob", None),
            ("/sse?clientId=5f0c1234", "/messages/5f0c1234", None),
            ("/sse?clientId=5f0c1234", "/messages?key=5f0c1234", None),
            ("/sse?clientId=", "/messages?clientId=", None),
        ] {
            assert_eq!(own_id(target.as_bytes(), stream.as_bytes()), id, "{stream} {target}");
        }
    }
}
