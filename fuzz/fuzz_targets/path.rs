//! From a request target to the path that is opened, by the rules of both systems: whatever is allowed names something
//! beneath the root, by the name that was asked for, and Windows reads no magic into it.
//!
//! The first byte chooses whether names that begin with a dot are served; the rest is the target.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico::path::{Form, MOST_PATH_BYTES, MOST_SEGMENT_BYTES, Rules};
use portico_http::target;
use std::path::{Component, Path};

fuzz_target!(|input: (bool, &str)| {
    let (dot_files, written) = input;
    let mut scratch = vec![0; written.len()];
    let Ok(decoded) = target::decode(written, &mut scratch) else { return };
    let asked: Vec<&str> = decoded.segments().collect();
    let [unix, windows] = [false, true].map(|windows| {
        let mut path = String::from("what was there before");
        match (Rules { windows, dot_files }).resolve(asked.iter().copied(), &mut path) {
            Ok(form) => {
                check(&path, form, &asked, windows, dot_files);
                true
            }
            Err(refusal) => {
                assert!(path.is_empty() && matches!(refusal.status(), 400 | 404));
                false
            }
        }
    });
    assert!(unix || !windows, "Windows allows what Unix refuses");
});

fn check(path: &str, form: Form, asked: &[&str], windows: bool, dot_files: bool) {
    let separator = if windows { '\\' } else { '/' };
    assert!(path.len() <= MOST_PATH_BYTES);
    let names: Vec<&str> = path.split(separator).filter(|name| !name.is_empty()).collect();
    let wanted: Vec<&str> = asked.iter().copied().filter(|name| !name.is_empty()).collect();
    assert_eq!(names, wanted, "nothing is dropped, added or split");
    assert_eq!(form == Form::File, asked.last().is_some_and(|last| !last.is_empty()));
    if !windows {
        assert!(Path::new(path).components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
    }
    for (index, name) in names.iter().enumerate() {
        assert!(!matches!(*name, "." | "..") && name.len() <= MOST_SEGMENT_BYTES);
        assert!(!name.contains(|c: char| matches!(c, '/' | '\\') || c.is_control()), "{name:?}");
        // As some file systems read it: without characters that have no shape.
        let ignored =
            |c: &char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}');
        let shown: String = name.chars().filter(|c| !ignored(c)).collect();
        assert!(
            !matches!(shown.as_str(), "." | "..") && !shown.eq_ignore_ascii_case("portico.toml"),
            "{name:?}"
        );
        assert!(dot_files || !shown.starts_with('.') || (index == 0 && *name == ".well-known"), "{name:?}");
        if windows {
            check_windows(name);
        }
    }
}

/// A second reading of what Windows makes of a name: the rules' own words are not used here.
fn check_windows(name: &str) {
    assert!(!name.contains([':', '*', '?', '"', '<', '>', '|']), "{name:?}");
    assert!(!name.ends_with('.') && !name.ends_with(' '), "{name:?}");
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_ascii_uppercase();
    let devices = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
    assert!(!devices.contains(&stem.as_str()), "{name:?}");
    for port in ["COM", "LPT"] {
        if let Some(number) = stem.strip_prefix(port) {
            assert!(!"0123456789¹²³".split("").any(|digit| !digit.is_empty() && digit == number), "{name:?}");
        }
    }
    assert!(!["$MFT", "$LOGFILE", "$EXTEND"].contains(&name.to_ascii_uppercase().as_str()), "{name:?}");
    let short = name.len() <= 12
        && name.is_ascii()
        && name.rsplit_once('~').is_some_and(|(before, after)| {
            let (number, extension) = after.split_once('.').unwrap_or((after, ""));
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            !before.contains('.') && before.len() + 1 + number.len() <= 8 && digits && extension.len() <= 3
        });
    assert!(!short || name.matches('.').count() > 1, "{name:?}");
}
