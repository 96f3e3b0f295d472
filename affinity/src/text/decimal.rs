//! Numbers of JSON, read digit by digit. By hand: parsers of the standard library and of crates need the
//! whole text of a number, which may be cut by buffers and has no bound.

/// The largest mantissa that surely has room for one more digit.
const PRECISE: u64 = u64::MAX / 10 - 1;

/// A number as far as it has been read: `mantissa` × 10^`scale`, and its exponent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decimal {
    negative: bool,
    mantissa: u64,
    scale: i32,
    part: Part,
    exponent: i32,
    exponent_negative: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Whole,
    Fraction,
    Exponent,
}

impl Decimal {
    /// Adds the next byte of a well-formed number.
    pub(crate) fn push(&mut self, byte: u8) {
        match (byte, self.part) {
            (b'-', Part::Exponent) => self.exponent_negative = true,
            (b'-', _) => self.negative = true,
            (b'.', _) => self.part = Part::Fraction,
            (b'e' | b'E', _) => self.part = Part::Exponent,
            (b'0'..=b'9', Part::Exponent) => {
                let digit = i32::from(byte - b'0');
                self.exponent = self.exponent.saturating_mul(10).saturating_add(digit);
            }
            (b'0'..=b'9', part) => self.digit(byte - b'0', part),
            _ => {}
        }
    }

    /// The number without its fraction, if it is not negative. A number that is too large counts as the
    /// largest.
    pub(crate) fn value(&self) -> Option<u64> {
        if self.negative {
            return None;
        }
        let exponent = if self.exponent_negative { -self.exponent } else { self.exponent };
        let mut power = self.scale.saturating_add(exponent);
        let mut value = self.mantissa;
        // At most 20 turns, after which the value is zero or the largest.
        while power > 0 && value != 0 && value != u64::MAX {
            value = value.saturating_mul(10);
            power -= 1;
        }
        while power < 0 && value != 0 {
            value /= 10;
            power += 1;
        }
        Some(value)
    }

    fn digit(&mut self, digit: u8, part: Part) {
        let kept = self.mantissa <= PRECISE;
        if kept {
            self.mantissa = self.mantissa * 10 + u64::from(digit);
        }
        match (part, kept) {
            (Part::Whole, false) => self.scale = self.scale.saturating_add(1),
            (Part::Fraction, true) => self.scale = self.scale.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<u64> {
        let mut number = Decimal::default();
        text.bytes().for_each(|byte| number.push(byte));
        number.value()
    }

    #[test]
    fn whole_numbers_in_any_notation() {
        assert_eq!(value("0"), Some(0));
        assert_eq!(value("60000"), Some(60_000));
        assert_eq!(value("6e4"), Some(60_000));
        assert_eq!(value("6E+4"), Some(60_000));
        assert_eq!(value("0.6e5"), Some(60_000));
        assert_eq!(value("600000000e-4"), Some(60_000));
        assert_eq!(value("60000.999"), Some(60_000));
        assert_eq!(value("1e-9"), Some(0));
    }

    #[test]
    fn negative_ones_have_no_value_and_absurd_ones_the_largest() {
        assert_eq!(value("-1"), None);
        assert_eq!(value("-0"), None);
        assert_eq!(value("18446744073709551615"), Some(18_446_744_073_709_551_610));
        assert_eq!(value("18446744073709551616000"), Some(u64::MAX));
        assert_eq!(value("1e999999999999"), Some(u64::MAX));
        assert_eq!(value("1e-999999999999"), Some(0));
        assert_eq!(value("0e999999999999"), Some(0));
        assert_eq!(value(&"9".repeat(100_000)), Some(u64::MAX));
        assert_eq!(value(&format!("0.{}1", "0".repeat(100_000))), Some(0));
    }

    proptest::proptest! {
        #[test]
        fn it_is_what_a_float_says(number in 0.0..1e15f64, whole in 0u64..1 << 53) {
            proptest::prop_assert_eq!(value(&number.to_string()), Some(number as u64));
            proptest::prop_assert_eq!(value(&whole.to_string()), Some(whole));
            let written = format!("{number:e}");
            let read = value(&written).unwrap() as f64;
            proptest::prop_assert!((read - number).abs() <= 1.0, "{} {}", written, read);
        }
    }
}
