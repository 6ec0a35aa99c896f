//! A pattern and a path: the match is what trying every reading says, and no template leads it to another host.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico::pattern::{Pattern, Template};

/// The model takes exponential time: this keeps it short.
const MOST_WILDCARDS: usize = 4;
const MOST_PATH_BYTES: usize = 40;

fuzz_target!(|input: (&str, &str, &str)| {
    let (pattern, path, template) = input;
    let Ok(compiled) = Pattern::new(pattern) else { return };
    let Some(captures) = compiled.matches(path) else {
        if compiled.wildcards() <= MOST_WILDCARDS && path.len() <= MOST_PATH_BYTES {
            assert!(!fits_any(pattern, path), "{pattern:?} {path:?}");
        }
        return;
    };
    assert_eq!(captures.as_slice().len(), compiled.wildcards());
    if compiled.wildcards() <= MOST_WILDCARDS && path.len() <= MOST_PATH_BYTES {
        assert!(fits_any(pattern, path), "{pattern:?} {path:?}");
    }
    if let Ok(template) = Template::of_redirect(template) {
        let filled = template.fill_encoded(&captures);
        assert!(filled.bytes().all(|byte| byte.is_ascii_graphic()), "{filled:?}");
        assert!(!filled.starts_with("//") && !filled.contains('\\'), "{filled:?}");
        assert_eq!(host(&filled), host(template.as_str()));
    }
    if let Ok(template) = Template::of_rewrite(template) {
        assert!(template.fill(&captures).starts_with('/'));
    }
});

/// The host of an address; empty for a path.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").filter(|_| !address.starts_with('/')).map_or("", |(_, rest)| rest);
    &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]
}

fn fits_any(pattern: &str, path: &str) -> bool {
    let segments: Vec<&str> = pattern[1..].split('/').collect();
    fits(&segments, &path.split('/').collect::<Vec<_>>())
}

/// Whether the pattern has any reading that fits: tries every one.
fn fits(pattern: &[&str], path: &[&str]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ["**"] => !path.is_empty(),
        ["**", rest @ ..] => (0..=path.len()).any(|taken| fits(rest, &path[taken..])),
        [first, rest @ ..] => {
            path.split_first().is_some_and(|(name, path)| fits_name(first, name) && fits(rest, path))
        }
    }
}

fn fits_name(pattern: &str, name: &str) -> bool {
    let mut characters = pattern.chars();
    match characters.next() {
        None => name.is_empty(),
        Some('*') => {
            let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.any(|at| fits_name(characters.as_str(), &name[at..]))
        }
        Some(character) => {
            name.strip_prefix(character).is_some_and(|name| fits_name(characters.as_str(), name))
        }
    }
}
