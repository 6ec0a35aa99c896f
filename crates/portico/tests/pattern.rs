//! Patterns of paths against a naive model that tries everything, and templates.

#[path = "common/readings.rs"]
mod readings;

use portico::pattern::{Pattern, Template};
use proptest::prelude::*;
use readings::has_a_reading;

/// The pattern with its wildcards replaced by captures: the path again.
fn filled(pattern: &str, captures: &[&str]) -> String {
    let mut captures = captures.iter();
    let mut segments: Vec<String> = Vec::new();
    for segment in pattern[1..].split('/') {
        if segment == "**" {
            // Nothing at all, or whole segments.
            segments.push(format!("**{}", captures.next().unwrap()));
        } else {
            let mut pieces = segment.split('*');
            let mut name = pieces.next().unwrap().to_owned();
            for piece in pieces {
                name.push_str(captures.next().unwrap());
                name.push_str(piece);
            }
            segments.push(name);
        }
    }
    assert_eq!(captures.next(), None);
    let last = segments.len() - 1;
    let mut path = String::new();
    for (place, segment) in segments.iter().enumerate() {
        match segment.strip_prefix("**") {
            Some("") if place < last => continue,
            Some(many) => path.push_str(many),
            None => path.push_str(segment),
        }
        if place < last {
            path.push('/');
        }
    }
    path
}

fn check(pattern: &str, path: &str) {
    let compiled = Pattern::new(pattern).unwrap();
    let found = compiled.matches(path);
    assert_eq!(found.is_some(), has_a_reading(pattern, path), "{pattern} {path:?}");
    if let Some(captures) = found {
        assert_eq!(captures.as_slice().len(), compiled.wildcards(), "{pattern} {path:?}");
        assert!(captures.as_slice().iter().all(|capture| !capture.starts_with('/')), "{captures:?}");
        assert_eq!(filled(pattern, captures.as_slice()), path, "{pattern} {captures:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn matching_is_what_the_model_says(
        pattern in prop::collection::vec("(\\*\\*)|[ab*é]{0,4}", 1..6),
        // No path that is served has an empty segment but the last.
        path in prop::collection::vec("[abé]{1,4}/", 0..6),
        last in "[abé]{0,4}",
    ) {
        let pattern = format!("/{}", pattern.join("/"));
        if Pattern::new(&pattern).is_ok() {
            check(&pattern, &(path.concat() + &last));
        }
    }
}

#[test]
fn patterns_and_paths() {
    for (pattern, path, captures) in [
        ("/", "", Some(&[][..])),
        ("/", "a", None),
        ("/docs/", "docs/", Some(&[])),
        ("/docs/", "docs", None),
        ("/*", "a", Some(&["a"])),
        ("/*", "a/b", None),
        ("/**", "", Some(&[""])),
        ("/**", "a/b/", Some(&["a/b/"])),
        ("/docs/**", "docs", None),
        ("/docs/**", "docs/", Some(&[""])),
        ("/docs/**", "docs/a/b", Some(&["a/b"])),
        ("/**/*.html", "index.html", Some(&["", "index"])),
        ("/**/*.html", "a/b.html/c.html", Some(&["a/b.html", "c"])),
        ("/**/*.html", "a/b.htm", None),
        ("/a/**/b/*", "a/b/b/c", Some(&["b", "c"])),
        ("/*-*.js", "app-1-2.js", Some(&["app", "1-2"])),
        ("/*a*a", "aa", Some(&["", ""])),
        ("/*a*a", "a", None),
        ("/Ä*", "Äö", Some(&["ö"])),
    ] {
        check(pattern, path);
        let found = Pattern::new(pattern).unwrap().matches(path);
        assert_eq!(found.as_ref().map(|found| found.as_slice()), captures, "{pattern} {path:?}");
    }
}

#[test]
fn what_is_no_pattern_is_refused() {
    for text in [
        "",
        "a",
        "/a**",
        "/**.css",
        "//",
        "/a//b",
        "/{a,b}",
        "/[ab]",
        "/a?b",
        "/a\\b",
        "/a\nb",
        "/**/********x",
    ] {
        assert!(Pattern::new(text).is_err(), "{text:?}");
    }
    assert!(Pattern::new("/*/*/*/*/*/*/*/*/*").is_ok());
    assert!(Pattern::new("/*/*/*/*/*/*/*/*/*/*").is_err());
    assert!(Pattern::new(&format!("/{}", "a".repeat(1024))).is_err());
}

/// The worst that a client can do to patterns that invite it: no more steps than pattern times path.
#[test]
fn no_path_makes_matching_explode() {
    let path = "a/".repeat(2_048) + &"a".repeat(250);
    for pattern in ["/**/a/**/a/**/a/**/a/**/b", "/**/*a*a*a*a*a*b", "/**/a/**/*a*a*a*b*"] {
        let pattern = Pattern::new(pattern).unwrap();
        for _ in 0..100 {
            assert!(pattern.matches(&path).is_none());
        }
    }
}

#[test]
fn templates_are_filled() {
    let pattern = Pattern::new("/old/*/**").unwrap();
    let captures = pattern.matches("old/a b/c&d/ü").unwrap();
    let redirect = Template::of_redirect("https://example.org/$2?of=$1&$$").unwrap();
    assert_eq!(redirect.fill_encoded(&captures), "https://example.org/c%26d/%C3%BC?of=a%20b&$");
    assert_eq!(redirect.captures(), 2);
    assert_eq!(Template::of_rewrite("/new/$1$2").unwrap().fill(&captures), "/new/a bc&d/ü");
}

/// `//evil.example` in a Location is another host.
#[test]
fn no_capture_leads_to_another_host() {
    let pattern = Pattern::new("/a/**/b/*").unwrap();
    let captures = pattern.matches("a/b/evil.example").unwrap();
    assert_eq!(Template::of_redirect("/$1/$2").unwrap().fill_encoded(&captures), "/evil.example");
    for text in [
        "$1",
        "//$1",
        "https://$1/",
        "https://example.org$1",
        "https://",
        "ftp://a/",
        "/a b",
        "https://a@b/",
        "/$",
        "/$0",
    ] {
        assert!(Template::of_redirect(text).is_err(), "{text}");
    }
    for text in ["$1", "a", "/a?b", "//a"] {
        assert!(Template::of_rewrite(text).is_err(), "{text}");
    }
}
