//! Reads a query, alone and as that of an endpoint. The result is that of the crate percent-encoding.

#![no_main]

mod common;

use affinity::mcp::{Id, Watch};
use affinity::table::Kind;
use common::{model, read_cut, REQUEST};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|query: &[u8]| {
    let request = affinity::mcp::RequestHead { query, ..REQUEST };
    let mut scratch = Id::new();
    let id = request.id(&mut scratch);
    assert_eq!(id, model::query(query).as_deref().map(|id| (Kind::Sse, id)));

    // The query of an endpoint ends at a byte that URIs do not contain, and tabs are removed.
    if id.is_some() && query.iter().all(|byte| *byte > b' ' && !b"\"<>\\^`{|}\x7f".contains(byte)) {
        let target = format!("/m?{}", String::from_utf8_lossy(query));
        if model::has_session_ids(target.split('#').next().unwrap_or_default()) {
            return;
        }
        let event = [b"event:endpoint\ndata:http://h/m?", query, b"\n\n"].concat();
        let learned = read_cut(Watch::Endpoint, &event, query.len() as u8);
        if event.len() < 2048 {
            assert_eq!(
                learned.map(|(kind, id, _)| (kind, id)),
                id.map(|(kind, id)| (kind, id.to_vec()))
            );
        }
    }
});
