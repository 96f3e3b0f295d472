//! Reads a body as an event stream: for an endpoint, and for a task. The result does
//! not depend on how it is cut, and is that of the whole stream.

#![no_main]

mod common;

use affinity::mcp::{BodyFormat, Watch};
use common::{agree, agree_on_endpoint, model, read_cut, URI};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    agree_on_endpoint(read_cut(Watch::Endpoint, stream, cut), model::endpoint(stream, URI));
    agree(read_cut(Watch::Task(BodyFormat::Sse), stream, cut), model::messages(stream));
});
