//! Reads a body as a JSON-RPC message. The result does not depend on how it is cut,
//! and is that of serde_json.

#![no_main]

mod common;

use affinity::mcp::{BodyFormat, Watch};
use common::{agree, model, read_cut};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&cut, message)) = data.split_first() else {
        return;
    };
    agree(read_cut(Watch::Task(BodyFormat::Json), message, cut), model::message(message, false));
});
