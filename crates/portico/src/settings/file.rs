//! `portico.toml`: keys and values with the line on which they stand.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Place, SettingsError};
use super::field::{Shape, Value};
use super::hosts::{self, HostTable};
use super::site_rules::SiteTables;
use super::sources::ConfigFile;
use super::table::{self, Setting};

/// One key of the file that is a setting.
pub(super) struct Key {
    pub(super) setting: &'static Setting,
    pub(super) value: Value,
    pub(super) place: Place,
    pub(super) line: usize,
}

/// What the file says: keys in its order, and tables.
pub(super) struct Document {
    pub(super) keys: Vec<Key>,
    pub(super) site: SiteTables,
    pub(super) hosts: Vec<HostTable>,
}

/// Reads the file.
pub(super) fn read(file: &ConfigFile) -> Result<Document, SettingsError> {
    // Editors on Windows like to begin a file with a byte-order mark.
    let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    let place =
        |span: Range<usize>| Place::File { path: file.path.clone(), line: Some(line_of(text, span.start)) };

    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(Place::File { path: file.path.clone(), line: None }, &place);
        SettingsError::new(at, "", error.message().replace('\n', "; "))
    })?;

    let reader = Reader { path: &file.path, text };
    let mut tables = Vec::new();
    let mut keys = Vec::new();
    let mut site = SiteTables::default();
    for (key, value) in document.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("host", DeValue::Array(items)) => {
                for item in items {
                    tables.push(reader.host(item)?);
                }
            }
            ("host", _) => {
                return Err(SettingsError::new(
                    place(key.span()),
                    "host",
                    "is written as [[host]], with two brackets",
                ));
            }
            (name, _) if reader.site_table(name, value, &mut site)? => {}
            _ => keys.push(reader.key(key, value)?),
        }
    }
    keys.sort_by_key(|key| key.line);
    Ok(Document { keys, site, hosts: tables })
}

/// What errors need to name a place.
pub(super) struct Reader<'f> {
    path: &'f Path,
    text: &'f str,
}

impl Reader<'_> {
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        Place::File { path: self.path.to_path_buf(), line: Some(line_of(self.text, span.start)) }
    }

    fn key(&self, key: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> Result<Key, SettingsError> {
        let name = key.get_ref().as_ref();
        let place = self.place(key.span());
        let Some(setting) = table::find(name) else {
            let mut message = format!("{name:?} is not a setting");
            if name == "config" {
                message.push_str(": the file is named by --config or PORTICO_CONFIG");
            } else if let DeValue::Table(_) = value.get_ref() {
                message.push_str("; all keys stand at the top level, or in [[host]]");
            } else if let Some(near) = super::sources::nearest(name) {
                message.push_str(&format!("; did you mean {near}?"));
            }
            return Err(SettingsError::new(place, "", message));
        };
        let wrong = |message: String| SettingsError::new(self.place(value.span()), setting.name, message);
        let value = convert(value.get_ref()).map_err(wrong)?;
        let value = anchor(setting, value, self.path);
        Ok(Key { setting, value, place, line: line_of(self.text, key.span().start) })
    }

    fn host(&self, item: &Spanned<DeValue<'_>>) -> Result<HostTable, SettingsError> {
        let place = self.place(item.span());
        let DeValue::Table(entries) = item.get_ref() else {
            return Err(SettingsError::new(place, "host", "is written as [[host]], with two brackets"));
        };
        let (mut names, mut keys, mut site) = (Vec::new(), Vec::new(), SiteTables::default());
        for (key, value) in entries {
            if key.get_ref() == "names" {
                let wrong = |message| SettingsError::new(self.place(value.span()), "names", message);
                names = convert(value.get_ref()).and_then(hosts::names_of).map_err(wrong)?;
            } else if !self.site_table(key.get_ref(), value, &mut site)? {
                keys.push(self.key(key, value)?);
            }
        }
        Ok(HostTable { place, names, keys, site })
    }
}

pub(super) fn convert(value: &DeValue<'_>) -> Result<Value, String> {
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
