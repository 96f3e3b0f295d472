//! Reads the headers of a request: `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name` and twice
//! `Mcp-Session-Id`, each on a line of its own. The result is that of the crate base64 and of a parsed date.

#![no_main]

mod common;

use affinity::mcp::{Id, RequestHead};
use affinity::policy::Presented;
use affinity::table::Kind;
use common::{model, REQUEST};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|head: &[u8]| {
    let mut lines = head.splitn(5, |byte| *byte == b'\n').chain([&b""[..]; 4]);
    let mut line = || lines.next().unwrap();
    let mut request = RequestHead { version: line(), method: line(), name: line(), ..REQUEST };
    let (first, second) = (line(), lines.next().filter(|line| !line.is_empty()));
    [Some(first), second].into_iter().flatten().for_each(|line| request.add_session(line));
    let trim = |line: &[u8]| {
        let text = line.iter().map(|byte| *byte as char).collect::<String>();
        text.trim_matches([' ', '\t']).chars().map(|char| char as u8).collect::<Vec<_>>()
    };

    let mut scratch = Id::new();
    let id = request.id(&mut scratch).map(|(kind, id)| (kind, id.to_vec()));
    let session = trim(first);
    let of_task = || {
        let methods = [&b"tasks/get"[..], b"tasks/update", b"tasks/cancel"];
        if !model::is_stateless(request.version) || !methods.contains(&request.method) {
            return None;
        }
        model::name(request.name).map(|id| (Kind::Task, id))
    };
    let expected = if second.is_some_and(|second| trim(second) != session) {
        assert_eq!(request.unknown(), Presented::Ambiguous);
        None
    } else if session.is_empty() {
        of_task()
    } else {
        let second = request.second_id(&mut scratch).map(|(kind, id)| (kind, id.to_vec()));
        let session = Some((Kind::Session, session));
        assert!(second.is_none() || second == session);
        assert!(of_task().is_none() || second == session);
        of_task().or(session)
    };
    assert_eq!(id, expected);
    assert_eq!(request.effects().opens(200), !model::is_stateless(request.version));

    // Any text can be encoded in base64 and read again.
    if let Ok(text) = std::str::from_utf8(request.name) {
        let name = model::name_of(text);
        let request = RequestHead {
            version: b"2026-07-28",
            method: b"tasks/get",
            name: name.as_bytes(),
            ..REQUEST
        };
        let id = request.id(&mut scratch).map(|(_, id)| id);
        assert_eq!(id, Some(text.as_bytes()).filter(|id| (1..=1024).contains(&id.len())));
    }
});
