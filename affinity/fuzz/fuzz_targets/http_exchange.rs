//! Reads a response to a request of nginx's own: as it is, and as the answer to a JSON-RPC call. The
//! result does not depend on how it is cut, and is that of the model.

#![no_main]

#[path = "../../tests/common/exchange.rs"]
mod exchange;
#[path = "../../tests/common/mcp.rs"]
mod model;
#[path = "../../tests/common/http.rs"]
mod reference;

use exchange::{check, check_call};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, response)) = data.split_first() else {
        return;
    };
    let cut = usize::from(first / 2);
    check(response, cut, first % 2 == 1);
    check_call(response, cut, first % 2 == 1);
});
