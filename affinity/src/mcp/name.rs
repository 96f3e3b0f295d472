//! The value of `Mcp-Name`: plain, or encoded where a header field cannot hold it.

use core::str;

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
            decode_base64(payload, scratch)?;
            let value = scratch.get()?;
            str::from_utf8(value).ok()?;
            value
        }
    };
    Some(value).filter(|value| !value.is_empty())
}

fn decode_base64(text: &[u8], out: &mut Id) -> Option<()> {
    out.clear();
    if text.len() % 4 != 0 {
        return None;
    }
    let digits = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    for group in digits.chunks(4) {
        let mut bits = 0;
        for digit in group {
            bits = bits << 6 | value_of(*digit)?;
        }
        bits <<= 6 * (4 - group.len());
        let [_, bytes @ ..] = bits.to_be_bytes();
        // The group has two digits at least. What they do not fill must be zero.
        let (decoded, rest) = bytes.split_at_checked(group.len() - 1)?;
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend(decoded);
    }
    Some(())
}

fn value_of(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}
