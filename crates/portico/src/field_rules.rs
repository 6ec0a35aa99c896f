//! Fields of answers that depend on the path only: rules, the site's Cache-Control and the security preset, as ready-made lines.

use crate::{
    pattern::Pattern,
    settings::{Rule, Settings},
};

/// What `security_headers` sends. It lets no page of another site frame or open-and-script this one, and no file be taken for another
/// type than it says.
pub(crate) const SECURITY_PRESET: [(&str, &str); 6] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Content-Security-Policy", "frame-ancestors 'self'"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
];

/// The fields of one host.
pub(crate) struct FieldRules {
    rules: Vec<Rule>,
    cache_control: Option<String>,
    preset: &'static [(&'static str, &'static str)],
    /// The lines of the preset, for answers without a file.
    preset_lines: Box<[u8]>,
}

impl FieldRules {
    pub(crate) fn new(settings: &Settings) -> Self {
        let rules = settings.rules.iter().filter(|rule| !rule.headers.is_empty()).cloned().collect();
        let preset: &[_] = if settings.security_headers { &SECURITY_PRESET } else { &[] };
        Self {
            rules,
            cache_control: settings.cache_control.clone(),
            preset,
            preset_lines: lines(preset.iter().copied()),
        }
    }

    pub(crate) fn preset_lines(&self) -> &[u8] {
        &self.preset_lines
    }

    /// The lines for a file: a rule is for it by the path that was asked for or by its own, both decoded and without the leading
    /// slash. The first that names a field counts.
    ///
    /// Also gives whether a rule decides about `Content-Language`.
    pub(crate) fn lines_for(&self, asked: &str, file: &str) -> (Box<[u8]>, bool) {
        let is_for = |pattern: &Pattern| [asked, file].iter().any(|path| pattern.matches(path).is_some());
        let rules = self.rules.iter().filter(|rule| rule.paths.iter().any(is_for));
        let rules = rules.flat_map(|rule| &rule.headers).map(|(name, value)| (name.as_str(), value.as_str()));
        let language_ruled = rules.clone().any(|(name, _)| name.eq_ignore_ascii_case("content-language"));
        let cache_control = self.cache_control.as_deref().map(|value| ("Cache-Control", value));
        (lines(rules.chain(cache_control).chain(self.preset.iter().copied())), language_ruled)
    }
}

/// Field lines of what comes first of each name. An empty value is no line.
fn lines<'f>(fields: impl Iterator<Item = (&'f str, &'f str)>) -> Box<[u8]> {
    let mut chosen: Vec<(&str, &str)> = Vec::new();
    for (name, value) in fields {
        if !chosen.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            chosen.push((name, value));
        }
    }
    let line = |(name, value): &(&str, &str)| match *value {
        "" => String::new(),
        _ => format!("{name}: {value}\r\n"),
    };
    chosen.iter().map(line).collect::<String>().into_bytes().into()
}
