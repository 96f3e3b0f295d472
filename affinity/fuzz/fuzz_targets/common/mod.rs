//! Functions that read bodies, for the targets of MCP.
#![allow(dead_code, reason = "each target uses its part")]

#[path = "../../../tests/common/mcp.rs"]
pub mod model;

use affinity::mcp::{Progress, Reader, RequestHead, Watch};
use affinity::table::{Kind, Span};

/// A request without anything.
pub const REQUEST: RequestHead<'static> = RequestHead { target: b"/", ..RequestHead::EMPTY };

/// The URI of streams.
pub const URI: &str = "/sse";

/// The id of a body, and its time to live.
pub type BodyId = Option<(Kind, Vec<u8>, Option<Span>)>;

/// Reads a body whole, in single bytes, and in pieces of the sizes that `cut` gives. The result is always
/// the same.
pub fn read_cut(watch: Watch, body: &[u8], cut: u8) -> BodyId {
    let uri = URI.as_bytes();
    let learned = read_of(watch, body, uri);
    assert_eq!(read(watch, body.chunks(usize::from(cut % 32) + 2), uri), learned);
    let (first, second) = body.split_at(usize::from(cut).min(body.len()));
    assert_eq!(read(watch, [first, b"", second], uri), learned);
    learned
}

/// Reads the body of a request with this URI, whole and in single bytes. The result is always the same.
pub fn read_of(watch: Watch, body: &[u8], uri: &[u8]) -> BodyId {
    let learned = read(watch, [body], uri);
    assert_eq!(read(watch, body.chunks(1), uri), learned);
    learned
}

/// Reads a body in pieces.
pub fn read<'b>(watch: Watch, chunks: impl IntoIterator<Item = &'b [u8]>, uri: &[u8]) -> BodyId {
    let mut reader = Reader::new(watch, uri).unwrap();
    let mut found = None;
    let mut done = false;
    for chunk in chunks {
        let progress = reader.feed(chunk);
        // A reader that is done stays done.
        assert!(!done || progress == Progress::Nothing);
        done = progress != Progress::More;
        if let Progress::Found(learned) = progress {
            found = Some((learned.kind, learned.id.to_vec(), learned.ttl));
        }
    }
    found
}

/// Checks what was learned of a stream.
pub fn agree_on_endpoint(learned: BodyId, meant: model::Endpoint) {
    let meant = match meant {
        model::Endpoint::Beyond => return,
        model::Endpoint::None => None,
        model::Endpoint::Id(id) | model::Endpoint::Target(id) => Some((Kind::Sse, id, None)),
    };
    assert_eq!(learned, meant);
}

/// Checks what was learned of a task.
pub fn agree(learned: BodyId, meant: model::Message) {
    match (learned, meant) {
        (_, model::Message::Beyond) => {}
        (Some((kind, id, ttl)), model::Message::Task(meant_id, meant_ttl)) => {
            assert_eq!((kind, id), (Kind::Task, meant_id));
            assert!(model::is_ttl(ttl.map(Span::as_millis), meant_ttl), "{ttl:?}, {meant_ttl:?}");
        }
        (learned, meant) => assert!(
            learned.is_none() && !matches!(meant, model::Message::Task(..)),
            "{learned:?}, {meant:?}"
        ),
    }
}
