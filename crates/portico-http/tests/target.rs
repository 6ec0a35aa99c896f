//! Paths of request targets: a table of the rules, and decoding against a naive model.

use portico_http::target::{Path, decode};
use proptest::prelude::*;

fn refused(target: &str) -> u16 {
    let mut scratch = [0; 256];
    let rejection = decode(target, &mut scratch).expect_err(target);
    assert!(!rejection.close, "{target}: the request itself was well formed");
    rejection.status.code()
}

fn with_path<T>(target: &str, check: impl FnOnce(Path<'_>) -> T) -> T {
    let mut scratch = [0; 256];
    check(decode(target, &mut scratch).unwrap_or_else(|rejection| panic!("{target}: {rejection}")))
}

#[test]
fn paths_and_queries() {
    for (target, text, query) in [
        ("/", "", None),
        ("/a", "a", None),
        ("/a/", "a/", None),
        ("/a/b.html?c=d?e/../%zz", "a/b.html", Some("c=d?e/../%zz")),
        ("/?", "", Some("")),
        ("http://host", "", None),
        ("http://host?q", "", Some("q")),
        ("HTTP://host:80/a/./b?q", "a/b", Some("q")),
        ("/a%20b", "a b", None),
        ("/caf%C3%A9", "café", None),
        ("/caf%c3%a9", "café", None),
        ("/%41", "A", None),
        ("/100%25", "100%", None),
        ("/%252e%252e/a", "%2e%2e/a", None),
        ("/%3Fa%23", "?a#", None),
        ("/a+b", "a+b", None),
        ("/.a/..b/...", ".a/..b/...", None),
        ("/.", "", None),
        ("/./", "", None),
        ("/a/.", "a/", None),
        ("/a/..", "", None),
        ("/a/b/..", "a/", None),
        ("/a/b/../", "a/", None),
        ("/a/b/../../c", "c", None),
        ("/a/%2e%2E/c", "c", None),
        ("/a/.%2e/%2e/c", "c", None),
        ("//a", "/a", None),
        ("/a//b", "a//b", None),
        ("/a//../b", "a/b", None),
        ("/a:b", "a:b", None),
        ("/~|{}^`", "~|{}^`", None),
    ] {
        with_path(target, |path| assert_eq!((path.text(), path.query()), (text, query), "{target}"));
    }
}

#[test]
fn refusals() {
    for (rule, target) in [
        ("above the root", "/.."),
        ("above the root", "/../"),
        ("above the root", "/../a"),
        ("above the root and back", "/a/../../a"),
        ("above the root behind a dot", "/./.."),
        ("above the root, encoded", "/%2e%2e/a"),
        ("above the root, half encoded", "/.%2E/a"),
        ("above the root of an absolute target", "http://host/../a"),
        ("encoded slash", "/a%2Fb"),
        ("encoded slash", "/a%2fb"),
        ("encoded slash in a dot segment", "/..%2f"),
        ("encoded backslash", "/a%5Cb"),
        ("encoded backslash", "/a%5cb"),
        ("raw backslash", "/a\\b"),
        ("raw backslash, else plain", "/..\\a"),
        ("NUL", "/%00"),
        ("line feed", "/a%0Ab"),
        ("DEL", "/%7F"),
        ("C1 control", "/%C2%85"),
        ("no digits", "/%"),
        ("one digit", "/%2"),
        ("one digit, then a segment", "/%2/a"),
        ("no hexadecimal digits", "/%zz"),
        ("sign within an escape", "/%+1"),
        ("not UTF-8", "/%ff"),
        ("not UTF-8 in a segment that goes", "/%ff/../a"),
        ("control in a segment that goes", "/%0a/../a"),
        ("half of a character", "/%C3"),
        ("overlong slash", "/%C0%AF"),
        ("overlong NUL", "/%C0%80"),
        ("surrogate", "/%ED%A0%80"),
        ("raw byte above ASCII", "/é"),
        ("raw space", "/a b"),
        ("no path", "*"),
        ("no path", "host:80"),
        ("no path", ""),
        ("another scheme", "ftp://host/a"),
    ] {
        assert_eq!(refused(target), 400, "{rule}: {target}");
    }
}

#[test]
fn the_space_to_decode_in_is_bounded() {
    assert_eq!(decode("/%41bc", &mut [0; 3]).map(|path| path.text().len()), Ok(3));
    assert_eq!(decode("/%41bcd", &mut [0; 3]).map_err(|rejection| rejection.status.code()), Err(414));
    assert_eq!(decode("/longer/than/the/space", &mut []).map(|path| path.text().len()), Ok(21));
}

#[test]
fn forms_of_a_path() {
    for (target, segments, slash, empty, written) in [
        ("/", &[][..], true, false, "/"),
        ("http://host?q", &[], true, false, "/"),
        ("/a", &["a"], false, false, "/a"),
        ("/a/", &["a"], true, false, "/a/"),
        ("/a/b%20c?q", &["a", "b c"], false, false, "/a/b%20c"),
        ("/a/b/..", &["a"], true, false, "/a/b/.."),
        ("//host/a", &["", "host", "a"], false, true, "//host/a"),
        ("/a//b", &["a", "", "b"], false, true, "/a//b"),
        ("/a//", &["a", ""], true, true, "/a//"),
        // Dot segments take the empty ones away, and would leave a redirect that leads to another host.
        ("//host/../../a", &["a"], false, true, "//host/../../a"),
        ("//../a", &["a"], false, true, "//../a"),
        ("/b//../a", &["b", "a"], false, true, "/b//../a"),
        ("http://host//evil/../../a", &["a"], false, true, "//evil/../../a"),
    ] {
        with_path(target, |path| {
            assert_eq!(path.segments().collect::<Vec<_>>(), segments, "{target}");
            assert_eq!((path.ends_with_slash(), path.has_empty_segment()), (slash, empty), "{target}");
            assert_eq!(path.written(), written);
        });
    }
}

/// RFC 3986 section 5.2.4 as it is written there, with two buffers; none where it would climb above the root.
fn remove_dot_segments_by_the_book(path: &str) -> Option<String> {
    let (mut input, mut output) = (path.to_owned(), String::new());
    while !input.is_empty() {
        if input.starts_with("/./") {
            input.replace_range(..2, "");
        } else if input == "/." {
            input = "/".to_owned();
        } else if input.starts_with("/../") || input == "/.." {
            input.replace_range(..3, "");
            if input.is_empty() {
                input.push('/');
            }
            output.truncate(output.rfind('/')?);
        } else {
            let end = input[1..].find('/').map_or(input.len(), |slash| slash + 1);
            output.push_str(&input[..end]);
            input.replace_range(..end, "");
        }
    }
    Some(output)
}

fn percent_decode_naively(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut decoded = Vec::new();
    let mut index = 0;
    while index < bytes.len() {
        if bytes[index] == b'%' {
            let digits = path.get(index + 1..index + 3)?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            let byte = u8::from_str_radix(digits, 16).ok()?;
            if byte == b'/' {
                return None;
            }
            decoded.push(byte);
            index += 3;
        } else {
            decoded.push(bytes[index]);
            index += 1;
        }
    }
    let text = String::from_utf8(decoded).ok()?;
    (!text.contains(|character: char| character == '\\' || character.is_control())).then_some(text)
}

proptest! {
    #[test]
    fn dot_segments_as_in_the_rfc(path in "(/(\\.|\\.\\.|a|bc|\\.d||%2e|%2E\\.)){1,10}") {
        let model = percent_decode_naively(&path).and_then(|decoded| remove_dot_segments_by_the_book(&decoded));
        let mut scratch = [0; 128];
        let decoded = decode(&path, &mut scratch).ok().map(|path| format!("/{}", path.text()));
        prop_assert_eq!(decoded, model);
    }

    #[test]
    fn decoding_as_in_the_model(path in "/([a-z./!~\\\\]|/\\.\\./|%[0-9a-fA-F]{2}|%C3%A9|%[0-9g]?){0,20}") {
        let model = percent_decode_naively(&path).and_then(|decoded| remove_dot_segments_by_the_book(&decoded));
        let mut scratch = [0; 128];
        let decoded = decode(&path, &mut scratch).ok().map(|path| format!("/{}", path.text()));
        prop_assert_eq!(decoded, model);
    }

    #[test]
    fn nothing_dangerous_comes_out(target in ".{0,60}", slash: bool) {
        let target = if slash { format!("/{target}") } else { target };
        let mut scratch = [0; 512];
        if let Ok(path) = decode(&target, &mut scratch) {
            prop_assert!(path.segments().all(|segment| segment != "." && segment != ".."));
            prop_assert!(!path.text().contains(|character: char| character == '\\' || character.is_control()));
        }
    }
}
