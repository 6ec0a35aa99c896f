//! Fields of answers that depend on the path only: rules, the site's Cache-Control and the security preset, as ready-made lines.

use crate::{
    pattern::Pattern,
    settings::{Rule, Settings},
};
use std::borrow::Cow;

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

const CACHE_CONTROL: &str = "Cache-Control";

/// For whom a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Everybody,
    /// For who has given a password: no cache may keep it for others (RFC 9111 section 3.5).
    Users,
}

/// What pages say that the server makes. Whoever has one asks whether it is still so.
const OF_PAGES: [(&str, &str); 2] = [(CACHE_CONTROL, "no-cache"), ("X-Content-Type-Options", "nosniff")];

/// The fields of one host.
pub(crate) struct FieldRules {
    rules: Vec<Rule>,
    preset: &'static [(&'static str, &'static str)],
    /// The lines of the preset, for answers without a file.
    preset_lines: Box<[u8]>,
}

impl FieldRules {
    pub(crate) fn new(settings: &Settings) -> Self {
        let rules = settings.rules.iter().filter(|rule| !rule.headers.is_empty()).cloned().collect();
        let preset: &[_] = if settings.security_headers { &SECURITY_PRESET } else { &[] };
        Self { rules, preset, preset_lines: lines(preset.iter().copied(), Audience::Everybody) }
    }

    pub(crate) fn preset_lines(&self) -> &[u8] {
        &self.preset_lines
    }

    /// The lines for a file: a rule is for it by the path that was asked for or by its own, both decoded and without the leading
    /// slash. The first that names a field counts.
    ///
    /// Where no rule names `Cache-Control`, it is `cache_control`. Also gives whether a rule decides about `Content-Language`.
    pub(crate) fn lines_for(
        &self,
        asked: &str,
        file: &str,
        cache_control: Option<&str>,
        audience: Audience,
    ) -> (Box<[u8]>, bool) {
        let rules = self.ruled([asked, file]);
        let language_ruled = rules.clone().any(|(name, _)| name.eq_ignore_ascii_case("content-language"));
        let cache_control = cache_control.map(|value| (CACHE_CONTROL, value));
        (lines(rules.chain(cache_control).chain(self.preset.iter().copied()), audience), language_ruled)
    }

    /// The lines for a page that the server makes for a path: those of a file there, but for what is true of the page alone. Its style
    /// and script are allowed by no other policy than its own, and it is to be asked for again unless a rule knows better.
    pub(crate) fn lines_for_page(&self, asked: &str, policy: &str, audience: Audience) -> Box<[u8]> {
        let policy = [("Content-Security-Policy", policy)];
        let rules = self.ruled([asked, asked]);
        lines(policy.into_iter().chain(rules).chain(OF_PAGES).chain(self.preset.iter().copied()), audience)
    }

    /// The lines for a page that the server makes to answer one request, and that is at no path.
    pub(crate) fn lines_for_result(&self, policy: &str) -> Box<[u8]> {
        let policy = [("Content-Security-Policy", policy)];
        lines(policy.into_iter().chain(OF_PAGES).chain(self.preset.iter().copied()), Audience::Everybody)
    }

    /// What the rules say for these paths.
    fn ruled(&self, paths: [&str; 2]) -> impl Iterator<Item = (&str, &str)> + Clone {
        let is_for = move |pattern: &Pattern| paths.iter().any(|path| pattern.matches(path).is_some());
        let rules = self.rules.iter().filter(move |rule| rule.paths.iter().any(is_for));
        rules.flat_map(|rule| &rule.headers).map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Field lines of what comes first of each name. An empty value is no line.
fn lines<'f>(fields: impl Iterator<Item = (&'f str, &'f str)>, audience: Audience) -> Box<[u8]> {
    let mut chosen: Vec<(&str, Cow<'_, str>)> = Vec::new();
    for (name, value) in fields {
        if !chosen.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            chosen.push((name, value.into()));
        }
    }
    if audience == Audience::Users {
        let is_own = |(name, _): &&mut (&str, _)| name.eq_ignore_ascii_case(CACHE_CONTROL);
        match chosen.iter_mut().find(is_own) {
            Some((_, value)) => *value = private(value).into(),
            None => chosen.push((CACHE_CONTROL, "private".into())),
        }
    }
    let line = |(name, value): &(&str, Cow<'_, str>)| match &**value {
        "" => String::new(),
        value => format!("{name}: {value}\r\n"),
    };
    chosen.iter().map(line).collect::<String>().into_bytes().into()
}

/// The same for one client alone, whatever it allows to caches that many share.
fn private(cache_control: &str) -> String {
    let directives = cache_control.split(',').map(str::trim).filter(|directive| {
        let name = directive.split('=').next().unwrap_or_default().trim_end();
        !["", "public", "private", "s-maxage"].iter().any(|shared| name.eq_ignore_ascii_case(shared))
    });
    ["private"].into_iter().chain(directives).collect::<Vec<_>>().join(", ")
}
