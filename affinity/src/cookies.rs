//! Cookies in headers: which of several with one name count, and whether a `Set-Cookie` sets or deletes.
//!
//! By hand: crates for cookies allocate, keep one cookie of a name, and need the header as UTF-8.

/// The first cookies of one name in a request, or in a response; later ones are ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Few<'a> {
    values: [&'a [u8]; Few::MOST],
    len: usize,
}

impl<'a> Few<'a> {
    /// How many count.
    pub const MOST: usize = 4;

    /// The cookies found so far, in their order; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let found = self.values;
        found.into_iter().take(self.len)
    }

    /// Whether further lines would be ignored.
    pub fn is_full(&self) -> bool {
        self.len == Few::MOST
    }

    /// The cookies that are not `value`.
    #[must_use]
    pub fn without(&self, value: &[u8]) -> Few<'a> {
        let mut others = Few::default();
        self.iter().filter(|other| *other != value).for_each(|other| others.add(other));
        others
    }

    fn add(&mut self, value: &'a [u8]) {
        if let Some(place) = self.values.get_mut(self.len) {
            *place = value;
            self.len += 1;
        }
    }

    /// Adds the cookies of a name in a line `Cookie`. As in nginx's `$cookie_NAME`, letter case of the name
    /// is ignored.
    pub fn add_carried(&mut self, line: &'a [u8], name: &[u8]) {
        for pair in parts(line) {
            if self.is_full() {
                return;
            }
            match split(pair) {
                Some((found, value)) if found.eq_ignore_ascii_case(name) && !value.is_empty() => {
                    self.add(value);
                }
                _ => (),
            }
        }
    }

    /// Adds the cookie of a line `Set-Cookie` if it has the name, unless the line deletes it. `now`: seconds
    /// since 1970.
    pub fn add_set(&mut self, line: &'a [u8], name: &[u8], now: i64) {
        if let Some(value) = set(line, name, now) {
            self.add(value);
        }
    }
}

/// The value that a line `Set-Cookie` gives to the cookie of a name. `None` if the cookie has another name,
/// or if the line deletes it: by an empty value, `Max-Age`, or `Expires` (RFC 6265, section 5.2).
fn set<'a>(line: &'a [u8], name: &[u8], now: i64) -> Option<&'a [u8]> {
    let mut parts = parts(line);
    let (found, value) = split(parts.next()?)?;
    if !found.eq_ignore_ascii_case(name) || value.is_empty() {
        return None;
    }
    let (mut max_age, mut expires) = (None, None);
    for (attribute, text) in parts.filter_map(split) {
        if attribute.eq_ignore_ascii_case(b"max-age") {
            max_age = is_positive(text).or(max_age);
        } else if attribute.eq_ignore_ascii_case(b"expires") {
            expires = date(text).map(|date| date > now).or(expires);
        }
    }
    max_age.or(expires).unwrap_or(true).then_some(value)
}

fn parts(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b';')
}

/// Name and value of `NAME=VALUE`, without the blanks around them.
fn split(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = part.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (part.get(..equals)?, part.get(equals + 1..)?);
    Some((name.trim_ascii(), value.trim_ascii()))
}

/// Whether a number of seconds is positive; `None` if the text is no number.
fn is_positive(text: &[u8]) -> Option<bool> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| !negative && digits.iter().any(|&digit| digit != b'0'))
}

/// A date in any of the forms that browsers accept (RFC 6265, section 5.1.1), in seconds since 1970.
fn date(text: &[u8]) -> Option<i64> {
    const MONTHS: [&[u8; 3]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];

    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let is_delimiter = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b':' && *byte < 0x7f;
    for token in text.split(is_delimiter) {
        let digits = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_month =
            |name: &&[u8; 3]| token.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(*name));
        if time.is_none() && token.contains(&b':') {
            time = time_of_day(token);
        } else if day.is_none() && (1..=2).contains(&digits) {
            day = number(token.get(..digits)?);
        } else if month.is_none() && MONTHS.iter().any(is_month) {
            month = MONTHS.iter().position(is_month).map(|place| place as i64 + 1);
        } else if year.is_none() && (2..=4).contains(&digits) {
            year = number(token.get(..digits)?).map(|year| match year {
                70..=99 => year + 1900,
                0..=69 => year + 2000,
                _ => year,
            });
        }
    }
    Some(days_since_1970(year?, month?, day?) * 86_400 + time?)
}

/// Seconds of `HH:MM:SS`.
fn time_of_day(token: &[u8]) -> Option<i64> {
    let mut fields = token.split(|&byte| byte == b':').map(|field| {
        let digits = field.iter().take_while(|byte| byte.is_ascii_digit()).count();
        field.get(..digits).filter(|digits| (1..=2).contains(&digits.len())).and_then(number)
    });
    let (hours, minutes, seconds) = (fields.next()??, fields.next()??, fields.next()??);
    Some(hours * 3600 + minutes * 60 + seconds)
}

/// The number of a few digits.
fn number(digits: &[u8]) -> Option<i64> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant, `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // A year that begins in March has its leap day at the end.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28 14:00:00.
    const NOW: i64 = 1_795_874_400;

    fn carried<'a>(lines: &[&'a str]) -> Vec<&'a str> {
        let mut few = Few::default();
        lines.iter().for_each(|line| few.add_carried(line.as_bytes(), b"sid"));
        few.iter().map(|value| core::str::from_utf8(value).unwrap()).collect()
    }

    fn is_set(line: &str) -> Option<&str> {
        set(line.as_bytes(), b"sid", NOW).map(|value| core::str::from_utf8(value).unwrap())
    }

    #[test]
    fn cookies_of_the_name_are_found_in_all_lines_in_their_order() {
        assert_eq!(carried(&["sid=1"]), ["1"]);
        assert_eq!(carried(&["a=b; sid=1; c=d;sid=2", "sid=3"]), ["1", "2", "3"]);
        assert_eq!(carried(&["SID = 1 ; Sid=a=b=; sid=\"q\""]), ["1", "a=b=", "\"q\""]);
        assert_eq!(carried(&["asid=1; sid2=2; sid; =sid; ;;", ""]), [""; 0]);
    }

    #[test]
    fn only_the_first_four_that_are_not_empty_count() {
        assert_eq!(
            carried(&["sid=; sid=1; sid=2", "sid=3; sid=4; sid=5", "sid=6"]),
            ["1", "2", "3", "4"]
        );
        let many = "sid=x; ".repeat(5000);
        assert_eq!(carried(&[&many]).len(), Few::MOST);
    }

    #[test]
    fn a_set_cookie_sets_unless_it_deletes() {
        assert_eq!(is_set("sid=abc"), Some("abc"));
        assert_eq!(is_set("sid = abc ; Path=/; HttpOnly"), Some("abc"));
        assert_eq!(is_set("SID=a=b"), Some("a=b"));
        assert_eq!(is_set("sid="), None);
        assert_eq!(is_set("sid"), None);
        assert_eq!(is_set("sid2=abc"), None);
        assert_eq!(is_set("lang=de; sid=abc"), None);
        assert_eq!(is_set("sid=abc; Max-Age=0"), None);
        assert_eq!(is_set("sid=abc; max-age = -1"), None);
        assert_eq!(is_set("sid=abc; Max-Age=3600"), Some("abc"));
        assert_eq!(is_set("sid=abc; Max-Age=soon"), Some("abc"));
        assert_eq!(is_set("sid=abc; Max-Age="), Some("abc"));
        assert_eq!(is_set("sid=abc; Max-Age=99999999999999999999"), Some("abc"));
        assert_eq!(is_set("sid=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT; Max-Age=0"), None);
        assert_eq!(is_set("sid=abc; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), None);
        assert_eq!(is_set("sid=abc; Expires=Sat, 28 Nov 2026 13:59:59 GMT"), None);
        assert_eq!(is_set("sid=abc; Expires=Sat, 28 Nov 2026 14:00:01 GMT"), Some("abc"));
        assert_eq!(is_set("sid=abc; Expires=whenever"), Some("abc"));
    }

    #[test]
    fn max_age_counts_before_expires_and_the_last_of_each() {
        let past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(is_set(&format!("sid=abc; Max-Age=60; {past}")), Some("abc"));
        assert_eq!(is_set("sid=abc; Max-Age=0; Expires=Fri, 01 Jan 2100 00:00:00 GMT"), None);
        assert_eq!(is_set("sid=abc; Max-Age=0; Max-Age=60"), Some("abc"));
        assert_eq!(is_set("sid=abc; Max-Age=60; Max-Age=0"), None);
    }

    #[test]
    fn dates_are_read_as_browsers_read_them() {
        for text in [
            "Sat, 28 Nov 2026 14:00:00 GMT",
            "Saturday, 28-Nov-26 14:00:00 GMT",
            "Sat Nov 28 14:00:00 2026",
            "28 november 2026 14:0:0",
            "2026 nov 28 14:00:00",
        ] {
            assert_eq!(date(text.as_bytes()), Some(NOW), "{text}");
        }
        assert_eq!(date(b"Thu, 01-Jan-70 00:00:00 GMT"), Some(0));
        assert_eq!(date(b"Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(date(b"Thu, 31-Dec-37 23:55:55 GMT"), Some(2_145_916_555));
        for text in ["", "now", "Sat, 28 Nov 2026", "28 Nov 14:00:00", "14:00", "28 Nov 2026 14:00"]
        {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut line = Vec::new();
            for _ in 0..state % 40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                line.push(b"sid=;: -,0129aJnov\xff"[(state >> 33) as usize % 19]);
            }
            state = state.wrapping_add(7);
            let dated = [b"sid=1;expires=", &line[..]].concat();
            let mut few = Few::default();
            few.add_carried(&line, b"sid");
            few.add_set(&dated, b"sid", NOW);
            few.add_set(&line, b"sid", NOW);
            assert!(few.iter().all(|value| !value.is_empty()));
        }
    }
}
