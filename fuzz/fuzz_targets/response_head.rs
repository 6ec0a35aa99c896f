//! A response head: another parser reads from it what was put in, whatever the values hold, or it was not written.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use portico_http::body::BodyLength;
use portico_http::date::HttpDate;
use portico_http::etag::ETag;
use portico_http::response::{Connection, ContentRange, ResponseHead, WriteError, write_end};
use portico_http::status::Status;
use std::time::{Duration, SystemTime};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    code: u16,
    body: Length,
    content_type: Option<&'a str>,
    content_range: Option<(Option<(u64, u64)>, u64)>,
    accept_ranges: bool,
    last_modified_s: Option<u32>,
    etag: Option<&'a [u8]>,
    location: Option<&'a str>,
    allow: Option<&'a str>,
    retry_after_s: Option<u32>,
    server: Option<&'a str>,
    fields: Vec<(&'a str, &'a [u8])>,
    date_s: Option<u32>,
    keep_alive: Option<bool>,
    buffer_bytes: u16,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Length {
    Unsaid,
    Bytes(u64),
    Chunked,
}

fuzz_target!(|input: Input<'_>| {
    let Some(status) = Status::from_code(input.code) else { return };
    let date = |seconds: u32| HttpDate::new(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()));
    let (last_modified, now) = (input.last_modified_s.map(date), input.date_s.map(date));
    let head = ResponseHead {
        body: match input.body {
            Length::Unsaid => BodyLength::Unsaid,
            Length::Bytes(length) => BodyLength::Length(length),
            Length::Chunked => BodyLength::Chunked,
        },
        content_type: input.content_type,
        content_range: input.content_range.map(|(part, length)| match part {
            Some((first, last)) => ContentRange::Part { first, last, length },
            None => ContentRange::Unsatisfied { length },
        }),
        accept_ranges: input.accept_ranges,
        last_modified: last_modified.as_ref(),
        etag: input.etag.and_then(ETag::parse),
        location: input.location,
        allow: input.allow,
        retry_after_s: input.retry_after_s,
        server: input.server,
        fields: &input.fields,
        date: now.as_ref(),
        connection: input.keep_alive.map(|keep| if keep { Connection::KeepAlive } else { Connection::Close }),
        ..ResponseHead::new(status)
    };

    let mut buffer = vec![0; usize::from(input.buffer_bytes)];
    let written = match head.write(&mut buffer) {
        Ok(length) => {
            buffer.truncate(length);
            buffer
        }
        Err(WriteError::DoesNotFit { needed }) => {
            assert!(needed > buffer.len());
            let mut exact = vec![0; needed];
            assert_eq!(head.write(&mut exact), Ok(needed));
            let short = head.write(&mut vec![0; needed - 1]);
            assert_eq!(short, Err(WriteError::DoesNotFit { needed }));
            exact
        }
        Err(WriteError::InvalidField) => {
            assert!(has_invalid_field(&head), "refused without a reason");
            assert_eq!(head.write(&mut vec![0; 1 << 20]), Err(WriteError::InvalidField));
            return;
        }
    };
    assert!(!has_invalid_field(&head), "wrote an invalid field");

    let mut parts = vec![0; written.len()];
    let open = head.write_open(&mut parts).expect("a part is shorter than the whole");
    let end = write_end(&mut parts[open..], head.date, head.connection)
        .expect("the parts are as long as the whole");
    assert_eq!((open + end, &parts), (written.len(), &written));
    check_parsed(&written, &head);
});

fn check_parsed(written: &[u8], head: &ResponseHead<'_>) {
    let mut storage = vec![httparse::EMPTY_HEADER; head.fields.len() + 16];
    let mut response = httparse::Response::new(&mut storage);
    assert_eq!(response.parse(written), Ok(httparse::Status::Complete(written.len())));
    assert_eq!(response.code, Some(head.status.code()));
    let expected = expected_fields(head);
    let found: Vec<(&str, &[u8])> =
        response.headers.iter().map(|header| (header.name, header.value)).collect();
    assert_eq!(found, expected.iter().map(|(name, value)| (*name, value.as_slice())).collect::<Vec<_>>());
}

fn expected_fields<'a>(head: &ResponseHead<'a>) -> Vec<(&'a str, Vec<u8>)> {
    let mut fields: Vec<(&'a str, Vec<u8>)> = Vec::new();
    let mut text = |name, value: Option<String>| fields.extend(value.map(|value| (name, value.into_bytes())));
    let without_content = matches!(head.status.code(), 100..=199 | 204 | 304);
    match head.body {
        BodyLength::Length(length) if !without_content || head.status.code() == 304 => {
            text("Content-Length", Some(length.to_string()));
        }
        BodyLength::Chunked if !without_content => text("Transfer-Encoding", Some("chunked".into())),
        _ => {}
    }
    text("Content-Type", head.content_type.map(Into::into));
    text(
        "Content-Range",
        head.content_range.map(|range| match range {
            ContentRange::Part { first, last, length } => format!("bytes {first}-{last}/{length}"),
            ContentRange::Unsatisfied { length } => format!("bytes */{length}"),
        }),
    );
    text("Accept-Ranges", head.accept_ranges.then(|| "bytes".into()));
    text("Last-Modified", head.last_modified.map(|date| date.as_str().into()));
    text("ETag", head.etag.map(|etag| etag.as_str().into()));
    text("Location", head.location.map(Into::into));
    text("Allow", head.allow.map(Into::into));
    text("Retry-After", head.retry_after_s.map(|seconds| seconds.to_string()));
    text("Server", head.server.map(Into::into));
    fields.extend(head.fields.iter().map(|(name, value)| (*name, value.to_vec())));
    let mut text = |name, value: Option<String>| fields.extend(value.map(|value| (name, value.into_bytes())));
    text("Date", head.date.map(|date| date.as_str().into()));
    text(
        "Connection",
        head.connection.map(|connection| match connection {
            Connection::Close => "close".into(),
            Connection::KeepAlive => "keep-alive".into(),
        }),
    );
    fields
}

/// RFC 9110 sections 5.1 and 5.5.
fn has_invalid_field(head: &ResponseHead<'_>) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bad_value = |value: &[u8]| {
        value.iter().any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
            || blank(value.first())
            || blank(value.last())
    };
    let texts = [head.content_type, head.location, head.allow, head.server];
    texts.into_iter().flatten().any(|text| bad_value(text.as_bytes()))
        || head
            .fields
            .iter()
            .any(|(name, value)| name.is_empty() || !name.bytes().all(token) || bad_value(value))
}
