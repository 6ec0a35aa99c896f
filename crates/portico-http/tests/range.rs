//! Ranges: a table of the rules, and the arithmetic against a model that lists the bytes.

use portico_http::conditional::Representation;
use portico_http::etag::ETag;
use portico_http::limits::Limits;
use portico_http::range::{RangeOutcome, evaluate, for_request};
use portico_http::request::{Parsed, parse};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

const WHOLE: RangeOutcome = RangeOutcome::Whole;
const UNSATISFIABLE: RangeOutcome = RangeOutcome::Unsatisfiable;

const fn partial(first: u64, last: u64) -> RangeOutcome {
    RangeOutcome::Partial { first, last }
}

#[test]
fn ranges_of_a_thousand_bytes() {
    for (range, expected) in [
        ("bytes=0-0", partial(0, 0)),
        ("bytes=0-999", partial(0, 999)),
        ("bytes=0-1000", partial(0, 999)),
        ("bytes=500-", partial(500, 999)),
        ("bytes=999-", partial(999, 999)),
        ("bytes=-1", partial(999, 999)),
        ("bytes=-1000", partial(0, 999)),
        ("bytes=-1001", partial(0, 999)),
        ("BYTES=00001-00002", partial(1, 2)),
        ("bytes=1-18446744073709551616", partial(1, 999)),
        ("bytes=-99999999999999999999999", partial(0, 999)),
        ("bytes=1000-", UNSATISFIABLE),
        ("bytes=1000-1000", UNSATISFIABLE),
        ("bytes=-0", UNSATISFIABLE),
        ("bytes=18446744073709551616-", UNSATISFIABLE),
        ("bytes=99999999999999999999-99999999999999999999", UNSATISFIABLE),
        // Ignored: malformed, another unit, or several.
        ("", WHOLE),
        ("bytes", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=5", WHOLE),
        ("bytes=2-1", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=1-b", WHOLE),
        ("bytes=--1", WHOLE),
        ("bytes=+1-2", WHOLE),
        ("bytes= 1-2", WHOLE),
        ("bytes=1 -2", WHOLE),
        ("bytes =1-2", WHOLE),
        ("bytes:1-2", WHOLE),
        ("lines=1-2", WHOLE),
        ("bytes=0-1,3-4", WHOLE),
        ("bytes=0-1,", WHOLE),
        ("bytes=-1,-2", WHOLE),
        ("bytes=1-2-3", WHOLE),
    ] {
        assert_eq!(evaluate(Some(range.as_bytes()), 1000), expected, "{range}");
    }
    assert_eq!(evaluate(None, 1000), WHOLE);
}

#[test]
fn extremes_of_length() {
    assert_eq!(evaluate(Some(b"bytes=0-"), 0), UNSATISFIABLE);
    assert_eq!(evaluate(Some(b"bytes=-0"), 0), UNSATISFIABLE);
    assert_eq!(evaluate(Some(b"bytes=-5"), 0), WHOLE);
    let last = u64::MAX - 1;
    assert_eq!(evaluate(Some(b"bytes=0-"), u64::MAX), partial(0, last));
    assert_eq!(evaluate(Some(b"bytes=18446744073709551614-"), u64::MAX), partial(last, last));
    assert_eq!(evaluate(Some(b"bytes=18446744073709551615-"), u64::MAX), UNSATISFIABLE);
}

#[test]
fn only_get_with_a_holding_if_range() {
    let modified = SystemTime::UNIX_EPOCH + Duration::new(784_111_777, 5);
    let current = Representation { etag: ETag::parse(b"\"1\""), last_modified: Some(modified) };
    let weak = Representation { etag: ETag::parse(b"W/\"1\""), last_modified: None };
    for (method, if_range, representation, expected) in [
        ("GET", "", current, partial(1, 2)),
        ("HEAD", "", current, WHOLE),
        ("PUT", "", current, WHOLE),
        ("GET", "If-Range: \"1\"\r\n", current, partial(1, 2)),
        ("GET", "If-Range: \"2\"\r\n", current, WHOLE),
        ("GET", "If-Range: W/\"1\"\r\n", current, WHOLE),
        ("GET", "If-Range: W/\"1\"\r\n", weak, WHOLE),
        ("GET", "If-Range: \"1\"\r\n", weak, WHOLE),
        ("GET", "If-Range: \"1\", \"1\"\r\n", current, WHOLE),
        ("GET", "If-Range: 1\r\n", current, WHOLE),
        ("GET", "If-Range:\r\n", current, WHOLE),
        ("GET", "If-Range: *\r\n", current, WHOLE),
        ("GET", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", current, partial(1, 2)),
        ("GET", "If-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n", current, WHOLE),
        ("GET", "If-Range: Sun, 06 Nov 1994 08:49:36 GMT\r\n", current, WHOLE),
        ("GET", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", weak, WHOLE),
    ] {
        let input = format!("{method} / HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2\r\n{if_range}\r\n");
        let Ok(Parsed::Complete(request)) = parse(input.as_bytes(), &Limits::default()) else {
            panic!("{input}")
        };
        assert_eq!(for_request(&request, &representation, 10), expected, "{method} {if_range}");
    }
}

/// The bytes that a range names, found by asking each byte.
fn model(first: Option<u64>, last: Option<u64>, length: u64) -> RangeOutcome {
    let valid = match (first, last) {
        (None, None) => false,
        (Some(first), Some(last)) => first <= last,
        _ => true,
    };
    if !valid || (length == 0 && first.is_none() && last != Some(0)) {
        return WHOLE;
    }
    let named = |byte: &u64| match (first, last) {
        (Some(first), last) => first <= *byte && last.is_none_or(|last| *byte <= last),
        (None, last) => length - byte <= last.unwrap_or(0),
    };
    let bytes: Vec<u64> = (0..length).filter(named).collect();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => partial(*first, *last),
        _ => UNSATISFIABLE,
    }
}

proptest! {
    #[test]
    fn arithmetic_as_in_the_model(first: Option<u8>, last: Option<u8>, length in 0_u64..300) {
        let (first, last) = (first.map(u64::from), last.map(u64::from));
        let text = |position: Option<u64>| position.map_or(String::new(), |position| position.to_string());
        let range = format!("bytes={}-{}", text(first), text(last));
        prop_assert_eq!(evaluate(Some(range.as_bytes()), length), model(first, last, length), "{} of {}", range, length);
    }

    #[test]
    fn a_part_is_always_within(range in "bytes=[0-9]{0,22}-[0-9]{0,22}", length: u64) {
        if let RangeOutcome::Partial { first, last } = evaluate(Some(range.as_bytes()), length) {
            prop_assert!(first <= last && last < length);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(range: Vec<u8>, length: u64) {
        evaluate(Some(&range), length);
        evaluate(Some(&[b"bytes=", &range[..]].concat()), length);
    }
}
