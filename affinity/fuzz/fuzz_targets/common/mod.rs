//! Reading for the targets of MCP.
#![allow(dead_code, reason = "each target uses its part")]

#[path = "../../../tests/common/mcp.rs"]
pub mod model;

use affinity::mcp::{Lines, Progress, Reader, Request, Verb, Watch};
use affinity::table::{Kind, Span};

/// A request without anything.
pub const REQUEST: Request<'static> = Request {
    verb: Verb::Other,
    session: b"",
    lines: Lines::None,
    version: b"",
    method: b"",
    name: b"",
    query: b"",
    target: b"/",
};

/// The URI of streams.
pub const URI: &str = "/sse";

/// What a body teaches.
pub type Taught = Option<(Kind, Vec<u8>, Option<Span>)>;

/// Reads a body whole, in single bytes, and in pieces whose sizes `cut` says: always the same.
pub fn read_cut(watch: Watch, body: &[u8], cut: u8) -> Taught {
    let uri = URI.as_bytes();
    let taught = read_of(watch, body, uri);
    assert_eq!(read(watch, body.chunks(usize::from(cut % 32) + 2), uri), taught);
    let (first, second) = body.split_at(usize::from(cut).min(body.len()));
    assert_eq!(read(watch, [first, b"", second], uri), taught);
    taught
}

/// Reads the body of a request with this URI, whole and in single bytes: always the same.
pub fn read_of(watch: Watch, body: &[u8], uri: &[u8]) -> Taught {
    let taught = read(watch, [body], uri);
    assert_eq!(read(watch, body.chunks(1), uri), taught);
    taught
}

/// Reads a body in pieces.
pub fn read<'b>(watch: Watch, chunks: impl IntoIterator<Item = &'b [u8]>, uri: &[u8]) -> Taught {
    let mut reader = Reader::new(watch, uri).unwrap();
    let mut taught = None;
    let mut done = false;
    for chunk in chunks {
        let progress = reader.feed(chunk);
        // Once done, it stays so.
        assert!(!done || progress == Progress::Nothing);
        done = progress != Progress::More;
        if let Progress::Found(learned) = progress {
            taught = Some((learned.kind, learned.id.to_vec(), learned.ttl));
        }
    }
    taught
}

/// Holds what was learned of a stream to what its text says.
pub fn agree_on_endpoint(taught: Taught, meant: model::Endpoint) {
    let meant = match meant {
        model::Endpoint::Beyond => return,
        model::Endpoint::None => None,
        model::Endpoint::Id(id) | model::Endpoint::Target(id) => Some((Kind::Sse, id, None)),
    };
    assert_eq!(taught, meant);
}

/// Holds what was learned of a task to what its text says.
pub fn agree(taught: Taught, meant: model::Message) {
    match (taught, meant) {
        (_, model::Message::Beyond) => {}
        (Some((kind, id, ttl)), model::Message::Task(meant_id, meant_ttl)) => {
            assert_eq!((kind, id), (Kind::Task, meant_id));
            assert!(model::is_ttl(ttl.map(Span::as_millis), meant_ttl), "{ttl:?}, {meant_ttl:?}");
        }
        (taught, meant) => assert!(
            taught.is_none() && !matches!(meant, model::Message::Task(..)),
            "{taught:?}, {meant:?}"
        ),
    }
}
