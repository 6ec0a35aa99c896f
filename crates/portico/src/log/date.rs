//! Dates in UTC, as the two formats write them. A text is kept for its second, as many records share one.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_SECONDS: u64 = 86_400;

/// A moment, taken apart. Times before 1970 count as 1970.
struct Moment {
    year: u64,
    /// From 1.
    month: usize,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    fn of(unix_seconds: u64) -> Moment {
        let (days, rest) = (unix_seconds / DAY_SECONDS, unix_seconds % DAY_SECONDS);
        // Years that begin in March put the leap day at the end, and eras of 400 years all have the same days.
        let since = days + 719_468;
        let (era, day_of_era) = (since / 146_097, since % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Moment {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month: month as usize,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }
}

/// The text of the last second that was asked for.
#[derive(Default)]
pub(crate) struct Date {
    second: Option<u64>,
    text: String,
}

impl Date {
    /// `10/Oct/2000:13:55:36 +0000`
    pub(super) fn combined(&mut self, time: SystemTime) -> &str {
        self.cached(time, |moment, text| {
            let Moment { year, month, day, hour, minute, second } = moment;
            let month = MONTHS[month - 1];
            write(text, format_args!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000"));
        })
    }

    /// `2000-10-10T13:55:36`, to which the caller adds a fraction and `Z` (RFC 3339).
    pub(crate) fn internet(&mut self, time: SystemTime) -> &str {
        self.cached(time, |moment, text| {
            let Moment { year, month, day, hour, minute, second } = moment;
            write(text, format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"));
        })
    }

    fn cached(&mut self, time: SystemTime, form: impl FnOnce(Moment, &mut String)) -> &str {
        let second = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.second != Some(second) {
            self.text.clear();
            form(Moment::of(second), &mut self.text);
            self.second = Some(second);
        }
        &self.text
    }
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = std::fmt::Write::write_fmt(text, arguments);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_have_dates() {
        let mut date = Date::default();
        // From date(1): date -u -d @SECONDS.
        for (seconds, combined) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (951_782_399, "28/Feb/2000:23:59:59 +0000"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000"),
            (971_186_136, "10/Oct/2000:13:55:36 +0000"),
            (978_307_199, "31/Dec/2000:23:59:59 +0000"),
            (1_709_164_800, "29/Feb/2024:00:00:00 +0000"),
            (1_709_251_200, "01/Mar/2024:00:00:00 +0000"),
            (4_107_542_400, "01/Mar/2100:00:00:00 +0000"),
            (253_402_300_799, "31/Dec/9999:23:59:59 +0000"),
        ] {
            assert_eq!(date.combined(UNIX_EPOCH + Duration::from_secs(seconds)), combined);
        }
        let mut date = Date::default();
        assert_eq!(date.internet(UNIX_EPOCH + Duration::from_millis(971_186_136_999)), "2000-10-10T13:55:36");
        assert_eq!(date.internet(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200 * 366 {
            let moment = Moment::of(days * DAY_SECONDS);
            assert_eq!((moment.year, moment.month, moment.day), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
            (year, month, day) = match (month, day == last) {
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }
}
