//! HTTP dates (RFC 9110 section 5.6.7).

use std::fmt::Write;
use std::time::{Duration, SystemTime};

const LAST_SECOND: u64 = 253_402_300_799; // of the year 9999

/// A date in the preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpDate([u8; 29]);

impl HttpDate {
    /// The date of `time` without its fraction of a second. What is outside of the years 1970 to 9999 is moved to the
    /// nearest second within.
    pub fn new(time: SystemTime) -> Self {
        Self::from_second(second(time))
    }

    fn from_second(second: u64) -> Self {
        let mut text = FixedText { bytes: [b' '; 29], length: 0 };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let written = write!(text, "{}", httpdate::HttpDate::from(time));
        debug_assert!(written.is_ok() && text.length == 29, "an HTTP date has 29 bytes");
        Self(text.bytes)
    }

    /// The text, 29 bytes of ASCII.
    pub const fn as_bytes(&self) -> &[u8; 29] {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

struct FixedText {
    bytes: [u8; 29],
    length: usize,
}

impl Write for FixedText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Reads a date in any of the three forms (RFC 9110 section 5.6.7). None where it is not valid; RFC 9110 has such
/// fields ignored.
pub fn parse(text: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()
}

/// Whole seconds since 1970, within the years that an HTTP date can name: what two dates are compared by.
pub fn second(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST_SECOND)
}

/// The current date, formatted again only when the second has changed.
#[derive(Debug, Clone)]
pub struct DateCache {
    second: u64,
    date: HttpDate,
}

impl DateCache {
    /// A cache that holds the first second of 1970.
    pub fn new() -> Self {
        Self { second: 0, date: HttpDate::from_second(0) }
    }

    /// The date at `now`.
    pub fn at(&mut self, now: SystemTime) -> &HttpDate {
        let second = second(now);
        if second != self.second {
            *self = Self { second, date: HttpDate::from_second(second) };
        }
        &self.date
    }
}

impl Default for DateCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{DateCache, HttpDate, LAST_SECOND, parse};
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime};

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn the_three_forms_of_the_rfc() {
        let forms =
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
        for form in forms {
            assert_eq!(parse(form.as_bytes()), Some(at(784_111_777)), "{form}");
        }
        for wrong in
            ["", "Mon, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "784111777", "\u{fc}"]
        {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn times_outside_of_the_calendar_are_moved_inside() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(HttpDate::new(before).as_str(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(HttpDate::new(at(LAST_SECOND + 1)).as_str(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn the_cache_follows_the_clock_both_ways() {
        let mut cache = DateCache::new();
        for second in [0, 1, 1, 784_111_777, 5, 0] {
            let now = at(second) + Duration::from_millis(999);
            assert_eq!(cache.at(now), &HttpDate::new(at(second)));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(second in 0..=LAST_SECOND) {
            prop_assert_eq!(parse(HttpDate::new(at(second)).as_bytes()), Some(at(second)));
        }

        #[test]
        fn reading_never_panics(text: Vec<u8>) {
            parse(&text);
        }
    }
}
