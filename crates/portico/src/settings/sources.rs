//! Flags over environment over file over defaults.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::error::{Place, SettingsError};
use super::field::Value;
use super::{Settings, file, table};

/// The name of the configuration file that is read without being asked for.
pub(super) const DEFAULT_FILE: &str = "portico.toml";
const CONFIG_VARIABLE: &str = "PORTICO_CONFIG";

/// Everything that may say what a setting is, apart from the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Flags that were given: the name of the setting and its text.
    pub flags: Vec<(&'static str, OsString)>,
    /// The environment: names and values.
    pub environment: Vec<(OsString, OsString)>,
    /// The configuration file, where there is one.
    pub file: Option<ConfigFile>,
}

/// A configuration file that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its path, as errors show it. Relative paths inside the file start at its folder.
    pub path: PathBuf,
    /// Its contents.
    pub text: String,
}

/// Where the value of a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file, at this line.
    File(usize),
    /// An environment variable.
    Environment,
    /// A flag.
    Flag,
}

/// Settings that are valid, and where each of them comes from.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The settings.
    pub settings: Settings,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// What is odd but no error: a variable `PORTICO_...` that is no setting.
    pub warnings: Vec<String>,
    pub(super) origins: Vec<Origin>,
}

impl Sources {
    /// The environment of this process, and the configuration file that the flag `--config` (given here), the variable
    /// `PORTICO_CONFIG` or the current folder names, in that order.
    ///
    /// # Errors
    /// The configuration file was named and cannot be read, or is there and cannot be read.
    pub fn of_process(config: Option<&OsStr>) -> Result<Sources, SettingsError> {
        let environment: Vec<_> = std::env::vars_os().collect();
        let variable = std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty());
        let (path, place) = match (config, &variable) {
            (Some(path), _) => (Path::new(path), Some(Place::Flag)),
            (None, Some(path)) => (Path::new(path), Some(Place::Environment)),
            (None, None) => (Path::new(DEFAULT_FILE), None),
        };
        let file = match ConfigFile::read(path) {
            Ok(file) => Some(file),
            Err(error) if place.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                return Err(match place {
                    Some(place) => SettingsError::new(place, "config", message),
                    None => {
                        let place = Place::File { path: path.to_path_buf(), line: None };
                        SettingsError::new(place, "", format!("cannot be read: {error}"))
                    }
                });
            }
        };
        Ok(Sources { flags: Vec::new(), environment, file })
    }

    /// Lays the sources over the defaults, and checks the whole.
    ///
    /// # Errors
    /// The first mistake, with the place where it was written.
    pub fn resolve(&self) -> Result<Effective, SettingsError> {
        let mut effective = Effective {
            settings: Settings::new("."),
            file: self.file.as_ref().map(|file| file.path.clone()),
            warnings: Vec::new(),
            origins: vec![Origin::Default; table::TABLE.len()],
        };
        let mut hosts = Vec::new();
        if let Some(file) = &self.file {
            let document = file::read(file)?;
            hosts = document.hosts;
            let place = document.site.place.clone();
            document.site.lay_over(&mut effective.settings);
            super::site_rules::check(&effective.settings).map_err(|(name, message)| {
                SettingsError::new(
                    place.unwrap_or(Place::File { path: file.path.clone(), line: None }),
                    name,
                    message,
                )
            })?;
            for key in document.keys {
                effective.set(key.setting.name, key.value, Origin::File(key.line))?;
            }
        }
        for (name, value) in &self.environment {
            let Some(name) = name.to_str() else { continue };
            // Windows does not tell capital letters apart in these names.
            let name = if cfg!(windows) { name.to_ascii_uppercase() } else { name.to_owned() };
            let Some(rest) = name.strip_prefix("PORTICO_").filter(|_| name != CONFIG_VARIABLE) else {
                continue;
            };
            match table::TABLE.iter().find(|setting| setting.variable_name() == name) {
                Some(setting) => {
                    effective.set(setting.name, Value::Words(value.clone()), Origin::Environment)?;
                }
                // Not an error: an orchestrator may set names such as PORTICO_SERVICE_HOST for a service of that name.
                None => {
                    let near =
                        nearest(rest).map(|near| format!("; did you mean {}?", table::variable_name(near)));
                    effective.warnings.push(format!("{name} is not a setting{}", near.unwrap_or_default()));
                }
            }
        }
        for (name, value) in &self.flags {
            effective.set(name, Value::Words(value.clone()), Origin::Flag)?;
        }
        match effective.settings.contradiction() {
            None => {
                effective.settings.hosts = super::hosts::resolve(hosts, &effective.settings)?;
                Ok(effective)
            }
            Some((names, message)) => {
                // The place at fault is the stronger of the two: the other was there first.
                let name = if effective.origin(names[1]).strength() > effective.origin(names[0]).strength() {
                    names[1]
                } else {
                    names[0]
                };
                Err(SettingsError::new(effective.place(effective.origin(name)), name, message))
            }
        }
    }
}

impl Effective {
    /// Where the value of the setting with this name comes from.
    pub fn origin(&self, name: &str) -> Origin {
        table::TABLE
            .iter()
            .position(|setting| setting.name == name)
            .map_or(Origin::Default, |at| self.origins[at])
    }

    fn set(&mut self, name: &str, value: Value, origin: Origin) -> Result<(), SettingsError> {
        let at = table::TABLE.iter().position(|setting| setting.name == name);
        let Some(at) = at else {
            return Err(SettingsError::new(self.place(origin), name, "is not a setting"));
        };
        let setting = &table::TABLE[at];
        setting.set(&mut self.settings, value).map_err(|mut message| {
            if origin == Origin::Environment && message.contains("\"tcp://") {
                message.push_str("; Kubernetes sets such variables for a service named portico: enableServiceLinks: false stops that");
            }
            SettingsError::new(self.place(origin), setting.name, message)
        })?;
        self.origins[at] = origin;
        Ok(())
    }

    fn place(&self, origin: Origin) -> Place {
        match origin {
            Origin::Default => Place::Code,
            Origin::Flag => Place::Flag,
            Origin::Environment => Place::Environment,
            Origin::File(line) => {
                Place::File { path: self.file.clone().unwrap_or_default(), line: Some(line) }
            }
        }
    }
}

impl Origin {
    /// A source of higher precedence is stronger.
    fn strength(self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File(_) => 1,
            Origin::Environment => 2,
            Origin::Flag => 3,
        }
    }
}

impl ConfigFile {
    /// Reads the file.
    ///
    /// # Errors
    /// As [`std::fs::read_to_string`].
    pub fn read(path: &Path) -> std::io::Result<ConfigFile> {
        Ok(ConfigFile { path: path.to_path_buf(), text: std::fs::read_to_string(path)? })
    }
}

/// The setting whose name looks most like `name`, where one does.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.replace('-', "_").to_ascii_lowercase();
    let allowed = (name.len() / 3).max(1);
    let candidates = table::TABLE.iter().map(|setting| (distance(&name, setting.name), setting.name));
    let (best, near) = candidates.min_by_key(|(distance, _)| *distance)?;
    if best <= allowed {
        return Some(near);
    }
    // `timeout` or `cache`: part of exactly one name helps as well.
    let mut containing = table::TABLE.iter().filter(|setting| name.len() > 3 && setting.name.contains(&name));
    containing.next().filter(|_| containing.next().is_none()).map(|setting| setting.name)
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn one name into the other.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let substitution = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
                let mut least = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[left.len()][right.len()]
}
