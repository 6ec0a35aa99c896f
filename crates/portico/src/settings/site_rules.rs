//! What `portico.toml` says in tables about where requests lead and which fields answers have.

use super::error::SettingsError;
use super::field::{Field, Range, Shape, Value, text};
use crate::path;
use crate::pattern::{Pattern, Template};

/// The most rules of one host, with those of the top level.
pub const MOST_RULES: usize = 1_000;
/// The most bytes that the fields of rules may add to one answer.
pub const MOST_FIELD_BYTES: usize = 8_192;
/// The statuses that a page may be set for: all errors that the server answers with.
pub const ERROR_PAGE_STATUSES: [u16; 22] = [
    400, 401, 403, 404, 405, 408, 409, 411, 412, 413, 414, 415, 416, 417, 421, 429, 431, 500, 501, 503, 505,
    507,
];
/// The most origins of `[cors]`.
pub const MOST_ORIGINS: usize = 1_000;

/// A path of the site as a client asks for it, decoded: `/404.html`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePath(String);

impl SitePath {
    /// Takes a path that begins with a slash, without a query.
    ///
    /// # Errors
    /// A sentence where it does not, or where it names nothing that could be served.
    pub fn new(path: &str) -> Result<SitePath, String> {
        let wrong =
            |reason: &str| Err(format!("{path:?} is not a path of the site such as \"/404.html\": {reason}"));
        let Some(rest) = path.strip_prefix('/') else { return wrong("it begins with a slash") };
        if path.contains(['?', '#']) {
            return wrong("it has no query and no fragment");
        }
        match path::Rules::native(true).resolve(rest.split('/'), &mut String::new()) {
            Ok(_) => Ok(SitePath(path.to_owned())),
            Err(refusal) => wrong(&refusal.to_string()),
        }
    }

    /// The path, with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Field for SitePath {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, _: Range, _: &str) -> Result<SitePath, String> {
        SitePath::new(&text(value)?)
    }

    fn show(&self) -> Value {
        Value::Text(self.0.clone())
    }
}

/// Where a rule sends clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The new address.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// One `[[rule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// Which paths it is for: one of these has to match.
    pub paths: Vec<Pattern>,
    /// Fields of answers that send a file: names and values. An empty value keeps other rules and settings from sending the field.
    pub headers: Vec<(String, String)>,
    /// Answer with a redirect.
    pub redirect: Option<Redirect>,
    /// Serve another path.
    pub rewrite: Option<Template>,
}

impl Rule {
    /// A rule for these paths that does nothing yet.
    pub fn new(paths: Vec<Pattern>) -> Rule {
        Rule { paths, headers: Vec::new(), redirect: None, rewrite: None }
    }

    /// What is wrong with it: the key at fault, and a sentence.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.paths.is_empty() {
            return Err(("path", "a rule needs path = \"/pattern\"".to_owned()));
        }
        for (place, (name, value)) in self.headers.iter().enumerate() {
            check_field(name, value).map_err(|message| ("headers", message))?;
            if self.headers[..place].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(("headers", format!("{name} is named twice")));
            }
        }
        let mut targets = Vec::new();
        if let Some(redirect) = &self.redirect {
            if ![301, 302, 303, 307, 308].contains(&redirect.status) {
                return Err(("status", format!("{} is none of 301, 302, 303, 307, 308", redirect.status)));
            }
            if self.rewrite.is_some() {
                return Err(("rewrite", "a rule either redirects or rewrites".to_owned()));
            }
            targets.push(("redirect", &redirect.to));
        }
        targets.extend(self.rewrite.as_ref().map(|to| ("rewrite", to)));
        for (key, to) in targets {
            if let Some(path) = self.paths.iter().find(|path| path.wildcards() < to.captures()) {
                let (captures, path, wildcards) = (to.captures(), path.as_str(), path.wildcards());
                return Err((key, format!("it uses ${captures}, and {path:?} has {wildcards} wildcards")));
            }
        }
        Ok(())
    }
}

/// The longest value of a field that a rule sends.
const MOST_VALUE_BYTES: usize = 4_096;

/// Fields that the server itself is answerable for: a second one, or another value, would break the answer's framing or its meaning.
const OWN_FIELDS: &[&str] = &[
    "accept-ranges",
    "allow",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "keep-alive",
    "last-modified",
    "location",
    "proxy-connection",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

pub(super) fn check_field(name: &str, value: &str) -> Result<(), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("{name:?} is not the name of a header field"));
    }
    let lower = name.to_ascii_lowercase();
    if OWN_FIELDS.contains(&lower.as_str()) {
        return Err(format!("the server sends {name} itself"));
    }
    if lower.starts_with("access-control-") {
        return Err(format!("{name} is made from the table [cors]"));
    }
    if value.trim() != value || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(format!("{value:?} cannot be the value of {name}: use visible ASCII characters"));
    }
    if value.len() > MOST_VALUE_BYTES {
        return Err(format!("the value of {name} has more than {MOST_VALUE_BYTES} bytes"));
    }
    Ok(())
}

/// Which pages of other origins may read answers: the table `[cors]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cors {
    /// Which paths. Default: all.
    pub paths: Vec<Pattern>,
    /// Origins such as `https://app.example`, or `*` for any.
    pub origins: Vec<String>,
    /// Methods that a preflight allows. Default: GET and HEAD.
    pub methods: Vec<String>,
    /// Request fields that a preflight allows.
    pub allow_headers: Vec<String>,
    /// Answer fields that a page may read beside the usual ones.
    pub expose_headers: Vec<String>,
    /// Whether requests may carry cookies and passwords. Default: false.
    pub credentials: bool,
    /// How long browsers may remember a preflight. Default: 600 seconds.
    pub max_age_s: u32,
}

impl Cors {
    /// Reading by these origins, of all paths.
    pub fn new(origins: Vec<String>) -> Cors {
        Cors {
            paths: vec![Pattern::new("/**").expect("it is a pattern")],
            origins,
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            allow_headers: Vec::new(),
            expose_headers: Vec::new(),
            credentials: false,
            max_age_s: 600,
        }
    }

    /// Whether every origin may read.
    pub fn is_for_any_origin(&self) -> bool {
        self.origins == ["*"]
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let is_token = |text: &String| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte))
        };
        if self.origins.is_empty() {
            return Err((
                "origins",
                "name origins such as \"https://app.example\", or \"*\" for any".to_owned(),
            ));
        }
        if self.origins.len() > MOST_ORIGINS {
            return Err(("origins", format!("there are more than {MOST_ORIGINS}")));
        }
        if self.is_for_any_origin() {
            if self.credentials {
                return Err((
                    "credentials",
                    "browsers refuse credentials where every origin may read".to_owned(),
                ));
            }
        } else if let Some(wrong) = self.origins.iter().find(|origin| !is_origin(origin)) {
            return Err((
                "origins",
                format!(
                    "{wrong:?} is not an origin such as \"https://app.example:8443\", in small letters and without a path"
                ),
            ));
        }
        for (key, names) in [
            ("methods", &self.methods),
            ("allow_headers", &self.allow_headers),
            ("expose_headers", &self.expose_headers),
        ] {
            if let Some(wrong) = names.iter().find(|name| !is_token(name)) {
                return Err((key, format!("{wrong:?} is not a name")));
            }
            if names.iter().map(|name| name.len() + 2).sum::<usize>() > 1_024 {
                return Err((key, "the names have more than 1024 bytes".to_owned()));
            }
        }
        Ok(())
    }
}

/// As browsers write it (RFC 6454 section 6.2): scheme, host, port unless it is the usual one. `null` is none: anyone can be that.
fn is_origin(origin: &str) -> bool {
    let Some((scheme, host)) = origin.split_once("://") else { return false };
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    origin.len() <= 300
        && !scheme.is_empty()
        && scheme.bytes().all(|byte| is_lower(byte) || b"+-.".contains(&byte))
        && !host.is_empty()
        && host.bytes().all(|byte| is_lower(byte) || b"-._:[]".contains(&byte))
}

/// What stands in tables, at the top level or in a host.
#[derive(Clone, Debug, Default)]
pub(super) struct SiteTables {
    /// Where the rules are.
    pub(super) place: Option<super::Place>,
    pub(super) rules: Vec<Rule>,
    pub(super) error_pages: Vec<(u16, SitePath)>,
    pub(super) cors: Option<Cors>,
}

impl SiteTables {
    /// Lays them over what holds above: a host's own rules come first, its page for a status replaces the other one.
    pub(super) fn lay_over(self, settings: &mut super::Settings) {
        settings.rules.splice(0..0, self.rules);
        for (status, page) in self.error_pages {
            settings.error_pages.retain(|(other, _)| *other != status);
            settings.error_pages.push((status, page));
        }
        settings.error_pages.sort_by_key(|(status, _)| *status);
        if self.cors.is_some() {
            settings.cors = self.cors;
        }
    }
}

/// Checks what came by code, and what is too much together. The key at fault, and a sentence.
pub(super) fn check(settings: &super::Settings) -> Result<(), (&'static str, String)> {
    settings.rules.iter().try_for_each(Rule::check)?;
    settings.cors.iter().try_for_each(Cors::check)?;
    if settings.rules.len() > MOST_RULES {
        return Err(("rule", format!("there are more than {MOST_RULES} rules")));
    }
    if let Some((status, _)) =
        settings.error_pages.iter().find(|(status, _)| !ERROR_PAGE_STATUSES.contains(status))
    {
        return Err(("error_pages", no_page_for(&status.to_string())));
    }
    // Of each name one value is sent: the longest is the worst case.
    let mut longest = std::collections::HashMap::new();
    for (name, value) in settings.rules.iter().flat_map(|rule| &rule.headers) {
        let most = longest.entry(name.to_ascii_lowercase()).or_insert(0);
        *most = value.len().max(*most);
    }
    let bytes: usize = longest.iter().map(|(name, most)| name.len() + most + 4).sum();
    if bytes > MOST_FIELD_BYTES {
        return Err((
            "rule",
            format!(
                "the fields of all rules may come to {bytes} bytes in one answer, and {MOST_FIELD_BYTES} are allowed"
            ),
        ));
    }
    Ok(())
}

pub(super) fn no_page_for(status: &str) -> String {
    let known = ERROR_PAGE_STATUSES.map(|status| status.to_string()).join(", ");
    format!("{status:?} has no page of its own: pages can be set for {known}")
}

pub(super) fn check_in_code(settings: &super::Settings) -> Result<(), SettingsError> {
    check(settings).map_err(|(key, message)| SettingsError::new(super::Place::Code, key, message))
}
