//! Reads a body as an event stream: for an endpoint, and for a task. However it is cut, what is
//! learned is what the whole stream says.

#![no_main]

mod common;

use affinity::mcp::{Format, Watch};
use affinity::table::Kind;
use common::{agree, model, read_cut};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let endpoint = read_cut(Watch::Endpoint, stream, cut);
    assert_eq!(endpoint, model::endpoint(stream).map(|id| (Kind::Sse, id, None)));
    agree(read_cut(Watch::Task(Format::Sse), stream, cut), model::messages(stream));
});
