//! Request heads: one row for each rule, and the invariance of every decision under splitting.

use portico_http::body::BodyFraming;
use portico_http::limits::Limits;
use portico_http::method::Method;
use portico_http::rejection::Rejection;
use portico_http::request::{Parsed, Request, TargetForm, Version, parse};
use portico_http::scanner::HeadScanner;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits { head_bytes: 512, fields: 8, target_bytes: 64, ..Limits::default() }
}

fn request(input: &[u8]) -> Request<'_> {
    match parse(input, &limits()) {
        Ok(Parsed::Complete(request)) => request,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(input)),
    }
}

fn refused(input: &[u8]) -> Rejection {
    match parse(input, &limits()) {
        Err(rejection) => rejection,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(input)),
    }
}

/// A GET with these field lines, each to be given with its line end.
fn with_fields(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

const REFUSED: &[(u16, &str, &[u8])] = &[
    // RFC 9112 section 2.2: line ends and what precedes the request line.
    (400, "bare line feed after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    (400, "bare line feed after a field", b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    (400, "bare line feed as the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    (400, "bare line feed before the request line", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "bare carriage return in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
    (400, "bare carriage return before the request line", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "two carriage returns", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    (400, "bare line feed behind an empty line", b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "space behind an empty line", b"\r\n GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "space before the request line", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "white space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    (400, "tab before the first field", b"GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n"),
    // RFC 9112 section 3: the request line.
    (400, "no method", b"/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "method is no token", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "method above ASCII", b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "TLS", b"\x16\x03\x01\x02\x00\x01\x00"),
    (501, "endless method", b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    (400, "tab after the method", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "two spaces after the method", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "two spaces after the target", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "tab in the target", b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "no version", b"GET /\r\n\r\n"),
    (400, "space after the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    (400, "version in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    (400, "version is no version", b"GET / HTTP/1.\r\nHost: a\r\n\r\n"),
    (400, "version with more digits", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    (505, "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (505, "HTTP/2 in the form of HTTP/1", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (400, "HTTP/1.2 without Host", b"GET / HTTP/1.2\r\n\r\n"),
    (400, "HTTP/1.2 with a folded line", b"GET / HTTP/1.2\r\nHost: a\r\n b\r\n\r\n"),
    (400, "HTTP/1.2 with white space before the first field", b"GET / HTTP/1.2\r\n Host: a\r\n\r\n"),
    (400, "HTTP/1.2 with a space before the colon", b"GET / HTTP/1.2\r\nHost : a\r\n\r\n"),
    (400, "HTTP/1.2 with NUL in a value", b"GET / HTTP/1.2\r\nHost: a\r\nX: \0\r\n\r\n"),
    (400, "HTTP/1.2 with a target above ASCII", b"GET /\xff HTTP/1.2\r\nHost: a\r\n\r\n"),
    (505, "HTTP/0.9 with a version", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    // RFC 9112 section 3.2: target forms.
    (400, "NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "target above ASCII", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "target is not UTF-8", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "fragment in the target", b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "angle bracket in the target", b"GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "quote in the target", b"GET /\" HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "relative target", b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "query without a path", b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "asterisk for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "absolute target without a host", b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "absolute target with a user", b"GET http://me@b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "absolute target of another scheme", b"GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "CONNECT without a port", b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "CONNECT to a path", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "authority for GET", b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    // RFC 9112 section 5: field lines.
    (400, "space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    (400, "tab before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n"),
    (400, "folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    (400, "folded empty value", b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\tb\r\n\r\n"),
    (400, "empty field name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    (400, "line without a colon", b"GET / HTTP/1.1\r\nHost: a\r\nabc\r\n\r\n"),
    (400, "field name is no token", b"GET / HTTP/1.1\r\nHost: a\r\nX(Y: a\r\n\r\n"),
    (400, "field name above ASCII", b"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa9: a\r\n\r\n"),
    (400, "NUL in a field name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n"),
    (400, "NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
    (400, "escape in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[0m\r\n\r\n"),
    (400, "DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"),
    // RFC 9112 section 3.2: Host.
    (400, "no Host", b"GET / HTTP/1.1\r\n\r\n"),
    (400, "no Host beside an absolute target", b"GET http://a/ HTTP/1.1\r\n\r\n"),
    (400, "empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    (400, "Host of white space", b"GET / HTTP/1.1\r\nHost: \t \r\n\r\n"),
    (400, "two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (400, "the same Host twice", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
    (400, "two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
    (400, "Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (400, "Host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, "Host with a bad port", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    (400, "Host with a user", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    (400, "Host above ASCII", b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n"),
    (400, "bad Host beside an absolute target", b"GET http://a/ HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    // RFC 9112 section 6: framing.
    (400, "length with a sign", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"),
    (400, "negative length", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    (400, "hexadecimal length", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n"),
    (400, "length with a space", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n"),
    (400, "empty length", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    (400, "list of lengths", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"),
    (
        400,
        "same length twice",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    ),
    (400, "two lengths", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    (400, "length overflows", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    (
        400,
        "length and chunked",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        400,
        "chunked and length",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    ),
    (400, "chunked in HTTP/1.0", b"PUT / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (400, "gzip only", b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
    (400, "chunked before gzip", b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
    (400, "chunked twice", b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
    (400, "not quite chunked", b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
    (400, "quoted chunked", b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n"),
    (
        400,
        "vertical tab before chunked",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
    ),
    (400, "no coding", b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    (501, "gzip, then chunked", b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    (
        400,
        "two lines of codings",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    ),
    // RFC 9110: other fields.
    (417, "unknown expectation", b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n"),
    (400, "Range twice", b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-\r\nRange: bytes=1-\r\n\r\n"),
];

#[test]
fn every_rule_refuses() {
    for (status, rule, input) in REFUSED {
        let rejection = refused(input);
        assert_eq!(rejection.status.code(), *status, "{rule}: {rejection}");
        assert!(rejection.close, "{rule}: the next request cannot be found");
    }
}

/// The smallest piece that shows the fault is enough: a client is not waited for.
#[test]
fn garbage_is_refused_at_once() {
    for (status, input) in [(400, &b"\x16"[..]), (400, b"{"), (400, b"\n"), (400, b"\r\r"), (400, b"GET /\r")]
    {
        assert_eq!(refused(input).status.code(), status, "{input:?}");
    }
}

#[test]
fn limits_are_inclusive_and_named() {
    let target =
        |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length - 1)).into_bytes();
    assert_eq!(request(&target(64)).target.len(), 64);
    assert_eq!(refused(&target(65)).status.code(), 414);
    assert_eq!(refused(&target(65)[..70]).status.code(), 414);
    assert_eq!(parse(&target(65)[..4 + 64], &limits()), Ok(Parsed::Incomplete));

    let fields = |count: usize| with_fields(&"X: y\r\n".repeat(count - 1));
    request(&fields(8));
    assert_eq!(refused(&fields(9)).status.code(), 431);
    let without = Limits { fields: usize::MAX, head_bytes: 4096, ..limits() };
    assert_eq!(parse(&fields(129), &without).unwrap_err().status.code(), 431);

    let head = |length: usize| {
        let empty = with_fields("X: \r\n").len();
        with_fields(&format!("X: {}\r\n", "y".repeat(length - empty)))
    };
    assert_eq!(request(&head(512)).head_length, 512);
    assert_eq!(refused(&head(513)).status.code(), 431);
    // Nothing that follows could still make it fit, and the caller may have no room for one more byte.
    assert_eq!(refused(&head(513)[..512]).status.code(), 431);
    assert_eq!(parse(&head(513)[..511], &limits()), Ok(Parsed::Incomplete));
    let mut followed = head(512);
    followed.extend_from_slice(b"the body");
    assert_eq!(request(&followed).head_length, 512);
}

#[test]
fn a_browsers_request() {
    let input = b"GET /a/b.html?c=d HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: Mozilla/5.0\r\n\
        Referer:http://localhost:8080/\r\nIf-None-Match: \"1\"\r\nX-Empty:\r\nX-Latin: \xe9\t\r\n\r\nGET /next";
    let request = request(input);
    assert_eq!(&input[request.head_length..], b"GET /next");
    assert_eq!((request.method, request.method_text), (Method::Get, "GET"));
    assert_eq!((request.target, request.target_form), ("/a/b.html?c=d", TargetForm::Origin));
    assert_eq!((request.version, request.host), (Version::Http11, "localhost:8080"));
    assert_eq!(request.body, BodyFraming::None);
    assert!(request.keep_alive && !request.expect_continue);
    assert_eq!(request.user_agent, Some(&b"Mozilla/5.0"[..]));
    assert_eq!(request.referer, Some(&b"http://localhost:8080/"[..]));
    assert!(request.if_none_match.is_present() && !request.if_match.is_present());
    assert_eq!(request.field("x-EMPTY"), Some(&b""[..]));
    assert_eq!(request.field("x-latin"), Some(&b"\xe9"[..]));
    assert_eq!(request.field("x"), None);
    let names: Vec<_> = request.fields().map(|(name, _)| name).collect();
    assert_eq!(names, ["Host", "User-Agent", "Referer", "If-None-Match", "X-Empty", "X-Latin"]);
}

#[test]
fn lists_go_over_several_lines() {
    let input =
        with_fields("If-None-Match: \"1\"\r\nX: y\r\nif-none-match:\r\nIF-NONE-MATCH: \"2\", \"3\"\r\n");
    let request = request(&input);
    let values: Vec<_> = request.if_none_match.values().collect();
    assert_eq!(values, [&b"\"1\""[..], b"", b"\"2\", \"3\""]);
    assert_eq!(request.if_match.values().count(), 0);
}

#[test]
fn methods_are_case_sensitive() {
    for (text, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("OPTIONS", Method::Options),
        ("DELETE", Method::Other),
        ("get", Method::Other),
        ("M-SEARCH", Method::Other),
    ] {
        let input = format!("{text} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((request(input.as_bytes()).method, request(input.as_bytes()).method_text), (method, text));
    }
}

#[test]
fn target_forms_and_the_host_that_counts() {
    for (line, form, host) in [
        ("GET /", TargetForm::Origin, "field"),
        ("GET //b/c", TargetForm::Origin, "field"),
        ("GET /a|b{c}^`[d]'?e\\f", TargetForm::Origin, "field"),
        ("GET http://target:1/a?b", TargetForm::Absolute, "target:1"),
        ("GET HTTPS://target", TargetForm::Absolute, "target"),
        ("GET http://[::1]?a/b", TargetForm::Absolute, "[::1]"),
        ("OPTIONS *", TargetForm::Asterisk, "field"),
        ("CONNECT target:443", TargetForm::Authority, "target:443"),
    ] {
        let input = format!("{line} HTTP/1.1\r\nHost: field\r\n\r\n");
        let request = request(input.as_bytes());
        assert_eq!((request.target_form, request.host), (form, host), "{line}");
    }
    assert_eq!(request(b"GET http://target/ HTTP/1.1\r\nHost:\r\n\r\n").host, "target");
    assert_eq!(request(b"GET / HTTP/1.0\r\n\r\n").host, "");
}

#[test]
fn empty_lines_before_the_request_line_are_ignored() {
    for count in [1, 2, 7] {
        let input = ["\r\n".repeat(count).as_str(), "GET /a HTTP/1.1\r\nHost: b\r\nX: y\r\n\r\n"].concat();
        let read = request(input.as_bytes());
        assert_eq!((read.head_length, read.target, read.host), (input.len(), "/a", "b"), "{count}");
        assert_eq!(read.field("x"), Some(&b"y"[..]), "{count}");
        assert_split_invariant(input.as_bytes(), 0..input.len());
    }
    let endless = "\r\n".repeat(limits().head_bytes);
    assert_eq!(refused(endless.as_bytes()).status.code(), 431);
}

#[test]
fn later_minor_versions_are_read_as_the_latest_known() {
    for minor in 2..=9 {
        let fields = "Host: a\r\nTransfer-Encoding: chunked\r\nX:\ty \r\n\r\n";
        let input = format!("\r\nPUT /b?c HTTP/1.{minor}\r\n{fields}");
        let known = format!("\r\nPUT /b?c HTTP/1.1\r\n{fields}");
        assert_eq!(
            format!("{:?}", request(input.as_bytes())),
            format!("{:?}", request(known.as_bytes())),
            "HTTP/1.{minor}"
        );
        assert_split_invariant(input.as_bytes(), 0..input.len());
    }
    let many = format!("GET / HTTP/1.2\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(limits().fields));
    assert_eq!(refused(many.as_bytes()).status.code(), 431);
}

#[test]
fn body_framing() {
    for (fields, framing) in [
        ("", BodyFraming::None),
        ("Content-Length: 0\r\n", BodyFraming::Length(0)),
        ("content-length: 007\r\n", BodyFraming::Length(7)),
        ("CONTENT-LENGTH:\t18446744073709551615 \r\n", BodyFraming::Length(u64::MAX)),
        ("Transfer-Encoding: chunked\r\n", BodyFraming::Chunked),
        ("transfer-encoding: CHUNKED \r\n", BodyFraming::Chunked),
    ] {
        assert_eq!(request(&with_fields(fields)).body, framing, "{fields}");
    }
}

#[test]
fn keep_alive() {
    for (version, fields, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Upgrade , CLOSE\r\n", false),
        ("1.1", "Connection: close, keep-alive\r\n", false),
        ("1.1", "Connection: upgrade\r\nConnection: ,close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(request(input.as_bytes()).keep_alive, expected, "{version} {fields}");
    }
}

#[test]
fn expect_continue() {
    for (version, fields, expected) in [
        ("1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", true),
        ("1.1", "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", true),
        ("1.1", "Expect: 100-continue\r\n", false),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", false),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false),
        ("1.1", "Content-Length: 1\r\n", false),
    ] {
        let input = format!("PUT / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(request(input.as_bytes()).expect_continue, expected, "{version} {fields}");
    }
}

/// Gives the input to one scanner in pieces that end at `ends`, as a connection would, and checks it against the
/// parse of the whole.
fn assert_split_invariant(input: &[u8], ends: impl Iterator<Item = usize>) {
    let whole = parse(input, &limits());
    let mut scanner = HeadScanner::new();
    for end in ends.chain([input.len()]) {
        let step = scanner.parse(&input[..end], &limits());
        assert_eq!(step, parse(&input[..end], &limits()), "a scanner and a fresh parse agree");
        if step == Ok(Parsed::Incomplete) {
            continue;
        }
        assert_eq!(scanner, HeadScanner::new(), "ready for the next head");
        assert_eq!(step, whole, "after {end} of {} bytes", input.len());
        return;
    }
    assert_eq!(whole, Ok(Parsed::Incomplete));
}

#[test]
fn fewer_bytes_are_a_new_head() {
    let mut scanner = HeadScanner::new();
    let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(scanner.parse(&input[..20], &limits()), Ok(Parsed::Incomplete));
    assert_eq!(scanner.examined(), 20);
    assert_eq!(scanner.parse(&input[..3], &limits()), Ok(Parsed::Incomplete));
    assert_eq!(scanner.parse(input, &limits()), parse(input, &limits()));
    assert_eq!(scanner.examined(), 0);
}

#[test]
fn one_byte_at_a_time_every_row_is_refused_the_same() {
    for (_, _, input) in REFUSED {
        assert_split_invariant(input, 0..input.len());
    }
}

/// Pieces from which requests, and nearly requests, are made.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<Vec<u8>> = [
        "GET ",
        "PUT ",
        "/",
        "/a%20b",
        "http://b",
        "* ",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        " HTTP/2.0\r\n",
        "\r\n",
        "\r",
        "\n",
        " ",
        ":",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "X: y\r\n",
        "\r\n\r\n",
    ]
    .iter()
    .map(|piece| piece.as_bytes().to_vec())
    .collect();
    prop_oneof![
        8 => proptest::sample::select(pieces),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
        1 => "[a-z]{0,80}".prop_map(String::into_bytes),
    ]
}

fn head_like() -> impl Strategy<Value = Vec<u8>> {
    let valid_start = proptest::sample::select(vec!["", "GET / HTTP/1.1\r\nHost: a\r\n", "\r\nPUT "]);
    (valid_start, proptest::collection::vec(piece(), 0..24))
        .prop_map(|(start, pieces)| [start.as_bytes(), &pieces.concat()].concat())
}

proptest! {
    #[test]
    fn decisions_do_not_depend_on_splitting(input in head_like(), steps in proptest::collection::vec(1_usize..40, 0..32)) {
        let ends = steps.iter().scan(0, |end, step| { *end += step; Some(*end) }).take_while(|end| *end < input.len());
        assert_split_invariant(&input, ends);
        assert_split_invariant(&input, 0..input.len());
    }

    #[test]
    fn arbitrary_bytes_never_panic(input: Vec<u8>) {
        let _ = parse(&input, &limits());
        let _ = parse(&input, &Limits { head_bytes: 0, fields: 0, target_bytes: 0, ..limits() });
    }

    #[test]
    fn what_follows_a_head_does_not_change_it(input in head_like(), rest: Vec<u8>) {
        if let Ok(Parsed::Complete(request)) = parse(&input, &limits()) {
            let longer = [&input[..request.head_length], &rest].concat();
            prop_assert_eq!(parse(&longer, &limits()), Ok(Parsed::Complete(request)));
        }
    }

    #[test]
    fn fields_come_back_as_they_were_sent(
        fields in proptest::collection::vec(("[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", "([!-~]([ -~\t]{0,20}[!-~])?)?"), 0..7)
    ) {
        let lines: String = fields.iter().map(|(name, value)| format!("X-{name}: \t{value} \r\n")).collect();
        let input = with_fields(&lines);
        let request = request(&input);
        let read: Vec<_> = request.fields().skip(1).map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        let sent: Vec<_> = fields.iter().map(|(name, value)| (format!("X-{name}"), value.clone().into_bytes())).collect();
        prop_assert_eq!(read, sent);
    }
}
