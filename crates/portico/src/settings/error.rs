//! What is wrong with a setting, and where it was written.

use std::fmt;
use std::path::PathBuf;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the program that made the [`Settings`](super::Settings).
    Code,
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In a configuration file, at a line that counts from 1.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, where one is known.
        line: Option<usize>,
    },
}

/// A setting that cannot be used; its display is one sentence that begins with the place at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    place: Place,
    name: String,
    message: String,
}

impl SettingsError {
    pub(super) fn new(place: Place, name: impl Into<String>, message: impl Into<String>) -> SettingsError {
        SettingsError { place, name: name.into(), message: message.into() }
    }

    /// Where the mistake was written.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The setting, by its name in `portico.toml`; empty where the file as a whole is at fault.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SettingsError { place, name, message } = self;
        match place {
            Place::Code => write!(f, "{name}: {message}"),
            // The one positional argument is called as the help shows it.
            Place::Flag if name == "root" => write!(f, "ROOT: {message}"),
            Place::Flag => write!(f, "--{}: {message}", name.replace('_', "-")),
            Place::Environment => write!(f, "{}: {message}", super::table::variable_name(name)),
            Place::File { path, line } => {
                write!(f, "{}:", path.display())?;
                if let Some(line) = line {
                    write!(f, "{line}:")?;
                }
                if !name.is_empty() {
                    write!(f, " {name}:")?;
                }
                write!(f, " {message}")
            }
        }
    }
}

impl std::error::Error for SettingsError {}
