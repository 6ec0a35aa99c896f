//! A request target: what it decodes to stays below the root and has one reading.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico_http::status::Status;
use portico_http::target;
use std::path::{Component, Path};

fuzz_target!(|input: &str| {
    let mut scratch = vec![0; input.len()];
    let (text, query) = match target::decode(input, &mut scratch) {
        Ok(path) => {
            check_segments(&path);
            (path.text().to_owned(), path.query())
        }
        Err(rejection) => {
            assert_eq!(
                rejection.status,
                Status::BAD_REQUEST,
                "the scratch is as long as the target: {rejection}"
            );
            return;
        }
    };
    check_below_root(&text);
    if let Some(query) = query {
        assert!(input.ends_with(query) && input[..input.len() - query.len()].ends_with('?'));
    }

    // Decoding is one round: what it gave, escaped again, gives the same.
    let escaped = escape(&text);
    let mut scratch = vec![0; escaped.len()];
    let again = target::decode(&escaped, &mut scratch).expect("a decoded path, escaped");
    assert_eq!((again.text(), again.query()), (text.as_str(), None));

    // With less space it says so, or it needed none.
    for length in [0, input.len() / 2] {
        match target::decode(input, &mut vec![0; length]) {
            Ok(path) => assert_eq!(path.text(), text),
            Err(rejection) => assert_eq!(rejection.status, Status::URI_TOO_LONG),
        }
    }
});

fn check_segments(path: &target::Path<'_>) {
    let joined = path.segments().collect::<Vec<_>>().join("/");
    assert_eq!(path.text().strip_suffix('/').unwrap_or(path.text()), joined);
    assert_eq!(path.ends_with_slash(), path.text().is_empty() || path.text().ends_with('/'));
    // A dot segment may have taken one away that was written; none comes from elsewhere.
    let empty = path.segments().any(str::is_empty);
    assert!(path.has_empty_segment() || !empty, "{:?}", path.text());
}

fn check_below_root(text: &str) {
    assert!(!text.contains(|character: char| character == '\\' || character.is_ascii_control()), "{text:?}");
    assert!(!text.split('/').any(|segment| segment == "." || segment == ".."), "{text:?}");
    let relative = text.trim_start_matches('/');
    assert!(Path::new(relative).components().all(|part| matches!(part, Component::Normal(_))), "{text:?}");
}

fn escape(text: &str) -> String {
    let mut escaped = String::from("/");
    for byte in text.bytes() {
        match byte {
            b'/' => escaped.push('/'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
