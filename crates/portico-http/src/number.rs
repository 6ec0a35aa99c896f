//! Numbers to and from ASCII, without allocation.

/// A number as ASCII digits, in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digits {
    bytes: [u8; 20],
    start: u8,
}

impl Digits {
    pub(crate) fn decimal(number: u64) -> Self {
        Self::new::<10>(number)
    }

    pub(crate) fn hexadecimal(number: u64) -> Self {
        Self::new::<16>(number)
    }

    /// Of a base that the compiler knows, and divides by without a division.
    fn new<const BASE: u64>(mut number: u64) -> Self {
        let mut bytes = [b'0'; 20];
        let mut start = bytes.len();
        loop {
            start -= 1;
            bytes[start] = b"0123456789abcdef"[(number % BASE) as usize];
            number /= BASE;
            if number == 0 {
                return Self { bytes, start: start as u8 };
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// What a run of decimal digits can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decimal {
    /// It fits.
    Number(u64),
    /// Digits only, but above 2^64 - 1.
    Overflow,
    /// Empty, or something else than digits.
    Malformed,
}

/// Reads digits and nothing else: no sign, no space.
pub(crate) fn parse_decimal(text: &[u8]) -> Decimal {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Decimal::Malformed;
    }
    let number = text
        .iter()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    number.map_or(Decimal::Overflow, Decimal::Number)
}

#[cfg(test)]
mod tests {
    use super::{Decimal, Digits, parse_decimal};
    use proptest::prelude::*;

    #[test]
    fn extremes() {
        assert_eq!(Digits::decimal(0).as_bytes(), b"0");
        assert_eq!(Digits::decimal(u64::MAX).as_bytes(), b"18446744073709551615");
        assert_eq!(Digits::hexadecimal(u64::MAX).as_bytes(), b"ffffffffffffffff");
        assert_eq!(parse_decimal(b"18446744073709551615"), Decimal::Number(u64::MAX));
        assert_eq!(parse_decimal(b"18446744073709551616"), Decimal::Overflow);
        for malformed in ["", "+1", "-1", " 1", "1 ", "0x1", "1,1", "\u{0661}"] {
            assert_eq!(parse_decimal(malformed.as_bytes()), Decimal::Malformed, "{malformed:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(number: u64) {
            let (decimal, hexadecimal) = (number.to_string(), format!("{number:x}"));
            assert_eq!(Digits::decimal(number).as_bytes(), decimal.as_bytes());
            assert_eq!(Digits::hexadecimal(number).as_bytes(), hexadecimal.as_bytes());
            assert_eq!(parse_decimal(decimal.as_bytes()), Decimal::Number(number));
        }
    }
}
