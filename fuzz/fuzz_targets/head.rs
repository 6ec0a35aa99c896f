//! A request head: the decision does not depend on how the bytes were split, and what was accepted is what RFC 9112
//! allows. The input is the bytes received; one that starts with `!` is read with narrow limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico_http::body::BodyFraming;
use portico_http::limits::{Limits, MAX_FIELDS};
use portico_http::request::{self, Parsed, Request, Version};
use portico_http::scanner::HeadScanner;

const NARROW: Limits = Limits {
    head_bytes: 96,
    fields: 3,
    target_bytes: 16,
    body_bytes: 1000,
    chunk_line_bytes: 16,
    chunk_extension_bytes: 16,
    trailer_bytes: 16,
};

fuzz_target!(|input: &[u8]| {
    let (limits, received) = match input {
        [b'!', rest @ ..] => (NARROW, rest),
        _ => (Limits::default(), input),
    };
    let whole = request::parse(received, &limits);
    check_prefixes(received, &limits, &whole);
    match whole {
        Ok(Parsed::Complete(request)) => check_request(received, &limits, &request),
        Ok(Parsed::Incomplete) => {
            assert!(received.len() < limits.head_bytes, "at the limit and still incomplete")
        }
        Err(rejection) => assert!(rejection.close, "where the next request starts is unknown: {rejection}"),
    }
});

type Outcome<'a> = Result<Parsed<'a>, portico_http::rejection::Rejection>;

/// A prefix is incomplete, or decided as the whole is; one scanner fed byte by byte says the same as a fresh one.
fn check_prefixes(received: &[u8], limits: &Limits, whole: &Outcome<'_>) {
    let mut scanner = HeadScanner::new();
    for end in 0..=received.len() {
        let prefix = &received[..end];
        let outcome = scanner.parse(prefix, limits);
        if end % 64 == 0 || outcome != Ok(Parsed::Incomplete) {
            assert_eq!(outcome, request::parse(prefix, limits), "fresh scanner, {end} bytes");
        }
        if outcome != Ok(Parsed::Incomplete) {
            assert_eq!(&outcome, whole, "{end} of {} bytes", received.len());
            return;
        }
    }
    assert_eq!(*whole, Ok(Parsed::Incomplete));
}

fn check_request(received: &[u8], limits: &Limits, request: &Request<'_>) {
    let head = &received[..request.head_length];
    assert!(head.len() <= limits.head_bytes);
    assert!(request.target.len() <= limits.target_bytes);
    assert!(head.ends_with(b"\r\n\r\n"));
    for (index, byte) in head.iter().enumerate() {
        match byte {
            0 => panic!("accepted a NUL"),
            b'\r' => assert_eq!(head.get(index + 1), Some(&b'\n'), "accepted a bare carriage return"),
            b'\n' => assert_eq!(head[index - 1], b'\r', "accepted a bare line feed"),
            _ => {}
        }
    }

    let empty_lines = head.chunks(2).take_while(|line| *line == b"\r\n").count();
    let start = 2 * empty_lines;
    let lines: Vec<&[u8]> = split_lines(&head[start..head.len() - 2]);
    let fields: Vec<(String, &[u8])> = lines[1..].iter().map(|line| split_field(line)).collect();
    assert!(fields.len() <= limits.fields.min(MAX_FIELDS));
    let named =
        |name: &str| fields.iter().filter(|field| field.0 == name).map(|field| field.1).collect::<Vec<_>>();

    for (name, _) in &fields {
        assert!(request.fields().named(name).eq(named(name)), "{name} reads differently");
    }
    let (lengths, codings) = (named("content-length"), named("transfer-encoding"));
    match request.body {
        BodyFraming::None => assert!(lengths.is_empty() && codings.is_empty()),
        BodyFraming::Length(length) => {
            assert!(codings.is_empty() && lengths.len() == 1);
            assert!(lengths[0].iter().all(u8::is_ascii_digit));
            assert_eq!(std::str::from_utf8(lengths[0]).unwrap().parse(), Ok(length));
        }
        BodyFraming::Chunked => {
            assert!(lengths.is_empty() && codings.len() == 1);
            assert!(codings[0].eq_ignore_ascii_case(b"chunked"));
            assert_eq!(request.version, Version::Http11);
        }
    }
    assert!(named("host").len() <= 1);
    assert!(request.version == Version::Http10 || named("host").len() == 1);
    let expected = format!("{} {} HTTP/1.", request.method_text, request.target);
    let minor = lines[0].strip_prefix(expected.as_bytes()).expect("another request line was read");
    let known = if request.version == Version::Http10 { b'0'..=b'0' } else { b'1'..=b'9' };
    assert!(minor.len() == 1 && known.contains(&minor[0]), "accepted another version");
}

fn split_lines(head: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> =
        head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    assert_eq!(lines.pop(), Some(&[][..]));
    lines
}

fn split_field(line: &[u8]) -> (String, &[u8]) {
    let colon = line.iter().position(|&byte| byte == b':').expect("accepted a line without a colon");
    let name = std::str::from_utf8(&line[..colon]).expect("accepted a field name that is not ASCII");
    assert!(
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()),
        "accepted the field name {name:?}"
    );
    (name.to_ascii_lowercase(), line[colon + 1..].trim_ascii())
}
