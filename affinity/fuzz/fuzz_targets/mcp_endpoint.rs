//! Reads the data of an `endpoint` event (first line of the input) for a stream with a URI (second line).
//! The result does not depend on how the event is cut, and is what the crate `url` resolves. The request
//! that follows is looked up by it.

#![no_main]

mod common;

use affinity::mcp::{Id, RequestHead, Watch};
use affinity::table::Kind;
use common::{model, read_of, REQUEST};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let (data, uri) = match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &b""[..]),
    };
    // A client encodes what URIs do not contain, and resolves dots.
    let is_sent = |b: &u8| b.is_ascii_alphanumeric() || b"-._~/?&=;%:@!$()*+,".contains(b);
    let mut uri: String = uri.iter().filter(|b| is_sent(b)).map(|b| *b as char).collect();
    uri.insert(0, '/');
    if data.contains(&b'\r') {
        return;
    }
    let event = [b"event:endpoint\ndata: ", data, b"\n\n"].concat();
    let learned = read_of(Watch::Endpoint, &event, uri.as_bytes());
    for cut in 0..=event.len() {
        let (first, second) = event.split_at(cut);
        let chunks = [first, second];
        assert_eq!(common::read(Watch::Endpoint, chunks, uri.as_bytes()), learned, "cut at {cut}");
    }
    let meant = model::reference(data, &uri);
    match (&learned, &meant) {
        (_, model::Endpoint::Beyond) => {}
        (None, model::Endpoint::None) => {}
        (Some((Kind::Sse, id, None)), model::Endpoint::Id(meant)) => {
            assert_eq!(id, meant);
        }
        (Some((Kind::Sse, id, None)), model::Endpoint::Target(meant)) => {
            assert_eq!(id, meant);
            // A request with this target is looked up by it first.
            let request = RequestHead { target: id, ..REQUEST };
            assert_eq!(request.id(&mut Id::new()), Some((Kind::Sse, &id[..])));
        }
        _ => panic!("{learned:?} for {meant:?}"),
    }
});
