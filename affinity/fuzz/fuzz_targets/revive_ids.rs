//! Reads a body as that of a client's POST, and as a stream of a server. The answers and the requests in it do
//! not depend on how it is cut; none is missed that serde_json finds.

#![no_main]

mod common;
#[path = "../../tests/common/revive.rs"]
mod revive_model;

use libfuzzer_sys::fuzz_target;
use revive_model::{check_body, is_beyond, messages, read_body, read_requests, Message};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, text)) = data.split_first() else { return };
    let cut = usize::from(cut % 32) + 1;
    let (whole, pieces) = (read_body([text]), read_body(text.chunks(cut)));
    check_body(&whole, text);
    assert_eq!(whole.is_answer(), pieces.is_answer());
    assert_eq!(whole.may_be_sent(|_| true), pieces.may_be_sent(|_| true));
    let found = read_requests([text]);
    assert_eq!(read_requests(text.chunks(cut)), found);
    for (kind, data) in common::model::events(text) {
        if is_beyond(&data) || !kind.is_empty() && kind != b"message" {
            continue;
        }
        for message in messages(&data).unwrap_or_default() {
            if let Message::Request(Some(id)) = message {
                assert!(found.contains(&id));
            }
        }
    }
});
