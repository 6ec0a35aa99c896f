//! `[[host]]`: virtual hosts in the configuration file.

use super::{
    HostSettings, Settings,
    error::{Place, SettingsError},
    field::Value,
    file::Key,
    site_rules::{self, SiteTables},
    table,
};
use std::collections::HashSet;

/// As many as a number of 16 bits counts, with the first.
const MOST_HOSTS: usize = u16::MAX as usize;

/// One table of the file.
pub(super) struct HostTable {
    /// Where it begins.
    pub(super) place: Place,
    pub(super) names: Vec<String>,
    pub(super) keys: Vec<Key>,
    pub(super) site: SiteTables,
}

/// The hosts that the tables describe: what they do not say is as in `base`.
pub(super) fn resolve(tables: Vec<HostTable>, base: &Settings) -> Result<Vec<HostSettings>, SettingsError> {
    let mut hosts: Vec<HostSettings> = Vec::new();
    let mut places = Vec::new();
    for HostTable { place, names, keys, site } in tables {
        let mut settings = base.clone();
        for Key { setting, value, place, .. } in keys {
            if !table::OF_HOST.contains(&setting.name) {
                let message = "holds for the whole server, and stands above the first [[host]]";
                return Err(SettingsError::new(place, setting.name, message));
            }
            setting
                .set(&mut settings, value)
                .map_err(|message| SettingsError::new(place, setting.name, message))?;
        }
        if let Some((names, message)) = settings.contradiction() {
            return Err(SettingsError::new(place, names[0], message));
        }
        site.lay_over(&mut settings);
        site_rules::check(&settings)
            .map_err(|(name, message)| SettingsError::new(place.clone(), name, message))?;
        places.push(place);
        hosts.push(HostSettings { names, settings });
    }
    check(&hosts).map_err(|(at, message)| SettingsError::new(places.swap_remove(at), "host", message))?;
    Ok(hosts)
}

/// Names the first host whose names are wrong: its number, and a sentence.
pub(super) fn check(hosts: &[HostSettings]) -> Result<(), (usize, String)> {
    if hosts.len() >= MOST_HOSTS {
        return Err((MOST_HOSTS, format!("there are more than {MOST_HOSTS} hosts")));
    }
    let mut seen = HashSet::new();
    for (number, host) in hosts.iter().enumerate() {
        if host.names.is_empty() {
            return Err((number, "has no names: names = [\"example.org\"]".to_owned()));
        }
        for name in &host.names {
            if !is_name(name.strip_prefix("*.").unwrap_or(name)) {
                let message =
                    "is no host name (example.org, *.example.org, 192.0.2.1, [2001:db8::1]), without a port";
                return Err((number, format!("{name:?} {message}")));
            }
            if !seen.insert(name.to_ascii_lowercase()) {
                return Err((number, format!("{name:?} is named twice")));
            }
        }
    }
    Ok(())
}

/// A name of letters, digits, hyphens and underscores between dots, or an address of IPv6 in brackets.
fn is_name(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// The value of `names`.
pub(super) fn names_of(value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(names) => Ok(names),
        Value::Text(name) => Ok(vec![name]),
        _ => Err("expected a list of host names in quotes".to_owned()),
    }
}
