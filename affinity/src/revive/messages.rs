//! The messages that nginx sends to revive a session.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The notification behind an `initialize`.
pub const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Ids of pings are these and a random number of 32 bits. All are above the ids that clients count up, and
/// below 2^53: servers keep the id of a request that they work at, and a number may be a double there.
const PING_IDS: u64 = 0x1d_7e57 << 32;

const _: () = assert!(PING_IDS + (u32::MAX as u64) < 1 << 53);

/// The members of an `initialize` that matter. One that is there twice makes the message unfit: parsers differ
/// in which of the two they take.
#[derive(Deserialize)]
struct Message<'t> {
    #[serde(borrow)]
    jsonrpc: Cow<'t, str>,
    #[serde(borrow)]
    id: &'t RawValue,
    #[serde(borrow)]
    method: Cow<'t, str>,
    #[serde(borrow)]
    params: &'t RawValue,
}

#[derive(Deserialize)]
struct Params<'t> {
    #[serde(borrow, rename = "protocolVersion")]
    version: &'t RawValue,
}

/// The body of an `initialize`, with another version of the protocol in its parameters. All other bytes stay.
/// None if the body is not one message `initialize`; a session that such a body opened cannot be revived.
pub fn initialize(body: &[u8], version: &str) -> Option<Vec<u8>> {
    let text = core::str::from_utf8(body).ok()?;
    let message: Message = object(text)?;
    let has_id = message.id.get().starts_with(|first: char| first != 'n');
    if message.jsonrpc != "2.0" || message.method != "initialize" || !has_id {
        return None;
    }
    let params: Params = object(message.params.get())?;
    let value = params.version.get();
    if !value.starts_with('"') {
        return None;
    }
    // A raw value borrows from the text.
    let start = value.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let (before, rest) = text.split_at_checked(start)?;
    let after = rest.get(value.len()..)?;
    let mut out = Vec::new();
    out.try_reserve_exact(before.len() + version.len() + 2 + after.len()).ok()?;
    for part in [before, "\"", version, "\"", after] {
        out.extend_from_slice(part.as_bytes());
    }
    Some(out)
}

/// A `ping` and its id. `random` is any number.
pub fn ping(random: u32) -> (u64, String) {
    let id = PING_IDS | u64::from(random);
    (id, format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#))
}

/// The members of an object. Without the check serde would read those of an array, by their order.
fn object<'t, T: Deserialize<'t>>(text: &'t str) -> Option<T> {
    serde_json::from_str(text).ok().filter(|_| text.trim_ascii_start().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(body: &str) -> Option<String> {
        initialize(body.as_bytes(), "2025-03-26").map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn only_the_version_changes() {
        let body = |version: &str| {
            format!(
                " {{\"params\" : {{\"x\":\"é\\u0041\", \"protocolVersion\":\t{version} ,\"y\":1e5}},\
                 \"method\":\"initialize\",\"id\":\"a\",\"jsonrpc\":\"2.0\",\"_meta\":[1, 2]}}\r\n"
            )
        };
        let expected = body("\"2025-03-26\"");
        assert_eq!(replaced(&body("\"2025-11-25\"")), Some(expected.clone()));
        assert_eq!(replaced(&body("\"2025-\\u00311-25\"")), Some(expected.clone()));
        assert_eq!(replaced(&body("\"\"")), Some(expected));
    }

    #[test]
    fn what_is_no_single_initialize_has_no_other() {
        let message = |members: &str, params: &str| {
            format!(r#"{{"jsonrpc":"2.0",{members}"params":{params}}}"#)
        };
        let (method, version) = (r#""id":0,"method":"initialize","#, r#"{"protocolVersion":"x"}"#);
        assert!(replaced(&message(method, version)).is_some());
        for body in [
            message(r#""id":0,"method":"ping","#, version),
            message(r#""method":"initialize","#, version),
            message(r#""id":null,"method":"initialize","#, version),
            message(method, "{}"),
            message(method, r#"{"protocolVersion":1}"#),
            message(method, r#"{"protocolVersion":"x","protocolVersion":"y"}"#),
            message(method, r#"["x"]"#),
            message(r#""id":0,"method":"initialize","method":"ping","#, version),
            message(method, r#"{},"params":{"protocolVersion":"x"}"#),
            format!("[{}]", message(method, version)),
            format!("{} {}", message(method, version), message(method, version)),
            message(method, version).replace("2.0", "1.0"),
            String::from(r#"["2.0",0,"initialize",{"protocolVersion":"x"}]"#),
            String::from("{"),
            String::new(),
        ] {
            assert_eq!(replaced(&body), None, "{body}");
        }
    }

    #[test]
    fn a_ping_has_an_id_that_no_client_counts_up_to() {
        for random in [0, 7, u32::MAX] {
            let (id, text) = ping(random);
            assert!((1 << 50..1 << 53).contains(&id));
            let message: serde_json::Value = serde_json::from_str(&text).unwrap();
            let expected = serde_json::json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
            assert_eq!(message, expected);
        }
        let notification: serde_json::Value = serde_json::from_slice(INITIALIZED).unwrap();
        let expected = serde_json::json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(notification, expected);
    }
}
