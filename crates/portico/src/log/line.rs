//! One request as one line, in the combined format or as JSON.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::date::Date;
use crate::settings::AccessLogFormat;

/// What the access log says about one request. The texts are the bytes that the client sent: what could end a line or
/// a field is escaped, and what is very long is cut and marked with three dots.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// When the request had arrived.
    pub time: SystemTime,
    /// The client.
    pub remote: Remote,
    /// The name of the user whose password was right; empty where none was asked for.
    pub user: &'a [u8],
    /// The method; empty where no request could be made out.
    pub method: &'a [u8],
    /// The target, as it was sent.
    pub target: &'a [u8],
    /// The version, such as `HTTP/1.1`.
    pub version: &'a [u8],
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// The `Referer` field; empty where there was none.
    pub referer: &'a [u8],
    /// The `User-Agent` field; empty where there was none.
    pub user_agent: &'a [u8],
    /// From the request's arrival to the end of its answer.
    pub duration: Duration,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// At an address of the internet.
    Internet(IpAddr),
    /// At a Unix-domain socket of this machine, where it has no name. The line says `unix:`.
    Unix,
}

impl Remote {
    /// The address, where there is one.
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Internet(address) => Some(address),
            Self::Unix => None,
        }
    }
}

impl From<IpAddr> for Remote {
    fn from(address: IpAddr) -> Self {
        Self::Internet(address)
    }
}

const MOST_TOKEN_BYTES: usize = 32;
const MOST_TARGET_BYTES: usize = 2048;
const MOST_FIELD_BYTES: usize = 1024;

/// No line is longer: every byte of every text in its longest escape (`\u00HH`), and what stands between.
pub(super) const MOST_LINE_BYTES: usize =
    6 * (2 * MOST_TOKEN_BYTES + MOST_TARGET_BYTES + 3 * MOST_FIELD_BYTES) + 512;

impl AccessRecord<'_> {
    /// Appends the line, with its end.
    pub(super) fn write(&self, format: AccessLogFormat, date: &mut Date, out: &mut Vec<u8>) {
        match format {
            AccessLogFormat::Combined => self.write_combined(date, out),
            AccessLogFormat::Json => self.write_json(date, out),
        }
    }

    fn write_combined(&self, date: &mut Date, out: &mut Vec<u8>) {
        write_address(self.remote, out);
        out.extend_from_slice(b" - ");
        if self.user.is_empty() {
            out.push(b'-');
        } else {
            // No quotes stand around this one.
            escape_from(b'!', self.user, MOST_FIELD_BYTES, out);
        }
        out.extend_from_slice(b" [");
        out.extend_from_slice(date.combined(self.time).as_bytes());
        out.extend_from_slice(b"] \"");
        if self.method.is_empty() {
            out.push(b'-');
        } else {
            escape_bytes(self.method, MOST_TOKEN_BYTES, out);
            out.push(b' ');
            escape_bytes(self.target, MOST_TARGET_BYTES, out);
            out.push(b' ');
            escape_bytes(self.version, MOST_TOKEN_BYTES, out);
        }
        out.extend_from_slice(b"\" ");
        write_number(u64::from(self.status), out);
        out.push(b' ');
        if self.bytes == 0 {
            out.push(b'-');
        } else {
            write_number(self.bytes, out);
        }
        for field in [self.referer, self.user_agent] {
            out.extend_from_slice(b" \"");
            if field.is_empty() {
                out.push(b'-');
            } else {
                escape_bytes(field, MOST_FIELD_BYTES, out);
            }
            out.push(b'"');
        }
        out.push(b'\n');
    }

    fn write_json(&self, date: &mut Date, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(date.internet(self.time).as_bytes());
        let micros = self.time.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_micros());
        out.push(b'.');
        for power in [100_000, 10_000, 1_000, 100, 10, 1] {
            out.push(b'0' + (micros / power % 10) as u8);
        }
        out.extend_from_slice(b"Z\",\"remote\":\"");
        write_address(self.remote, out);
        out.push(b'"');
        for (name, text, most) in [
            ("user", self.user, MOST_FIELD_BYTES),
            ("method", self.method, MOST_TOKEN_BYTES),
            ("target", self.target, MOST_TARGET_BYTES),
            ("version", self.version, MOST_TOKEN_BYTES),
            ("referer", self.referer, MOST_FIELD_BYTES),
            ("user_agent", self.user_agent, MOST_FIELD_BYTES),
        ] {
            write_name(name, out);
            if text.is_empty() {
                out.extend_from_slice(b"null");
            } else {
                out.push(b'"');
                escape_json(text, most, out);
                out.push(b'"');
            }
        }
        let duration_us = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX);
        for (name, number) in
            [("status", u64::from(self.status)), ("bytes", self.bytes), ("duration_us", duration_us)]
        {
            write_name(name, out);
            write_number(number, out);
        }
        out.extend_from_slice(b"}\n");
    }
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_address(remote: Remote, out: &mut Vec<u8>) {
    let Remote::Internet(address) = remote else { return out.extend_from_slice(b"unix:") };
    match address.to_canonical() {
        // By hand: this is in every line, and the general formatting costs as much as the rest of it.
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                write_number(u64::from(octet), out);
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
const CUT: &[u8] = b"...";

/// Quotes, backslashes and all but visible ASCII as `\xHH`, so that a line is a line and a quote ends a field.
fn escape_bytes(text: &[u8], most: usize, out: &mut Vec<u8>) {
    escape_from(b' ', text, most, out);
}

/// The same, with `first` the lowest byte that stays as it is.
fn escape_from(first: u8, text: &[u8], most: usize, out: &mut Vec<u8>) {
    let (text, cut) = limit(text, most);
    let mut plain = 0;
    for (at, &byte) in text.iter().enumerate() {
        if (first..=b'~').contains(&byte) && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[plain..at]);
        out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        plain = at + 1;
    }
    out.extend_from_slice(&text[plain..]);
    out.extend_from_slice(cut);
}

/// As RFC 8259, section 7, has it; what is not UTF-8 becomes the replacement character.
pub(crate) fn escape_json(text: &[u8], most: usize, out: &mut Vec<u8>) {
    let (text, cut) = limit(text, most);
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut plain = 0;
        for (at, &byte) in valid.iter().enumerate() {
            let short = match byte {
                b'"' | b'\\' => Some(byte),
                0..b' ' | 0x7f => None,
                _ => continue,
            };
            out.extend_from_slice(&valid[plain..at]);
            match short {
                Some(byte) => out.extend_from_slice(&[b'\\', byte]),
                None => out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]),
            }
            plain = at + 1;
        }
        out.extend_from_slice(&valid[plain..]);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.extend_from_slice(cut);
}

/// The first bytes, never ending inside a character, and the mark where something was cut.
fn limit(text: &[u8], most: usize) -> (&[u8], &'static [u8]) {
    if text.len() <= most {
        return (text, b"");
    }
    let is_start = |at: &usize| text[*at] & 0b1100_0000 != 0b1000_0000;
    let end = (most - 3..=most).rev().find(is_start).unwrap_or(most);
    (&text[..end], CUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            time: UNIX_EPOCH + Duration::from_micros(971_186_136_000_042),
            remote: "192.0.2.7".parse::<IpAddr>().unwrap().into(),
            user: b"",
            method: b"GET",
            target: b"/index.html?q=1",
            version: b"HTTP/1.1",
            status: 200,
            bytes: 189_853,
            referer: b"http://example.com/",
            user_agent: b"curl/8.0",
            duration: Duration::from_micros(1234),
        }
    }

    fn line(format: AccessLogFormat, record: &AccessRecord<'_>) -> String {
        let mut out = Vec::new();
        record.write(format, &mut Date::default(), &mut out);
        assert!(out.len() <= MOST_LINE_BYTES);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one record is one line");
        let mut text = String::from_utf8(out).unwrap();
        assert_eq!(text.pop(), Some('\n'));
        text
    }

    fn combined(record: &AccessRecord<'_>) -> String {
        line(AccessLogFormat::Combined, record)
    }

    fn json(record: &AccessRecord<'_>) -> String {
        line(AccessLogFormat::Json, record)
    }

    #[test]
    fn a_usual_request_in_both_formats() {
        assert_eq!(
            combined(&record()),
            "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /index.html?q=1 HTTP/1.1\" 200 189853 \
             \"http://example.com/\" \"curl/8.0\""
        );
        assert_eq!(
            json(&record()),
            "{\"time\":\"2000-10-10T13:55:36.000042Z\",\"remote\":\"192.0.2.7\",\"user\":null,\"method\":\"GET\",\
             \"target\":\"/index.html?q=1\",\"version\":\"HTTP/1.1\",\"referer\":\"http://example.com/\",\
             \"user_agent\":\"curl/8.0\",\"status\":200,\"bytes\":189853,\"duration_us\":1234}"
        );
    }

    #[test]
    fn what_is_absent_is_marked() {
        let bare = AccessRecord {
            remote: "::1".parse::<IpAddr>().unwrap().into(),
            method: b"",
            target: b"",
            version: b"",
            status: 400,
            bytes: 0,
            referer: b"",
            user_agent: b"",
            duration: Duration::ZERO,
            ..record()
        };
        assert_eq!(combined(&bare), "::1 - - [10/Oct/2000:13:55:36 +0000] \"-\" 400 - \"-\" \"-\"");
        assert_eq!(
            json(&bare),
            "{\"time\":\"2000-10-10T13:55:36.000042Z\",\"remote\":\"::1\",\"user\":null,\"method\":null,\"target\":null,\
             \"version\":null,\"referer\":null,\"user_agent\":null,\"status\":400,\"bytes\":0,\"duration_us\":0}"
        );
    }

    #[test]
    fn nothing_a_client_sends_can_forge_a_line_or_a_field() {
        let hostile = b"a\"b\\c\r\n127.0.0.1 - -\x00\x1b\x7f\xff\xc3\xa9";
        let hostile = AccessRecord { target: hostile, referer: b"\"", user_agent: b"\\", ..record() };
        assert!(combined(&hostile).ends_with(
            "\"GET a\\x22b\\x5Cc\\x0D\\x0A127.0.0.1 - -\\x00\\x1B\\x7F\\xFF\\xC3\\xA9 HTTP/1.1\" 200 189853 \
             \"\\x22\" \"\\x5C\""
        ));
        assert!(json(&hostile).contains(
            "\"target\":\"a\\\"b\\\\c\\u000D\\u000A127.0.0.1 - -\\u0000\\u001B\\u007F\u{fffd}é\",\"version\""
        ));
    }

    #[test]
    fn a_user_is_one_field_whatever_the_name() {
        let user = AccessRecord { user: b"alice", ..record() };
        assert!(combined(&user).starts_with("192.0.2.7 - alice [10/Oct/2000:13:55:36 +0000] \"GET "));
        assert!(json(&user).contains("\"remote\":\"192.0.2.7\",\"user\":\"alice\",\"method\":"));
        let hostile = AccessRecord { user: b"a [b]\"\\\n\xff", ..record() };
        assert!(combined(&hostile).starts_with("192.0.2.7 - a\\x20[b]\\x22\\x5C\\x0A\\xFF [10/Oct/"));
        assert!(json(&hostile).contains("\"user\":\"a [b]\\\"\\\\\\u000A\u{fffd}\","));
    }

    #[test]
    fn an_address_is_shown_in_its_own_family() {
        let mapped =
            AccessRecord { remote: "::ffff:192.0.2.1".parse::<IpAddr>().unwrap().into(), ..record() };
        assert!(combined(&mapped).starts_with("192.0.2.1 - - "));
        let unix = AccessRecord { remote: Remote::Unix, ..record() };
        assert!(combined(&unix).starts_with("unix: - - "));
        assert!(json(&unix).contains("\"remote\":\"unix:\""));
        let all = AccessRecord { remote: "255.255.255.255".parse::<IpAddr>().unwrap().into(), ..record() };
        assert!(json(&all).contains("\"remote\":\"255.255.255.255\""));
    }

    #[test]
    fn long_texts_are_cut_and_marked() {
        let long = [b'x'; 5000];
        let record = AccessRecord { target: &long, referer: &long, user_agent: &long[..1024], ..record() };
        let line = combined(&record);
        let cut = |length: usize| format!("{}...", "x".repeat(length));
        assert!(line.contains(&format!("\"GET {} HTTP/1.1\"", cut(2048))));
        assert!(line.ends_with(&format!("\"{}\" \"{}\"", cut(1024), "x".repeat(1024))));

        let accents = "é".repeat(3000);
        let accents =
            AccessRecord { target: &accents.as_bytes()[1..], referer: accents.as_bytes(), ..record };
        assert!(json(&accents).contains(&format!("\"referer\":\"{}...\"", "é".repeat(512))));
        assert!(json(&accents).contains(&format!("\"target\":\"\u{fffd}{}...\"", "é".repeat(1023))));
    }

    #[test]
    fn the_longest_line_has_its_limit() {
        let worst = [0; 10_000];
        let worst = AccessRecord {
            remote: "1111:2222:3333:4444:5555:6666:7777:8888".parse::<IpAddr>().unwrap().into(),
            user: &worst,
            method: &worst,
            target: &worst,
            version: &worst,
            referer: &worst,
            user_agent: &worst,
            status: u16::MAX,
            bytes: u64::MAX,
            duration: Duration::MAX,
            ..record()
        };
        json(&worst);
        combined(&worst);
    }
}
