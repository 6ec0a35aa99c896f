//! Conditions and ranges of a request, against a second, simpler reading of RFC 9110 sections 13 and 14.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use portico_http::byteranges::{Boundary, Frames};
use portico_http::conditional::{self, Outcome, Representation};
use portico_http::date::{self, HttpDate};
use portico_http::etag::ETag;
use portico_http::limits::Limits;
use portico_http::method::Method;
use portico_http::range::{self, MAX_RANGES, RangeOutcome, Ranges};
use portico_http::request::{self, Parsed, Request};
use std::time::{Duration, SystemTime};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    method: Verb,
    fields: Vec<(Name, Value<'a>)>,
    current: Option<Current>,
    length: Number,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
struct Current {
    tag: Option<Tag>,
    modified: Option<Date>,
    settled: bool,
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

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Raw(&'a [u8]),
    Any,
    Tags(Vec<Tag>),
    Date(Date),
    Ranges(Vec<(Option<Number>, Option<Number>)>),
}

/// Few tags and dates, so that they meet.
#[derive(Arbitrary, Debug, Clone, Copy, PartialEq)]
struct Tag {
    weak: bool,
    b: bool,
}

#[derive(Arbitrary, Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Date(i8);

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Number {
    Small(u8),
    Large(u64),
    /// Above 64 bits where it is written; the largest length.
    Huge,
}

fuzz_target!(|input: Input<'_>| {
    let head = write_head(&input);
    let Ok(Parsed::Complete(request)) = request::parse(&head, &Limits::default()) else { return };
    if request.head_length != head.len() {
        return; // A raw value ended the head early: it is another request.
    }
    let tag = input.current.and_then(|current| current.tag).map(tag_text);
    let representation = Representation {
        etag: tag.as_ref().and_then(|tag| ETag::parse(tag.as_bytes())),
        last_modified: input.current.and_then(|current| current.modified).map(time),
        date_is_strong: input.current.is_some_and(|current| current.settled),
    };

    let outcome = conditional::evaluate(&request, input.current.is_some().then_some(&representation));
    if input.fields.iter().all(|(_, value)| !matches!(value, Value::Raw(_))) {
        assert_eq!(outcome, expected_outcome(&input));
    }
    check_outcome(&request, outcome, input.current.is_some());

    let length = length(input.length);
    let expected = request.range.map_or(Expected::Whole, |value| expected_range(value, length));
    let evaluated = range::evaluate(request.range, length);
    assert_eq!(as_expected(evaluated), expected);
    if let RangeOutcome::Several(ranges) = evaluated {
        check_frames(&ranges, length);
    }
    let holds = conditional::if_range_holds(request.if_range, &representation);
    if let Some((_, value)) = input.fields.iter().find(|field| field.0 == Name::IfRange) {
        let expected = match value {
            Value::Tags(tags) => matches!(&tags[..], [tag] if !tag.weak && current_tag(&input) == Some(tag)),
            Value::Date(date) => current_date(&input) == Some(*date) && representation.date_is_strong,
            Value::Any | Value::Ranges(_) => false,
            Value::Raw(_) => holds,
        };
        assert_eq!(holds, expected);
    }
    let honoured = request.method == Method::Get && holds;
    let chosen = range::for_request(&request, &representation, length);
    assert_eq!(chosen, if honoured { evaluated } else { RangeOutcome::Whole });

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
        let name = match name {
            Name::IfMatch => "If-Match: ",
            Name::IfNoneMatch => "If-None-Match: ",
            Name::IfModifiedSince => "If-Modified-Since: ",
            Name::IfUnmodifiedSince => "If-Unmodified-Since: ",
            Name::IfRange => "If-Range: ",
            Name::Range => "Range: ",
        };
        head.extend_from_slice(name.as_bytes());
        match value {
            Value::Raw(value) => head.extend_from_slice(value),
            Value::Any => head.push(b'*'),
            Value::Tags(tags) => {
                let tags: Vec<_> = tags.iter().copied().map(tag_text).collect();
                head.extend_from_slice(tags.join(", ").as_bytes());
            }
            Value::Date(date) => head.extend_from_slice(HttpDate::new(time(*date)).as_bytes()),
            Value::Ranges(ranges) => {
                let text = |number: &Option<Number>| number.map(digits).unwrap_or_default();
                let ranges: Vec<_> =
                    ranges.iter().map(|(first, last)| format!("{}-{}", text(first), text(last))).collect();
                head.extend_from_slice(format!("bytes={}", ranges.join(",")).as_bytes());
            }
        }
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn tag_text(tag: Tag) -> String {
    format!("{}\"{}\"", if tag.weak { "W/" } else { "" }, if tag.b { "b" } else { "a" })
}

/// Half a second late, because the fraction must not count.
fn time(date: Date) -> SystemTime {
    let seconds = 784_111_777_i64.saturating_add(date.0.into());
    SystemTime::UNIX_EPOCH + Duration::from_millis(seconds as u64 * 1000 + 500)
}

fn digits(number: Number) -> String {
    match number {
        Number::Small(number) => number.to_string(),
        Number::Large(number) => number.to_string(),
        Number::Huge => "99999999999999999999999".to_owned(),
    }
}

fn length(number: Number) -> u64 {
    match number {
        Number::Small(number) => number.into(),
        Number::Large(number) => number,
        Number::Huge => u64::MAX,
    }
}

fn current_tag<'a>(input: &'a Input<'_>) -> Option<&'a Tag> {
    input.current.as_ref().and_then(|current| current.tag.as_ref())
}

fn current_date(input: &Input<'_>) -> Option<Date> {
    input.current.and_then(|current| current.modified)
}

/// RFC 9110 section 13.2.2, step by step. A date field that occurs twice is none.
fn expected_outcome(input: &Input<'_>) -> Outcome {
    let lines = |name| input.fields.iter().filter(move |field| field.0 == name).map(|field| &field.1);
    let listed = |name, same: fn(&Tag, &Tag) -> bool| {
        lines(name).any(|value| match value {
            Value::Any => input.current.is_some(),
            Value::Tags(tags) => {
                current_tag(input).is_some_and(|current| tags.iter().any(|tag| same(tag, current)))
            }
            _ => false,
        })
    };
    let modified_after = |name| {
        let mut values = lines(name);
        match (values.next(), values.next()) {
            (Some(Value::Date(date)), None) => current_date(input).map(|modified| modified > *date),
            _ => None,
        }
    };
    let reads = !matches!(input.method, Verb::Put);

    if lines(Name::IfMatch).next().is_some() {
        if !listed(Name::IfMatch, |a, b| !a.weak && a == b) {
            return Outcome::PreconditionFailed;
        }
    } else if modified_after(Name::IfUnmodifiedSince) == Some(true) {
        return Outcome::PreconditionFailed;
    }
    if lines(Name::IfNoneMatch).next().is_some() {
        if listed(Name::IfNoneMatch, |a, b| a.b == b.b) {
            return if reads { Outcome::NotModified } else { Outcome::PreconditionFailed };
        }
    } else if reads && modified_after(Name::IfModifiedSince) == Some(false) {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// What holds of any request.
fn check_outcome(request: &Request<'_>, outcome: Outcome, exists: bool) {
    let reads = matches!(request.method, Method::Get | Method::Head);
    match outcome {
        Outcome::Proceed => {}
        Outcome::NotModified => {
            assert!(reads && exists);
            assert!(request.if_none_match.is_present() || request.if_modified_since.is_some());
        }
        Outcome::PreconditionFailed => {
            let demands = request.if_match.is_present() || request.if_unmodified_since.is_some();
            assert!(demands || !reads && request.if_none_match.is_present());
        }
    }
}

/// What a range comes to, in the model: ranges in their order, one or several.
#[derive(Debug, PartialEq)]
enum Expected {
    Whole,
    Unsatisfiable,
    Ranges(Vec<(u64, u64)>),
}

fn as_expected(outcome: RangeOutcome) -> Expected {
    match outcome {
        RangeOutcome::Whole => Expected::Whole,
        RangeOutcome::Unsatisfiable => Expected::Unsatisfiable,
        RangeOutcome::Partial { first, last } => Expected::Ranges(vec![(first, last)]),
        RangeOutcome::Several(ranges) => {
            assert!(ranges.as_slice().len() > 1);
            Expected::Ranges(ranges.as_slice().iter().map(|range| (range.first, range.last)).collect())
        }
    }
}

/// RFC 9110 sections 14.1.2 and 14.2, and two ranges that overlap or adjoin joined for as long as there are such.
fn expected_range(value: &[u8], length: u64) -> Expected {
    let set = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.split_once('='))
        .filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"))
        .map(|(_, set)| set)
        .filter(|set| !set.starts_with([' ', '\t']) && !set.ends_with([' ', '\t']));
    let members: Vec<_> = set
        .unwrap_or("")
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
        .collect();
    if members.is_empty() || members.len() > MAX_RANGES {
        return Expected::Whole;
    }
    let Some(ranges) =
        members.iter().map(|member| expected_member(member, length)).collect::<Option<Vec<_>>>()
    else {
        return Expected::Whole;
    };
    // With the place of the first member in each.
    let mut ranges: Vec<(usize, u64, u64)> = ranges
        .into_iter()
        .enumerate()
        .filter_map(|(place, range)| range.map(|(first, last)| (place, first, last)))
        .collect();
    let touch = |a: &(usize, u64, u64), b: &(usize, u64, u64)| {
        u128::from(a.1) <= u128::from(b.2) + 1 && u128::from(b.1) <= u128::from(a.2) + 1
    };
    'again: loop {
        for a in 0..ranges.len() {
            for b in a + 1..ranges.len() {
                if touch(&ranges[a], &ranges[b]) {
                    let gone = ranges.remove(b);
                    let kept = &mut ranges[a];
                    *kept = (kept.0.min(gone.0), kept.1.min(gone.1), kept.2.max(gone.2));
                    continue 'again;
                }
            }
        }
        break;
    }
    ranges.sort_unstable();
    if ranges.is_empty() {
        return Expected::Unsatisfiable;
    }
    Expected::Ranges(ranges.into_iter().map(|(_, first, last)| (first, last)).collect())
}

/// First and last byte, or none of them, that a member names; none at all where the whole is to be sent.
fn expected_member(member: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = member.split_once('-')?;
    // A position above 64 bits is behind every representation, whatever it is.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let valid = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !valid(first) || !valid(last) {
        return None;
    }
    match (first, last) {
        ("", "") => None,
        ("", suffix) => match number(suffix) {
            0 => Some(None),
            _ if length == 0 => None,
            suffix => Some(Some((length.saturating_sub(suffix), length - 1))),
        },
        (first, last) => {
            let (first, last) = (number(first), if last.is_empty() { u64::MAX } else { number(last) });
            if last < first {
                None
            } else if first >= length {
                Some(None)
            } else {
                Some(Some((first, last.min(length - 1))))
            }
        }
    }
}

/// The length that is promised for the frames is the length of what is written.
fn check_frames(ranges: &Ranges, length: u64) {
    let boundary = Boundary::new(u128::from(length));
    let frames = Frames { boundary: &boundary, content_type: Some("text/plain"), length };
    let mut room = [0; 512];
    let mut written = 0;
    for range in ranges.as_slice() {
        let part = frames.write_part_head(range, &mut room).unwrap();
        assert!(room[..part].ends_with(b"\r\n\r\n"));
        written += part;
    }
    written += frames.write_end(&mut room).unwrap();
    assert_eq!(frames.length_around(ranges), written);
    assert!(ranges.total_bytes() <= length);
}
