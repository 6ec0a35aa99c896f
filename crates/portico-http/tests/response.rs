//! Response heads: what is written is what another parser reads.

use portico_http::body::BodyLength;
use portico_http::date::HttpDate;
use portico_http::etag::ETag;
use portico_http::request::Version;
use portico_http::response::{
    CONTINUE, Connection, ContentRange, MAX_END_BYTES, ResponseHead, WriteError, write_end,
};
use portico_http::status::Status;
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

fn written(head: &ResponseHead<'_>) -> String {
    let mut output = [0; 2048];
    let length = head.write(&mut output).unwrap();
    String::from_utf8(output[..length].to_vec()).unwrap()
}

#[test]
fn every_field() {
    let date = HttpDate::new(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
    let modified = HttpDate::new(SystemTime::UNIX_EPOCH);
    let head = ResponseHead {
        body: BodyLength::Length(3),
        content_type: Some("text/html; charset=utf-8"),
        content_range: Some(ContentRange::Part { first: 0, last: 2, length: u64::MAX }),
        accept_ranges: true,
        last_modified: Some(&modified),
        etag: ETag::parse(b"W/\"1\""),
        location: Some("/a/"),
        allow: Some("GET, HEAD"),
        retry_after_s: Some(5),
        server: Some("portico"),
        fields: &[("X-Content-Type-Options", b"nosniff"), ("X-Empty", b""), ("X-Latin", b"caf\xc3\xa9")],
        date: Some(&date),
        connection: Some(Connection::KeepAlive),
        ..ResponseHead::new(Status::PARTIAL_CONTENT)
    };
    let expected = "HTTP/1.1 206 Partial Content\r\n\
        Content-Length: 3\r\n\
        Content-Type: text/html; charset=utf-8\r\n\
        Content-Range: bytes 0-2/18446744073709551615\r\n\
        Accept-Ranges: bytes\r\n\
        Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
        ETag: W/\"1\"\r\n\
        Location: /a/\r\n\
        Allow: GET, HEAD\r\n\
        Retry-After: 5\r\n\
        Server: portico\r\n\
        X-Content-Type-Options: nosniff\r\n\
        X-Empty: \r\n\
        X-Latin: café\r\n\
        Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        Connection: keep-alive\r\n\
        \r\n";
    assert_eq!(written(&head), expected);

    let mut output = [0; 2048];
    let open = head.write_open(&mut output).unwrap();
    let end = write_end(&mut output[open..], head.date, head.connection).unwrap();
    assert_eq!(&output[..open + end], expected.as_bytes(), "written in two parts");
    assert_eq!(end, MAX_END_BYTES);

    for size in 0..expected.len() {
        let mut short = vec![0; size];
        assert_eq!(head.write(&mut short), Err(WriteError::DoesNotFit { needed: expected.len() }));
    }
    let mut exact = vec![0; expected.len()];
    assert_eq!(head.write(&mut exact), Ok(expected.len()));
    assert_eq!(exact, expected.as_bytes());
}

#[test]
fn content_framing_follows_the_status() {
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (status, body, line) in [
        (Status::OK, BodyLength::Length(5), length),
        (Status::OK, BodyLength::Chunked, chunked),
        (Status::OK, BodyLength::Unsaid, ""),
        (Status::NOT_MODIFIED, BodyLength::Length(5), length),
        (Status::NOT_MODIFIED, BodyLength::Chunked, ""),
        (Status::NO_CONTENT, BodyLength::Length(5), ""),
        (Status::NO_CONTENT, BodyLength::Chunked, ""),
        (Status::CONTINUE, BodyLength::Length(5), ""),
    ] {
        let head = ResponseHead { body, ..ResponseHead::new(status) };
        assert_eq!(written(&head), format!("HTTP/1.1 {status}\r\n{line}\r\n"));
    }
    assert_eq!(written(&ResponseHead::new(Status::CONTINUE)).as_bytes(), CONTINUE);
}

#[test]
fn other_lines() {
    let unsatisfied = ResponseHead {
        content_range: Some(ContentRange::Unsatisfied { length: 7 }),
        connection: Some(Connection::Close),
        ..ResponseHead::new(Status::RANGE_NOT_SATISFIABLE)
    };
    assert_eq!(
        written(&unsatisfied),
        "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */7\r\nConnection: close\r\n\r\n"
    );
    let unnamed = ResponseHead::new(Status::from_code(599).unwrap());
    assert_eq!(written(&unnamed), "HTTP/1.1 599 \r\n\r\n");
}

#[test]
fn connection_field_by_version() {
    assert_eq!(Connection::for_version(Version::Http11, true), None);
    assert_eq!(Connection::for_version(Version::Http10, true), Some(Connection::KeepAlive));
    assert_eq!(Connection::for_version(Version::Http11, false), Some(Connection::Close));
    assert_eq!(Connection::for_version(Version::Http10, false), Some(Connection::Close));
}

#[test]
fn nothing_can_be_injected() {
    let ok = ResponseHead::new(Status::OK);
    for value in ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "\x7f", "\x1b[31m", " a", "a\t"] {
        for head in [
            ResponseHead { content_type: Some(value), ..ok },
            ResponseHead { location: Some(value), ..ok },
            ResponseHead { allow: Some(value), ..ok },
            ResponseHead { server: Some(value), ..ok },
            ResponseHead { fields: &[("X", value.as_bytes())], ..ok },
        ] {
            assert_eq!(head.write(&mut [0; 256]), Err(WriteError::InvalidField), "{value:?}");
            assert_eq!(head.write_open(&mut [0; 256]), Err(WriteError::InvalidField), "{value:?}");
            assert_eq!(head.write(&mut []), Err(WriteError::InvalidField), "whatever the space");
        }
    }
    for name in ["", "a b", "a:", "a\r\nb", "é", "a\0"] {
        let head = ResponseHead { fields: &[(name, b"")], ..ok };
        assert_eq!(head.write(&mut [0; 256]), Err(WriteError::InvalidField), "{name:?}");
    }
}

proptest! {
    #[test]
    fn another_parser_reads_what_was_written(
        code in 100_u16..600,
        length: u64,
        fields in proptest::collection::vec(("X-[A-Za-z0-9!#$%&'*+.^_`|~-]{0,12}", "([!-~]([ -~\t]{0,20}[!-~])?)?"), 0..8),
        location in proptest::option::of("/[!-~]{0,30}"),
        close: bool,
        second in 0_u64..253_402_300_800,
    ) {
        let status = Status::from_code(code).unwrap();
        let date = HttpDate::new(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        let borrowed: Vec<(&str, &[u8])> = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let head = ResponseHead {
            body: BodyLength::Length(length),
            location: location.as_deref(),
            fields: &borrowed,
            date: Some(&date),
            connection: close.then_some(Connection::Close),
            ..ResponseHead::new(status)
        };
        let mut output = [0; 2048];
        let written = head.write(&mut output).unwrap();

        let mut storage = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut storage);
        prop_assert_eq!(response.parse(&output[..written]), Ok(httparse::Status::Complete(written)));
        prop_assert_eq!((response.version, response.code, response.reason), (Some(1), Some(code), Some(status.reason())));
        let length = length.to_string();
        let mut expected: Vec<(&str, &[u8])> = Vec::new();
        if !matches!(code, 100..200 | 204) {
            expected.push(("Content-Length", length.as_bytes()));
        }
        expected.extend(location.as_ref().map(|location| ("Location", location.as_bytes())));
        expected.extend(&borrowed);
        expected.push(("Date", date.as_bytes()));
        expected.extend(close.then_some(("Connection", &b"close"[..])));
        let read: Vec<(&str, &[u8])> = response.headers.iter().map(|header| (header.name, header.value)).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn arbitrary_fields_are_refused_or_stay_one_field(name in ".{0,8}", value: Vec<u8>) {
        let fields: &[(&str, &[u8])] = &[(&name, &value)];
        let head = ResponseHead { fields, ..ResponseHead::new(Status::OK) };
        let mut output = [0; 2048];
        if let Ok(written) = head.write(&mut output) {
            let mut storage = [httparse::EMPTY_HEADER; 4];
            let mut response = httparse::Response::new(&mut storage);
            prop_assert_eq!(response.parse(&output[..written]), Ok(httparse::Status::Complete(written)));
            prop_assert_eq!(response.headers, &[httparse::Header { name: &name, value: &value }][..]);
        }
    }
}
