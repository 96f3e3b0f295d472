//! Reads a body as a request. Whether it is an `initialize` does not depend on how it is cut,
//! and is what serde_json says.

#![no_main]

mod common;

use affinity::mcp::InitializeReader;
use common::model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&cut, body)) = data.split_first() else {
        return;
    };
    let whole = is_initialize([body]);
    assert_eq!(is_initialize(body.chunks(1)), whole);
    assert_eq!(is_initialize(body.chunks(usize::from(cut % 32) + 2)), whole);
    let (first, second) = body.split_at(usize::from(cut).min(body.len()));
    assert_eq!(is_initialize([first, b"", second]), whole);
    if let Some(meant) = model::is_initialize(body) {
        assert_eq!(whole, meant);
    }
});

fn is_initialize<'b>(chunks: impl IntoIterator<Item = &'b [u8]>) -> bool {
    let mut reader = InitializeReader::new();
    let mut is_done = false;
    for chunk in chunks {
        let is_open = reader.feed(chunk);
        // A reader that is done stays done.
        assert!(!(is_done && is_open));
        is_done |= !is_open;
    }
    reader.is_initialize()
}
