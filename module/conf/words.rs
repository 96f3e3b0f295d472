//! Parameters of a directive: duplicates, choices, times.

use affinity::table::Span;
use nginx_sys::ngx_parse_time;

use crate::nginx::conf::{fail, Conf, Logged, Word};

/// The longest time of a parameter (milliseconds): four years. A longer one could look like the past to the
/// table's clock.
pub const MAX_TIME: u64 = 4 * 365 * 24 * 3600 * 1000;

/// The name, in lower case, of the variable that a text is: `$NAME` or `${NAME}` and nothing else.
pub(super) fn only_variable(text: &[u8]) -> Option<Vec<u8>> {
    let name = text.strip_prefix(b"$")?;
    let name = match name.strip_prefix(b"{") {
        Some(braced) => braced.strip_suffix(b"}")?,
        None => name,
    };
    let is_name = name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| name.to_ascii_lowercase())
}

/// Reads a parameter into its slot; a second one is an error.
pub fn once<T>(
    cf: &mut Conf<'_>,
    name: &str,
    slot: &mut Option<T>,
    read: impl FnOnce(&mut Conf<'_>) -> Result<T, Logged>,
) -> Result<(), Logged> {
    if slot.is_some() {
        fail!(cf, "duplicate \"{name}\" parameter");
    }
    *slot = Some(read(cf)?);
    Ok(())
}

/// Reads a time in nginx's units, longer than zero.
pub fn read_time(cf: &mut Conf<'_>, name: &str, text: Word) -> Result<Span, Logged> {
    // SAFETY: nginx only reads the string, which lives as long as the configuration.
    let milliseconds = unsafe { ngx_parse_time(&mut text.raw(), 0) };
    match u64::try_from(milliseconds) {
        Ok(0) => fail!(cf, "\"{name}\" must be longer than zero"),
        Ok(ms) if ms <= MAX_TIME => Ok(Span::from_millis(ms)),
        Ok(_) => fail!(cf, "\"{name}={text}\" is too long, at most 4 years are possible"),
        Err(_) => fail!(cf, "invalid time \"{name}={text}\""),
    }
}

/// The value that belongs to one of the allowed words.
pub(super) fn choose<T: Copy>(
    cf: &mut Conf<'_>,
    name: &str,
    text: Word,
    choices: &[(&str, T)],
) -> Result<T, Logged> {
    for (word, value) in choices {
        if text.as_bytes() == word.as_bytes() {
            return Ok(*value);
        }
    }
    let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    fail!(cf, "invalid value \"{name}={text}\", it must be {}", words.join(" or "));
}
