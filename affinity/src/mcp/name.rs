//! The value of `Mcp-Name`: plain, or encoded where a header field cannot hold it.

use core::str;

use base64::prelude::{Engine, BASE64_STANDARD};

use super::text::bounded::Id;

/// The value that a field stands for; nothing if it is empty or its encoding is damaged, which
/// servers answer with an error.
///
/// As the SDKs have it (SEP-2243): `=?base64?…?=` holds UTF-8 in canonical base64 with padding, the
/// frame's letters are small, and anything else stands for itself.
pub(super) fn decode<'s>(field: &'s [u8], scratch: &'s mut Id) -> Option<&'s [u8]> {
    let payload = field.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?="));
    let value = match payload {
        None => field,
        Some(payload) => {
            // Canonical: padding is needed, and what the last digit has too many of must be zero.
            scratch.fill(|room| BASE64_STANDARD.decode_slice(payload, room).ok());
            let value = scratch.get()?;
            str::from_utf8(value).ok()?;
            value
        }
    };
    Some(value).filter(|value| !value.is_empty())
}
