//! Conditions and ranges of a request, against a second, simpler reading of RFC 9110 sections 13 and 14.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use portico_http::conditional::{self, Outcome, Representation};
use portico_http::date::{self, HttpDate};
use portico_http::etag::ETag;
use portico_http::limits::Limits;
use portico_http::method::Method;
use portico_http::range::{self, RangeOutcome};
use portico_http::request::{self, Parsed};
use std::time::{Duration, SystemTime};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    method: Verb,
    /// Written behind `name: ` of each field.
    fields: Vec<(Name, &'a [u8])>,
    exists: bool,
    etag: Option<&'a [u8]>,
    last_modified_s: Option<u32>,
    length_bytes: u64,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Verb {
    Get,
    Head,
    Put,
}

#[derive(Arbitrary, Debug, Clone, Copy, PartialEq)]
enum Name {
    IfMatch,
    IfNoneMatch,
    IfModifiedSince,
    IfUnmodifiedSince,
    IfRange,
    Range,
}

impl Name {
    const fn text(self) -> &'static str {
        match self {
            Self::IfMatch => "If-Match",
            Self::IfNoneMatch => "If-None-Match",
            Self::IfModifiedSince => "If-Modified-Since",
            Self::IfUnmodifiedSince => "If-Unmodified-Since",
            Self::IfRange => "If-Range",
            Self::Range => "Range",
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let head = write_head(&input);
    let Ok(Parsed::Complete(request)) = request::parse(&head, &Limits::default()) else { return };
    if request.head_length != head.len() {
        return; // A value ended the head early: it is another request.
    }
    let representation = Representation {
        etag: input.etag.and_then(ETag::parse),
        last_modified: input
            .last_modified_s
            .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())),
    };
    let current = input.exists.then_some(&representation);
    let reads = matches!(request.method, Method::Get | Method::Head);

    let outcome = conditional::evaluate(&request, current);
    if outcome == Outcome::NotModified {
        assert!(reads && input.exists, "304 to {:?}", request.method);
        assert!(request.if_none_match.is_present() || request.if_modified_since.is_some());
    }
    if outcome == Outcome::PreconditionFailed {
        let demands = request.if_match.is_present() || request.if_unmodified_since.is_some();
        assert!(demands || !reads && request.if_none_match.is_present());
    }
    if !input.exists {
        let failed = request.if_match.is_present();
        assert_eq!(outcome, if failed { Outcome::PreconditionFailed } else { Outcome::Proceed });
    }

    let expected = request.range.map_or(RangeOutcome::Whole, |value| reference(value, input.length_bytes));
    assert_eq!(range::evaluate(request.range, input.length_bytes), expected);
    let chosen = range::for_request(&request, &representation, input.length_bytes);
    assert!(chosen == RangeOutcome::Whole || request.method == Method::Get && chosen == expected);
    if request.if_range.is_none() && request.method == Method::Get {
        assert_eq!(chosen, expected);
    }

    for value in
        [request.if_modified_since, request.if_unmodified_since, request.if_range].into_iter().flatten()
    {
        if let Some(time) = date::parse(value) {
            assert_eq!(date::parse(HttpDate::new(time).as_bytes()), Some(time));
        }
    }
});

fn write_head(input: &Input<'_>) -> Vec<u8> {
    let method = match input.method {
        Verb::Get => "GET",
        Verb::Head => "HEAD",
        Verb::Put => "PUT",
    };
    let mut head = format!("{method} / HTTP/1.1\r\nHost: a\r\n").into_bytes();
    for (name, value) in &input.fields {
        head.extend_from_slice(name.text().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// RFC 9110 section 14.1.2, in numbers that cannot overflow.
fn reference(value: &[u8], length_bytes: u64) -> RangeOutcome {
    let whole = RangeOutcome::Whole;
    let Ok(text) = std::str::from_utf8(value) else { return whole };
    let Some((unit, positions)) = text.split_once('=') else { return whole };
    let Some((first, last)) = positions.split_once('-') else { return whole };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !unit.eq_ignore_ascii_case("bytes") || !digits(first) || !digits(last) || first.len() + last.len() == 0
    {
        return whole;
    }
    let length = u128::from(length_bytes);
    let number = |text: &str| {
        text.trim_start_matches('0')
            .parse::<u128>()
            .unwrap_or(if text.len() > 38 && text.bytes().any(|byte| byte != b'0') { u128::MAX } else { 0 })
    };
    let (from, to) = if first.is_empty() {
        let suffix = number(last);
        if suffix > 0 && length == 0 {
            return whole;
        }
        if suffix == 0 {
            return RangeOutcome::Unsatisfiable;
        }
        (length.saturating_sub(suffix), length - 1)
    } else {
        let from = number(first);
        let to = if last.is_empty() { u128::MAX } else { number(last) };
        // Positions above 64 bits are alike to a server that counts in 64 bits.
        if to.min(u64::MAX.into()) < from.min(u64::MAX.into()) {
            return whole;
        }
        if from >= length {
            return RangeOutcome::Unsatisfiable;
        }
        (from, to.min(length - 1))
    };
    RangeOutcome::Partial { first: from as u64, last: to as u64 }
}
