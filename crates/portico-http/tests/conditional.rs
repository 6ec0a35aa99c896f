//! Conditional requests: the order of RFC 9110 section 13.2.2 and the comparison of validators.

use portico_http::conditional::Outcome::{self, NotModified, PreconditionFailed, Proceed};
use portico_http::conditional::{Representation, evaluate};
use portico_http::etag::{ETag, ETagList, MAX_ETAG_NUMBERS, StoredETag};
use portico_http::limits::Limits;
use portico_http::request::{Parsed, parse};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// A strong tag "1", modified within the second that `SAME` names.
fn current() -> Representation<'static> {
    let modified = SystemTime::UNIX_EPOCH + Duration::new(784_111_777, 999_999_999);
    Representation { etag: ETag::parse(b"\"1\""), last_modified: Some(modified), date_is_strong: true }
}

fn outcome(method: &str, fields: &[String], current: Option<&Representation<'_>>) -> Outcome {
    let input = format!("{method} / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", fields.join("\r\n"));
    match parse(input.as_bytes(), &Limits::default()) {
        Ok(Parsed::Complete(request)) => evaluate(&request, current),
        other => panic!("{input}: {other:?}"),
    }
}

#[test]
fn conditions_on_a_representation() {
    let table: &[(&str, &[&str], Outcome)] = &[
        ("GET", &["X: none"], Proceed),
        // Section 13.1.1: If-Match compares strongly.
        ("GET", &["If-Match: \"1\""], Proceed),
        ("PUT", &["If-Match: \"2\", \"1\""], Proceed),
        ("PUT", &["If-Match: *"], Proceed),
        ("PUT", &["If-Match: \"2\""], PreconditionFailed),
        ("PUT", &["If-Match: W/\"1\""], PreconditionFailed),
        ("GET", &["If-Match: \"2\""], PreconditionFailed),
        ("PUT", &["If-Match:"], PreconditionFailed),
        ("PUT", &["If-Match: \"2\"", "If-Match: \"1\""], Proceed),
        // Section 13.1.2: If-None-Match compares weakly.
        ("GET", &["If-None-Match: \"1\""], NotModified),
        ("HEAD", &["If-None-Match: W/\"1\""], NotModified),
        ("GET", &["If-None-Match: *"], NotModified),
        ("GET", &["If-None-Match: \"0\" ,, W/\"2\",\"1\""], NotModified),
        ("GET", &["If-None-Match: \"0\"", "If-None-Match: \"2\"", "If-None-Match: \"1\""], NotModified),
        ("GET", &["If-None-Match: \"2\""], Proceed),
        ("GET", &["If-None-Match: 1"], Proceed),
        ("GET", &["If-None-Match: \"1"], Proceed),
        ("GET", &["If-None-Match: \"0\" \"1\""], Proceed),
        ("GET", &["If-None-Match: \"x,\\\"1\\\"\""], Proceed),
        // Others' tags may have bytes above ASCII.
        ("GET", &["If-None-Match: \"é\", W/\"ü\" , \"1\""], NotModified),
        ("GET", &["If-None-Match: \"é\""], Proceed),
        ("GET", &["If-None-Match: \"é\" \"1\""], Proceed),
        ("PUT", &["If-None-Match: \"1\""], PreconditionFailed),
        ("PUT", &["If-None-Match: *"], PreconditionFailed),
        ("PUT", &["If-None-Match: \"2\""], Proceed),
        // Section 13.1.3: If-Modified-Since, for GET and HEAD.
        ("GET", &["If-Modified-Since: $BEFORE"], Proceed),
        ("GET", &["If-Modified-Since: $SAME"], NotModified),
        ("HEAD", &["If-Modified-Since: $AFTER"], NotModified),
        ("PUT", &["If-Modified-Since: $AFTER"], Proceed),
        ("GET", &["If-Modified-Since: yesterday"], Proceed),
        ("GET", &["If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT"], NotModified),
        ("GET", &["If-Modified-Since: Sun Nov  6 08:49:37 1994"], NotModified),
        ("GET", &["If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT"], NotModified),
        ("GET", &["If-Modified-Since: Sun, 06 Nov 1994 08:49:37 UTC"], Proceed),
        ("GET", &["If-Modified-Since: Sun, 31 Feb 2094 08:49:37 GMT"], Proceed),
        ("GET", &["If-Modified-Since:"], Proceed),
        // More than one date is none.
        ("GET", &["If-Modified-Since: $SAME, $SAME"], Proceed),
        ("GET", &["If-Modified-Since: $SAME", "If-Modified-Since: $SAME"], Proceed),
        // Section 13.1.4: If-Unmodified-Since.
        ("PUT", &["If-Unmodified-Since: $BEFORE"], PreconditionFailed),
        ("GET", &["If-Unmodified-Since: $BEFORE"], PreconditionFailed),
        ("PUT", &["If-Unmodified-Since: $SAME"], Proceed),
        ("PUT", &["If-Unmodified-Since: yesterday"], Proceed),
        ("PUT", &["If-Unmodified-Since: $BEFORE, $BEFORE"], Proceed),
        ("PUT", &["If-Unmodified-Since: $BEFORE", "If-Unmodified-Since: $BEFORE"], Proceed),
        // Sections 13.1.3 and 13.2.1: methods that do not read are not asked whether they would.
        ("OPTIONS", &["If-Modified-Since: $SAME"], Proceed),
        ("POST", &["If-Modified-Since: $SAME"], Proceed),
        // Section 13.2.2: a tag silences the date of its kind, and what fails comes before what is not modified.
        ("GET", &["If-None-Match: \"2\"", "If-Modified-Since: $AFTER"], Proceed),
        ("GET", &["If-None-Match: \"1\"", "If-Modified-Since: $BEFORE"], NotModified),
        ("PUT", &["If-Match: \"1\"", "If-Unmodified-Since: $BEFORE"], Proceed),
        ("PUT", &["If-Match: \"2\"", "If-Unmodified-Since: $AFTER"], PreconditionFailed),
        ("GET", &["If-None-Match: \"1\"", "If-Match: \"2\""], PreconditionFailed),
        ("GET", &["If-Modified-Since: $AFTER", "If-Unmodified-Since: $BEFORE"], PreconditionFailed),
        ("GET", &["If-Match: \"1\"", "If-None-Match: \"1\""], NotModified),
        ("GET", &["If-Match: \"1\"", "If-Modified-Since: $SAME"], NotModified),
    ];
    for (method, fields, expected) in table {
        let fields: Vec<String> = fields
            .iter()
            .map(|field| field.replace("$BEFORE", BEFORE).replace("$SAME", SAME).replace("$AFTER", AFTER))
            .collect();
        assert_eq!(outcome(method, &fields, Some(&current())), *expected, "{method} {fields:?}");
    }
}

#[test]
fn conditions_on_nothing() {
    for (method, field, expected) in [
        ("PUT", "If-Match: *".to_owned(), PreconditionFailed),
        ("PUT", "If-Match: \"1\"".to_owned(), PreconditionFailed),
        ("PUT", "If-None-Match: *".to_owned(), Proceed),
        ("PUT", "If-None-Match: \"1\"".to_owned(), Proceed),
        ("PUT", format!("If-Unmodified-Since: {BEFORE}"), Proceed),
        ("GET", format!("If-Modified-Since: {AFTER}"), Proceed),
    ] {
        assert_eq!(outcome(method, std::slice::from_ref(&field), None), expected, "{method} {field}");
    }
}

#[test]
fn a_representation_without_validators() {
    let bare = Representation::default();
    for (field, expected) in [
        ("If-Match: *".to_owned(), Proceed),
        ("If-Match: \"1\"".to_owned(), PreconditionFailed),
        ("If-None-Match: *".to_owned(), NotModified),
        ("If-None-Match: \"1\"".to_owned(), Proceed),
        (format!("If-Modified-Since: {AFTER}"), Proceed),
    ] {
        assert_eq!(outcome("GET", std::slice::from_ref(&field), Some(&bare)), expected, "{field}");
    }
}

#[test]
fn tags() {
    for valid in ["\"\"", "\"a\"", "W/\"a\"", "\"a,b\"", "\"a\\\"", "\"!#~\""] {
        assert_eq!(ETag::parse(valid.as_bytes()).map(|tag| tag.as_str()), Some(valid));
    }
    for malformed in
        ["", "a", "\"", "\"a", "a\"", "w/\"a\"", "W\"a\"", "W/", "\"a\"b", "\"a b\"", " \"a\"", "\"é\""]
    {
        assert_eq!(ETag::parse(malformed.as_bytes()), None, "{malformed}");
    }
}

/// The table of RFC 9110 section 8.8.3.2.
#[test]
fn comparison_of_tags() {
    for (left, right, strong, weak) in [
        ("W/\"1\"", "W/\"1\"", false, true),
        ("W/\"1\"", "W/\"2\"", false, false),
        ("W/\"1\"", "\"1\"", false, true),
        ("\"1\"", "\"1\"", true, true),
    ] {
        let (left, right) = (ETag::parse(left.as_bytes()).unwrap(), ETag::parse(right.as_bytes()).unwrap());
        for (left, right) in [(left, right), (right, left)] {
            assert_eq!((left.strongly_matches(&right), left.weakly_matches(&right)), (strong, weak));
        }
    }
}

#[test]
fn tags_from_numbers() {
    for (numbers, text) in [
        (&[][..], "\"\""),
        (&[0], "\"0\""),
        (&[0x5f3a, 28], "\"5f3a-1c\""),
        (
            &[u64::MAX; MAX_ETAG_NUMBERS],
            "\"ffffffffffffffff-ffffffffffffffff-ffffffffffffffff-ffffffffffffffff\"",
        ),
    ] {
        let stored = StoredETag::from_numbers(numbers);
        assert_eq!(stored.as_etag().as_str(), text);
        assert_eq!(ETag::parse(text.as_bytes()), Some(stored.as_etag()));
        if let (Some((last, rest)), 2..) = (numbers.split_last(), numbers.len()) {
            assert_eq!(StoredETag::from_numbers(rest).with_number(*last), stored);
        }
        let weak = stored.weakened();
        assert_eq!(weak.as_etag().as_str(), format!("W/{text}"));
        assert!(weak.as_etag().weakly_matches(&stored.as_etag()) && weak.weakened() == weak);
        assert!(!weak.as_etag().strongly_matches(&weak.as_etag()));
    }
}

proptest! {
    #[test]
    fn a_list_gives_its_members(tags in proptest::collection::vec("(W/)?\"[!#-~]{0,8}\"", 0..8), separator in "[ \t]?,[ \t,]{0,3}") {
        let list = tags.join(&separator);
        let read: Vec<_> = ETagList::new(list.as_bytes()).map(|tag| tag.as_str().to_owned()).collect();
        prop_assert_eq!(read, tags);
    }

    #[test]
    fn arbitrary_lists_end(list: Vec<u8>) {
        prop_assert!(ETagList::new(&list).count() <= list.len());
    }
}
