//! The value of `Mcp-Name`: plain, or encoded if a header field cannot hold it.

use core::str;

use base64::prelude::{Engine, BASE64_STANDARD};

use super::bounded::Id;

/// The value of a field; `None` if it is empty or its encoding is damaged. Servers answer such a field
/// with an error.
///
/// As in the SDKs (SEP-2243): `=?base64?…?=` holds UTF-8 in canonical base64 with padding, the letters of
/// the frame are in lower case, and any other text is the value itself.
pub(crate) fn decode<'s>(field: &'s [u8], scratch: &'s mut Id) -> Option<&'s [u8]> {
    let payload = field.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?="));
    let value = match payload {
        None => field,
        Some(payload) => {
            // Canonical: padding is required, and the unused bits of the last digit must be zero.
            scratch.fill(|room| BASE64_STANDARD.decode_slice(payload, room).ok());
            let value = scratch.get()?;
            str::from_utf8(value).ok()?;
            value
        }
    };
    Some(value).filter(|value| !value.is_empty())
}
