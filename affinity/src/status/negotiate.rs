//! Which rendering of the state a client wants.

/// A rendering of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For programs.
    Json,
    /// For Prometheus.
    Prometheus,
    /// For people.
    Page,
}

impl Format {
    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::Page => "text/html; charset=utf-8",
        }
    }

    /// The rendering that the argument `format` names.
    pub(super) fn named(name: &[u8]) -> Option<Format> {
        match name {
            b"json" => Some(Format::Json),
            b"prometheus" => Some(Format::Prometheus),
            b"html" => Some(Format::Page),
            _ => None,
        }
    }

    /// The rendering that a request's `Accept` prefers (RFC 9110, section 12.5.1). JSON if `Accept` has no
    /// preference or names none of them.
    pub fn accepted(accept: &[u8]) -> Format {
        let mut best = (Format::Json, 0);
        for range in accept.split(|&byte| byte == b',') {
            let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let format = match parts.next() {
                Some(b"application/json") => Format::Json,
                Some(b"text/plain") => Format::Prometheus,
                Some(b"text/html") => Format::Page,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix(b"q=")).map_or(1000, thousandths);
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }
}

/// A quality between 0 and 1 in thousandths; zero if the text is no quality.
fn thousandths(text: &[u8]) -> u32 {
    let (whole, fraction) = match text {
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        [whole] => (whole, &[][..]),
        _ => return 0,
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(10);
    let mut sum = digit(whole).map(|digit| digit * 1000);
    for (byte, unit) in fraction.iter().zip([100, 10, 1]) {
        sum = sum.and_then(|sum| Some(sum + digit(byte)? * unit));
    }
    sum.filter(|sum| *sum <= 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_prometheus_and_programs_get_their_own() {
        for (accept, format) in [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("application/json", Format::Json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Page),
            (
                "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,\
                 */*;q=0.1",
                Format::Prometheus,
            ),
            ("text/plain; version=0.0.4", Format::Prometheus),
            ("text/html;q=0.3, application/json;q=0.7", Format::Json),
            ("text/html;q=0, image/png", Format::Json),
            ("text/html;q=9, text/plain;q=0.001", Format::Prometheus),
            ("text/html;q=0.x", Format::Json),
        ] {
            assert_eq!(Format::accepted(accept.as_bytes()), format, "{accept}");
        }
    }
}
