//! `portico.toml`: keys and values with the line on which they stand.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::{Place, SettingsError};
use super::field::{Shape, Value};
use super::sources::ConfigFile;
use super::table::{self, Setting};

/// One key of the file that is a setting.
pub(super) struct Key {
    pub(super) setting: &'static Setting,
    pub(super) value: Value,
    pub(super) line: usize,
}

/// Reads the keys in the order of the file.
pub(super) fn read(file: &ConfigFile) -> Result<Vec<Key>, SettingsError> {
    // Editors on Windows like to begin a file with a byte-order mark.
    let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    let place =
        |span: Range<usize>| Place::File { path: file.path.clone(), line: Some(line_of(text, span.start)) };

    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(Place::File { path: file.path.clone(), line: None }, &place);
        SettingsError::new(at, "", error.message().replace('\n', "; "))
    })?;

    let mut keys = Vec::new();
    for (key, value) in document.get_ref() {
        let name = key.get_ref().as_ref();
        let at = || place(key.span());
        let setting = table::find(name).ok_or_else(|| {
            let mut message = format!("{name:?} is not a setting");
            if name == "config" {
                message.push_str(": the file is named by --config or PORTICO_CONFIG");
            } else if let DeValue::Table(_) = value.get_ref() {
                message.push_str("; all keys stand at the top level, without tables");
            } else if let Some(near) = super::sources::nearest(name) {
                message.push_str(&format!("; did you mean {near}?"));
            }
            SettingsError::new(at(), "", message)
        })?;
        let wrong = |message: String| SettingsError::new(place(value.span()), setting.name, message);
        let value = convert(value.get_ref()).map_err(wrong)?;
        let value = anchor(setting, value, &file.path);
        keys.push(Key { setting, value, line: line_of(text, key.span().start) });
    }
    keys.sort_by_key(|key| key.line);
    Ok(keys)
}

fn convert(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::String(text) => Ok(Value::Text(text.clone().into_owned())),
        DeValue::Boolean(yes) => Ok(Value::Boolean(*yes)),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            if digits.starts_with('-') {
                return Err(format!("{digits} is negative"));
            }
            // What is too large for the type is too large for every setting, whose range then says so.
            Ok(Value::Integer(u64::from_str_radix(digits.trim_start_matches('+'), radix).unwrap_or(u64::MAX)))
        }
        DeValue::Array(items) => items
            .iter()
            .map(|item| {
                item.get_ref().as_str().map(str::to_owned).ok_or_else(|| "a list holds texts only".to_owned())
            })
            .collect::<Result<_, _>>()
            .map(Value::List),
        other => Err(format!("a {} cannot be the value of a setting", other.type_str())),
    }
}

/// A relative path in a file is meant from the folder of that file, wherever the program was started.
fn anchor(setting: &Setting, value: Value, file: &Path) -> Value {
    match value {
        Value::Text(text) if setting.shape == Shape::Path && !text.is_empty() && text != "-" => {
            let folder = file.parent().map_or_else(PathBuf::new, Path::to_path_buf);
            Value::Words(folder.join(text).into_os_string())
        }
        value => value,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}
