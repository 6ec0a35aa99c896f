//! A pattern and a path: the match is what trying every reading says, and no template leads it to another host.

#![no_main]

#[path = "../../crates/portico/tests/common/readings.rs"]
mod readings;

use libfuzzer_sys::fuzz_target;
use portico::pattern::{Pattern, Template};
use readings::has_a_reading;

/// The model takes exponential time: this keeps it short.
const MOST_WILDCARDS: usize = 4;
const MOST_PATH_BYTES: usize = 40;

fuzz_target!(|input: (&str, &str, &str)| {
    let (pattern, path, template) = input;
    let Ok(compiled) = Pattern::new(pattern) else { return };
    let Some(captures) = compiled.matches(path) else {
        if compiled.wildcards() <= MOST_WILDCARDS && path.len() <= MOST_PATH_BYTES {
            assert!(!has_a_reading(pattern, path), "{pattern:?} {path:?}");
        }
        return;
    };
    assert_eq!(captures.as_slice().len(), compiled.wildcards());
    if compiled.wildcards() <= MOST_WILDCARDS && path.len() <= MOST_PATH_BYTES {
        assert!(has_a_reading(pattern, path), "{pattern:?} {path:?}");
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
