//! Ranges: a table of the rules, and the arithmetic against a model that lists the bytes.

use portico_http::conditional::Representation;
use portico_http::etag::ETag;
use portico_http::limits::Limits;
use portico_http::range::{ByteRange, MAX_RANGES, RangeOutcome, evaluate, for_request};
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
        // Lists, of which one range is left.
        ("bytes=0-1,", partial(0, 1)),
        ("bytes=, ,\t0-1 ,, ,", partial(0, 1)),
        ("bytes=-1,-2", partial(998, 999)),
        ("bytes=0-1,2-3", partial(0, 3)),
        ("bytes=2-3,0-1", partial(0, 3)),
        ("bytes=0-1,5-6,2-4", partial(0, 6)),
        ("bytes=0-,0-,0-,-1000,5-6", partial(0, 999)),
        ("bytes=0-18446744073709551615,18446744073709551615-", partial(0, 999)),
        ("bytes=1000-,7-8,-0,2000-3000", partial(7, 8)),
        ("bytes=1000-,-0,2000-3000", UNSATISFIABLE),
        // Ignored: malformed, or another unit.
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
        ("bytes=1-2-3", WHOLE),
        ("bytes=,", WHOLE),
        ("bytes= ,0-1", WHOLE),
        ("bytes=0-1;2-3", WHOLE),
        ("bytes=0-1 2-3", WHOLE),
        ("bytes=0-1,bytes=2-3", WHOLE),
        ("bytes=0-1,2-1", WHOLE),
        ("bytes=0-1,x", WHOLE),
        ("bytes=1000-,x", WHOLE),
        ("bytes=0-1,-", WHOLE),
        ("bytes=\"0-1\"", WHOLE),
        ("bytes=0-1\u{a0},2-3", WHOLE),
    ] {
        assert_eq!(evaluate(Some(range.as_bytes()), 1000), expected, "{range}");
    }
    assert_eq!(evaluate(None, 1000), WHOLE);
}

/// The ranges of an outcome, as pairs.
fn pairs(outcome: &RangeOutcome) -> Vec<(u64, u64)> {
    match outcome {
        RangeOutcome::Several(ranges) => {
            ranges.as_slice().iter().map(|range| (range.first, range.last)).collect()
        }
        RangeOutcome::Partial { first, last } => vec![(*first, *last)],
        RangeOutcome::Whole | RangeOutcome::Unsatisfiable => Vec::new(),
    }
}

#[test]
fn several_ranges_keep_their_order() {
    for (range, expected) in [
        ("bytes=0-1,3-4", &[(0, 1), (3, 4)][..]),
        ("bytes=3-4 , 0-1", &[(3, 4), (0, 1)]),
        ("bytes=-1,0-0,500-", &[(500, 999), (0, 0)]),
        ("bytes=900-,0-9,20-29,5-25", &[(900, 999), (0, 29)]),
        ("bytes=20-29,900-,0-9,5-25", &[(0, 29), (900, 999)]),
        ("bytes=0-1,1000-,-0,3-4", &[(0, 1), (3, 4)]),
        ("bytes=1-2,4-5,7-8,3-3,6-6", &[(1, 8)]),
        ("bytes=7-8,1-2,4-5,0-0", &[(7, 8), (0, 2), (4, 5)]),
    ] {
        let outcome = evaluate(Some(range.as_bytes()), 1000);
        assert_eq!(pairs(&outcome), expected, "{range}");
        if let RangeOutcome::Several(ranges) = outcome {
            assert_eq!(ranges.total_bytes(), expected.iter().map(|(first, last)| last - first + 1).sum());
        }
    }
}

#[test]
fn the_number_of_ranges_is_bounded() {
    let asked = |count: usize| {
        let members: Vec<_> = (0..count).map(|index| format!("{0}-{0}", index * 2)).collect();
        format!("bytes={}", members.join(","))
    };
    assert_eq!(pairs(&evaluate(Some(asked(MAX_RANGES).as_bytes()), 1000)).len(), MAX_RANGES);
    assert_eq!(evaluate(Some(asked(MAX_RANGES + 1).as_bytes()), 1000), WHOLE);
    // They count as they are asked for, not as they are answered.
    let same = format!("bytes={}", vec!["0-"; MAX_RANGES + 1].join(","));
    assert_eq!(evaluate(Some(same.as_bytes()), 1000), WHOLE);
    let same = format!("bytes={}", vec!["0-"; MAX_RANGES].join(",,,"));
    assert_eq!(evaluate(Some(same.as_bytes()), 1000), partial(0, 999));
}

#[test]
fn extremes_of_length() {
    assert_eq!(evaluate(Some(b"bytes=0-"), 0), UNSATISFIABLE);
    assert_eq!(evaluate(Some(b"bytes=-0"), 0), UNSATISFIABLE);
    assert_eq!(evaluate(Some(b"bytes=-5"), 0), WHOLE);
    assert_eq!(evaluate(Some(b"bytes=0-,-5"), 0), WHOLE);
    assert_eq!(evaluate(Some(b"bytes=0-,-0,7-8"), 0), UNSATISFIABLE);
    let last = u64::MAX - 1;
    assert_eq!(evaluate(Some(b"bytes=0-"), u64::MAX), partial(0, last));
    assert_eq!(evaluate(Some(b"bytes=18446744073709551614-"), u64::MAX), partial(last, last));
    assert_eq!(evaluate(Some(b"bytes=18446744073709551615-"), u64::MAX), UNSATISFIABLE);
}

#[test]
fn only_get_with_a_holding_if_range() {
    let modified = SystemTime::UNIX_EPOCH + Duration::new(784_111_777, 5);
    let current =
        Representation { etag: ETag::parse(b"\"1\""), last_modified: Some(modified), date_is_strong: true };
    let weak =
        Representation { etag: ETag::parse(b"W/\"1\""), last_modified: None, ..Representation::default() };
    let fresh = Representation { date_is_strong: false, ..current };
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
        ("GET", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", fresh, WHOLE),
        ("GET", "If-Range: Sunday, 06-Nov-94 08:49:37 GMT\r\n", current, partial(1, 2)),
        ("GET", "If-Range: \"1\"\r\n", fresh, partial(1, 2)),
    ] {
        let input = format!("{method} / HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2\r\n{if_range}\r\n");
        let Ok(Parsed::Complete(request)) = parse(input.as_bytes(), &Limits::default()) else {
            panic!("{input}")
        };
        assert_eq!(for_request(&request, &representation, 10), expected, "{method} {if_range}");
    }
}

/// The bytes that a member of a list names, found by asking each byte. None where it is malformed or has the whole sent.
fn model(first: Option<u64>, last: Option<u64>, length: u64) -> Option<Vec<bool>> {
    let valid = match (first, last) {
        (None, None) => false,
        (Some(first), Some(last)) => first <= last,
        _ => true,
    };
    if !valid || (length == 0 && first.is_none() && last != Some(0)) {
        return None;
    }
    let named = |byte: u64| match (first, last) {
        (Some(first), last) => first <= byte && last.is_none_or(|last| byte <= last),
        (None, last) => length - byte <= last.unwrap_or(0),
    };
    Some((0..length).map(named).collect())
}

/// The runs of bytes that any member names, each in the place of the first member that names one of them.
fn model_of_list(members: &[(Option<u64>, Option<u64>)], length: u64) -> Option<Vec<(u64, u64)>> {
    let members: Vec<_> =
        members.iter().map(|(first, last)| model(*first, *last, length)).collect::<Option<_>>()?;
    let named = |byte: u64| members.iter().any(|member| member[byte as usize]);
    let mut runs = Vec::new();
    let mut byte = 0;
    while byte < length {
        let first = byte;
        while byte < length && named(byte) {
            byte += 1;
        }
        if byte > first {
            runs.push((first, byte - 1));
        }
        byte += 1;
    }
    runs.sort_by_key(|(first, last)| {
        members.iter().position(|member| (*first..=*last).any(|byte| member[byte as usize]))
    });
    Some(runs)
}

proptest! {
    #[test]
    fn lists_as_in_the_model(
        members in proptest::collection::vec((any::<Option<u8>>(), any::<Option<u8>>()), 1..=MAX_RANGES),
        length in 0_u64..300,
    ) {
        let members: Vec<_> =
            members.into_iter().map(|(first, last)| (first.map(u64::from), last.map(u64::from))).collect();
        // Mostly valid ones, or few lists would be.
        let ordered = |(first, last): (Option<u64>, Option<u64>)| match (first, last) {
            (Some(first), Some(last)) if first % 32 != 0 => (Some(first.min(last)), Some(first.max(last))),
            (None, None) => (None, Some(3)),
            other => other,
        };
        let members: Vec<_> = members.into_iter().map(ordered).collect();
        let text = |position: Option<u64>| position.map_or(String::new(), |position| position.to_string());
        let written: Vec<_> =
            members.iter().map(|(first, last)| format!("{}-{}", text(*first), text(*last))).collect();
        let range = format!("bytes={}", written.join(", "));
        let outcome = evaluate(Some(range.as_bytes()), length);
        match model_of_list(&members, length) {
            None => prop_assert_eq!(outcome, WHOLE, "{} of {}", range, length),
            Some(runs) if runs.is_empty() => prop_assert_eq!(outcome, UNSATISFIABLE, "{} of {}", range, length),
            Some(runs) => {
                prop_assert_eq!(matches!(outcome, RangeOutcome::Several(_)), runs.len() > 1);
                prop_assert_eq!(pairs(&outcome), runs, "{} of {}", range, length);
            }
        }
    }

    #[test]
    fn parts_are_always_within_and_apart(
        range in "bytes=([0-9]{0,22}-[0-9]{0,22})(,[0-9]{0,22}-[0-9]{0,22}){0,5}",
        length: u64,
    ) {
        let mut parts = pairs(&evaluate(Some(range.as_bytes()), length));
        parts.sort_unstable();
        for (first, last) in &parts {
            prop_assert!(first <= last && *last < length);
            prop_assert_eq!(ByteRange { first: *first, last: *last }.length(), last - first + 1);
        }
        for neighbours in parts.windows(2) {
            prop_assert!(neighbours[0].1 + 1 < neighbours[1].0);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(range: Vec<u8>, length: u64) {
        evaluate(Some(&range), length);
        evaluate(Some(&[b"bytes=", &range[..]].concat()), length);
    }
}
