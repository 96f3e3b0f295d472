//! Reads a body as the answer to an `initialize`. What it says does not depend on how it is cut, and is what
//! serde_json says.

#![no_main]

mod common;
#[path = "../../tests/common/revive.rs"]
mod revive_model;

use affinity::mcp::BodyFormat;
use libfuzzer_sys::fuzz_target;
use revive_model::{answer, read_answer};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, body)) = data.split_first() else { return };
    for format in [BodyFormat::Json, BodyFormat::Sse] {
        let whole = read_answer(format, [body]);
        assert_eq!(read_answer(format, body.chunks(usize::from(cut % 32) + 1)), whole);
        let (first, second) = body.split_at(usize::from(cut).min(body.len()));
        assert_eq!(read_answer(format, [first, b"", second]), whole);
        let Some(found) = whole else { continue };
        let texts = match format {
            BodyFormat::Json => vec![body.to_vec()],
            BodyFormat::Sse => {
                common::model::events(body).into_iter().map(|(_, data)| data).collect()
            }
        };
        let values: Result<Vec<serde_json::Value>, _> =
            texts.iter().map(|text| serde_json::from_slice(text)).collect();
        // It reads less: no half of a surrogate pair, no number that is too large.
        let Ok(values) = values else { continue };
        let messages = values.iter().flat_map(|value| match value {
            serde_json::Value::Array(batch) => &batch[..],
            message => core::slice::from_ref(message),
        });
        assert!(messages.filter_map(answer).any(|meant| meant == found));
    }
});
