//! The reference of settings in docs/settings.md is what the program has: names, defaults, limits, order and sentences.

use portico::settings::table::{Heading, Setting, Shape, TABLE};
use portico::settings::{Settings, Sources};

#[test]
fn the_reference_shows_what_holds() {
    // Cargo runs tests in the folder of their crate.
    let page = std::fs::read_to_string("../../docs/settings.md").unwrap().replace("\r\n", "\n");
    let mut heading: Option<Heading> = None;
    let mut reference = String::new();
    for setting in TABLE {
        if heading != Some(setting.heading) {
            heading = Some(setting.heading);
            let title = setting.heading.title();
            reference.push_str(&format!(
                "\n## {title}\n\n| key | default | values | what it does |\n|---|---|---|---|\n"
            ));
        }
        reference.push_str(&row(setting));
    }
    assert!(page.contains(&reference), "put this into docs/settings.md:\n{reference}");
}

fn row(setting: &Setting) -> String {
    let default = setting.shown(&Settings::new("."));
    let default = match (setting.name, default) {
        // The defaults that depend on the system.
        ("file_cache_file_bytes", Some(here)) => {
            assert_eq!(here, if cfg!(target_os = "linux") { "16384" } else { "65536" });
            "`16384` on Linux, else `65536`".to_owned()
        }
        ("transmit_files", Some(here)) => {
            assert_eq!(here, cfg!(target_os = "linux").to_string());
            "`true` on Linux, else `false`".to_owned()
        }
        ("threads_per_processor", Some(here)) => {
            assert_eq!(here, if cfg!(windows) { "2" } else { "1" });
            "1; on Windows 2".to_owned()
        }
        (_, Some(value)) => format!("`{value}`"),
        (_, None) => "off".to_owned(),
    };
    let values = match setting.shape {
        Shape::Integer => limits(setting),
        Shape::Boolean => "`true`, `false`".to_owned(),
        Shape::Choice(names) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        Shape::Path => "a path".to_owned(),
        Shape::Text => "text".to_owned(),
        Shape::List => "names".to_owned(),
    };
    format!("| `{}` | {default} | {values} | {} |\n", setting.name, setting.help)
}

/// The least and the most, as the program itself says them when they are passed.
fn limits(setting: &Setting) -> String {
    let unit = setting.unit();
    let limit = |value: &str, words: &str| {
        let mistake = given(setting.name, value)?;
        let (_, behind) = mistake.split_once(words)?;
        Some(behind.trim_end_matches(unit).trim_end().to_owned())
    };
    let least = limit("0", " is below the least ").unwrap_or_else(|| "0".to_owned());
    let most = limit("18446744073709551615", " is above the most ").expect("every number has a limit");
    format!("{least} to {most} {unit}").trim_end().to_owned()
}

/// What the program says to a value, if it is a mistake.
fn given(name: &'static str, value: &str) -> Option<String> {
    let sources = Sources { flags: vec![(name, value.into())], ..Sources::default() };
    sources.resolve().err().map(|error| error.to_string())
}
