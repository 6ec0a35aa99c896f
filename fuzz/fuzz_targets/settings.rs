//! `portico.toml`: reading never panics, a mistake is shown with its place in the file, and what was accepted holds by
//! every later check and says the same when it is printed and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portico::settings::{ConfigFile, Effective, Place, SettingsError, Sources};
use std::path::Path;

/// Relative, so that a relative path in the file stays as it is written.
const PATH: &str = "portico.toml";

fuzz_target!(|text: &str| {
    match resolve(text) {
        Ok(effective) => {
            effective.settings.check().expect("settings from a file that was accepted");
            let printed = effective.to_toml();
            let again = resolve(&printed).unwrap_or_else(|error| panic!("{error}, in\n{printed}"));
            assert_eq!(again.settings, effective.settings);
        }
        Err(error) => check_error(text, &error),
    }
});

fn resolve(text: &str) -> Result<Effective, SettingsError> {
    let file = ConfigFile { path: PATH.into(), text: text.to_owned() };
    Sources { file: Some(file), ..Sources::default() }.resolve()
}

fn check_error(text: &str, error: &SettingsError) {
    let Place::File { path, line } = error.place() else { panic!("not in the file: {error}") };
    assert_eq!(path, Path::new(PATH));
    // A line where one is known; a file whose last line has no end counts that too.
    let lines = text.matches('\n').count() + 1;
    assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{error}");
    let shown = error.to_string();
    assert!(shown.starts_with("portico.toml:") && !shown.ends_with(": "), "{shown}");
}
