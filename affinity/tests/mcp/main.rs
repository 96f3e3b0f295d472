//! Bodies and heads of MCP as servers and clients write them, valid and invalid.

mod endpoints;
mod ids;
mod initialize;
#[path = "../common/mcp.rs"]
mod model;
mod properties;
mod rejections;
mod tasks;

use affinity::mcp::{
    BodyFormat, Fault, Id, InitializeReader, Learned, Progress, Reader, RequestHead, Watch, MAX_ID,
    MAX_READ, MAX_WATCHED,
};
use affinity::policy::{Announced, Rejection};
use affinity::table::{Kind, Span};
use base64::prelude::{Engine, BASE64_STANDARD};
use proptest::prelude::*;

/// The id of a body, and its time to live in milliseconds if there is one.
type BodyId = Option<(Kind, Vec<u8>, Option<Span>)>;

/// The URI of the streams.
const URI: &str = "/sse?key=a1b2c3d4";

fn read<'b>(watch: Watch, chunks: impl IntoIterator<Item = &'b [u8]>) -> BodyId {
    let mut reader = Reader::new(watch, URI.as_bytes()).unwrap();
    for chunk in chunks {
        match reader.feed(chunk) {
            Progress::More => {}
            Progress::Nothing | Progress::Faulty(_) => return None,
            Progress::Found(learned) => {
                return Some((learned.kind, learned.id.to_vec(), learned.ttl));
            }
        }
    }
    None
}

/// Reads the body whole, byte by byte, and cut in two at every place. The result is always the same.
fn learned(watch: Watch, body: &[u8]) -> BodyId {
    let whole = read(watch, [body]);
    assert_eq!(read(watch, body.chunks(1)), whole);
    for cut in 0..=body.len().min(1000) {
        let (first, second) = body.split_at(cut);
        assert_eq!(read(watch, [first, second]), whole, "cut at {cut}");
    }
    whole
}

fn stream(body: &str) -> Option<String> {
    learned(Watch::Endpoint, body.as_bytes()).map(|(kind, id, ttl)| {
        assert_eq!((kind, ttl), (Kind::Sse, None));
        String::from_utf8(id).unwrap()
    })
}

fn task(body: &str) -> Option<(String, Option<u64>)> {
    task_as(BodyFormat::Json, body)
}

fn task_as(format: BodyFormat, body: &str) -> Option<(String, Option<u64>)> {
    learned(Watch::Task(format), body.as_bytes()).map(|(kind, id, ttl)| {
        assert_eq!(kind, Kind::Task);
        (String::from_utf8(id).unwrap(), ttl.map(Span::as_millis))
    })
}

/// A request without anything.
const REQUEST: RequestHead<'static> = RequestHead { target: b"/mcp", ..RequestHead::EMPTY };

fn query(query: &[u8]) -> Option<Vec<u8>> {
    RequestHead { query, ..REQUEST }.id(&mut Id::new()).map(|(_, id)| id.to_vec())
}

/// The task that `Mcp-Name` names.
fn name(field: &[u8]) -> Option<Vec<u8>> {
    let request =
        RequestHead { version: b"2026-07-28", method: b"tasks/get", name: field, ..REQUEST };
    request.id(&mut Id::new()).map(|(_, id)| id.to_vec())
}

fn result(members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{members}}}}}"#)
}

const TASK: &str = r#""resultType":"task","taskId":"t-1","status":"working","ttlMs":60032"#;

fn t1(ttl: Option<u64>) -> Option<(String, Option<u64>)> {
    Some(("t-1".into(), ttl))
}
