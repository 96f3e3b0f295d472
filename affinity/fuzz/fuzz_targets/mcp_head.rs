//! Reads the headers of a request: `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name` and
//! `Mcp-Session-Id`, each on a line of its own. They mean what base64 and a parsed date say.

#![no_main]

mod common;

use affinity::mcp::{Id, Request};
use affinity::table::Kind;
use common::{model, REQUEST};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|head: &[u8]| {
    let mut lines = head.splitn(4, |byte| *byte == b'\n').chain([&b""[..]; 3]);
    let mut line = || lines.next().unwrap();
    let request =
        Request { version: line(), method: line(), name: line(), session: line(), ..REQUEST };
    let mut scratch = Id::new();
    let id = request.id(&mut scratch).map(|(kind, id)| (kind, id.to_vec()));
    let expected = if !model::is_stateless(request.version) {
        Some((Kind::Session, request.session.to_vec())).filter(|(_, id)| !id.is_empty())
    } else if [&b"tasks/get"[..], b"tasks/update", b"tasks/cancel"].contains(&request.method) {
        model::name(request.name).map(|id| (Kind::Task, id))
    } else {
        None
    };
    assert_eq!(id, expected);
    assert_eq!(request.outlook().opens(200), !model::is_stateless(request.version));

    // Any bytes come back out of base64.
    if let Ok(text) = std::str::from_utf8(request.name) {
        let name = model::name_of(text);
        let request = Request {
            version: b"2026-07-28",
            method: b"tasks/get",
            name: name.as_bytes(),
            ..REQUEST
        };
        let id = request.id(&mut scratch).map(|(_, id)| id);
        assert_eq!(id, Some(text.as_bytes()).filter(|id| (1..=1024).contains(&id.len())));
    }
});
