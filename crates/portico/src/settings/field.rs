//! How a value is read from text or TOML into the type of its setting, and shown again.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::choices::{Charset, Choice, LogTarget};
use portico_http::coding::Coding;

/// A value as a source gave it. Flags and the environment know text only; a file has types.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// From a flag or the environment: may stand for any type.
    Words(OsString),
    Integer(u64),
    Boolean(bool),
    Text(String),
    List(Vec<String>),
    /// No value: the setting is off.
    Off,
}

/// The least and the most that a number may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) least: u64,
    pub(super) most: u64,
}

/// What kind of value a setting takes: decides the form of its flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A whole number.
    Integer,
    /// `true` or `false`; the flag alone means true.
    Boolean,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// A path.
    Path,
    /// Any other text.
    Text,
    /// Several texts; separated by commas in a flag or variable.
    List,
}

/// A type that a setting can have.
pub(super) trait Field: Sized {
    const SHAPE: Shape;
    fn read(value: Value, range: Range, unit: &str) -> Result<Self, String>;
    fn show(&self) -> Value;
}

pub(super) fn text(value: Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Words(words) => {
            words.into_string().map_err(|words| format!("{:?} is not valid Unicode", words.display()))
        }
        other => Err(format!("expected text in quotes, found {}", kind(&other))),
    }
}

/// The texts of a list; separated by commas in a flag or variable.
pub(super) fn list(value: Value) -> Result<Vec<String>, String> {
    let texts = match value {
        Value::List(texts) => texts,
        Value::Off => Vec::new(),
        other => text(other)?.split(',').map(|item| item.trim().to_owned()).collect(),
    };
    Ok(if texts == [""] { Vec::new() } else { texts })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Words(_) | Value::Text(_) => "text",
        Value::Integer(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::List(_) => "a list",
        Value::Off => "nothing",
    }
}

fn integer(value: Value, range: Range, unit: &str) -> Result<u64, String> {
    let number = match value {
        Value::Integer(number) => number,
        Value::Words(words) => {
            let words = words.to_string_lossy();
            let digits = words.replace('_', "");
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("{words:?} is not a whole number{}", counted_in(unit)));
            }
            digits.parse().unwrap_or(u64::MAX)
        }
        other => return Err(format!("expected a whole number{}, found {}", counted_in(unit), kind(&other))),
    };
    let space = if unit.is_empty() { "" } else { " " };
    if number < range.least {
        return Err(format!("{number} is below the least {}{space}{unit}", range.least));
    }
    if number > range.most {
        return Err(format!("{number} is above the most {}{space}{unit}", range.most));
    }
    Ok(number)
}

fn counted_in(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" of {unit}") }
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl Field for $type {
            const SHAPE: Shape = Shape::Integer;

            fn read(value: Value, range: Range, unit: &str) -> Result<Self, String> {
                let number = integer(value, range, unit)?;
                number.try_into().map_err(|_| format!("{number} is more than this system can count"))
            }

            fn show(&self) -> Value {
                Value::Integer(*self as u64)
            }
        }
    )+};
}

integers!(u16, u32, u64, usize);

impl Field for Duration {
    const SHAPE: Shape = Shape::Integer;

    fn read(value: Value, range: Range, unit: &str) -> Result<Self, String> {
        integer(value, range, unit).map(Duration::from_millis)
    }

    fn show(&self) -> Value {
        Value::Integer(self.as_millis().try_into().unwrap_or(u64::MAX))
    }
}

impl Field for bool {
    const SHAPE: Shape = Shape::Boolean;

    fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
        match value {
            Value::Boolean(yes) => Ok(yes),
            Value::Words(words) => match words.to_string_lossy().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(true),
                "false" | "no" | "off" | "0" => Ok(false),
                other => Err(format!("{other:?} is neither true nor false")),
            },
            other => Err(format!("expected true or false, found {}", kind(&other))),
        }
    }

    fn show(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl<T: Choice> Field for T {
    const SHAPE: Shape = Shape::Choice(T::NAMES);

    fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
        let text = text(value)?;
        let position = T::NAMES.iter().position(|name| *name == text);
        position.map(|at| T::VALUES[at]).ok_or_else(|| format!("{text:?} is none of {}", T::NAMES.join(", ")))
    }

    fn show(&self) -> Value {
        let position = T::VALUES.iter().position(|choice| choice == self);
        Value::Text(position.map_or("", |at| T::NAMES[at]).to_owned())
    }
}

impl Field for IpAddr {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
        let text = text(value)?;
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&text);
        bare.parse().map_err(|_| {
            format!("{text:?} is not an IP address; use 127.0.0.1 for this machine only, or 0.0.0.0 for every interface")
        })
    }

    fn show(&self) -> Value {
        Value::Text(self.to_string())
    }
}

impl Field for PathBuf {
    const SHAPE: Shape = Shape::Path;

    fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
        let path = match value {
            Value::Words(words) => PathBuf::from(words),
            other => PathBuf::from(text(other)?),
        };
        if path.as_os_str().is_empty() { Err("the path is empty".to_owned()) } else { Ok(path) }
    }

    fn show(&self) -> Value {
        Value::Words(self.clone().into_os_string())
    }
}

impl Field for LogTarget {
    const SHAPE: Shape = Shape::Path;

    fn read(value: Value, range: Range, unit: &str) -> Result<Self, String> {
        let path = PathBuf::read(value, range, unit)?;
        Ok(if path.as_os_str() == "-" { LogTarget::StandardOutput } else { LogTarget::File(path) })
    }

    fn show(&self) -> Value {
        match self {
            LogTarget::StandardOutput => Value::Words("-".into()),
            LogTarget::File(path) => path.show(),
        }
    }
}

impl Field for Charset {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
        let text = text(value)?;
        Charset::new(&text)
            .ok_or_else(|| format!("{text:?} is not the name of a character encoding, such as utf-8"))
    }

    fn show(&self) -> Value {
        Value::Text(self.as_str().to_owned())
    }
}

/// The longest text of a setting: the head of a file has room for one beside its other fields.
const MOST_TEXT_BYTES: usize = 512;

impl Field for String {
    const SHAPE: Shape = Shape::Text;

    /// The text settings are field values of answers, so they hold what RFC 9110, section 5.5 lets a field hold.
    fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
        let text = text(value)?;
        if text.trim() != text || text.is_empty() || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(format!(
                "{text:?} cannot be the value of a header field: use visible ASCII characters"
            ));
        }
        if text.len() > MOST_TEXT_BYTES {
            return Err(format!(
                "the text has {} bytes, and may have at most {MOST_TEXT_BYTES} bytes",
                text.len()
            ));
        }
        Ok(text)
    }

    fn show(&self) -> Value {
        Value::Text(self.clone())
    }
}

impl Field for Vec<String> {
    const SHAPE: Shape = Shape::List;

    /// The list settings are file names inside one folder.
    fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
        let names = list(value)?;
        match names
            .iter()
            .find(|name| name.is_empty() || *name == "." || *name == ".." || name.contains(['/', '\\', '\0']))
        {
            Some(name) => Err(format!("{name:?} is not the name of a file inside a folder")),
            None => Ok(names),
        }
    }

    fn show(&self) -> Value {
        Value::List(self.clone())
    }
}

impl Field for Vec<Coding> {
    const SHAPE: Shape = Shape::List;

    fn read(value: Value, _: Range, _: &str) -> Result<Self, String> {
        let names = match value {
            Value::List(names) => names,
            Value::Off => Vec::new(),
            other => text(other)?.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        let mut codings = Vec::new();
        for name in names.iter().filter(|_| names != [""]) {
            let known = Coding::ALL.into_iter().find(|coding| coding.name() == name);
            let coding = known.ok_or_else(|| format!("{name:?} is none of br, zstd, gzip"))?;
            if codings.contains(&coding) {
                return Err(format!("{name:?} is named twice"));
            }
            codings.push(coding);
        }
        Ok(codings)
    }

    fn show(&self) -> Value {
        if self.is_empty() {
            return Value::Off;
        }
        Value::List(self.iter().map(|coding| coding.name().to_owned()).collect())
    }
}

impl<T: Field> Field for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    fn read(value: Value, range: Range, unit: &str) -> Result<Self, String> {
        match value {
            Value::Off => Ok(None),
            // An empty variable or text switches off what a file of lower precedence switched on.
            Value::Words(words) if words.is_empty() => Ok(None),
            Value::Text(text) if text.is_empty() => Ok(None),
            value => T::read(value, range, unit).map(Some),
        }
    }

    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Off, Field::show)
    }
}
