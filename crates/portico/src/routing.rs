//! Where a path leads before the disk is asked: rules of redirects and rewrites, the fallback, pages for errors.

use crate::{
    path,
    pattern::{Pattern, Template},
    settings::{Settings, SitePath},
};
use portico_http::status::Status;

/// The routing of one host, compiled at start.
pub(crate) struct Routing {
    rules: Vec<Route>,
    /// The cache's name for what answers where nothing else does.
    fallback: Option<Box<str>>,
    /// The cache's names for pages of errors.
    pages: Vec<(Status, Box<str>)>,
    /// Without its leading slash, as decoded paths are.
    health: Option<Box<str>>,
}

struct Route {
    paths: Vec<Pattern>,
    way: Way,
}

enum Way {
    Redirect(Status, Template),
    Rewrite(Template),
}

/// What a rule makes of a path.
pub(crate) enum Routed {
    Redirect {
        status: Status,
        location: String,
    },
    /// Another file is served: the cache's name for it.
    Rewrite(Box<str>),
    /// The rewritten path is one that is not served.
    Refused(Status),
}

impl Routing {
    pub(crate) fn new(settings: &Settings) -> Self {
        let route = |rule: &crate::settings::Rule| {
            let way = match (&rule.redirect, &rule.rewrite) {
                (Some(redirect), _) => {
                    Way::Redirect(Status::from_code(redirect.status)?, redirect.to.clone())
                }
                (None, Some(to)) => Way::Rewrite(to.clone()),
                (None, None) => return None,
            };
            Some(Route { paths: rule.paths.clone(), way })
        };
        let page =
            |(status, page): &(u16, SitePath)| Some((Status::from_code(*status)?, page_key(*status, page)));
        Self {
            rules: settings.rules.iter().filter_map(route).collect(),
            fallback: settings.fallback.as_ref().map(|file| inside_key(&below_root(file))),
            pages: settings.error_pages.iter().filter_map(page).collect(),
            health: settings.health_path.as_ref().map(|path| path.as_str()[1..].into()),
        }
    }

    /// Whether a decoded path is the one for health checks.
    pub(crate) fn is_health(&self, path: &str) -> bool {
        self.health.as_deref().is_some_and(|health| health == path)
    }

    /// What the first rule that matches makes of a decoded path.
    pub(crate) fn route(&self, path: &str, rules: path::Rules) -> Option<Routed> {
        self.rules.iter().find_map(|route| {
            let captures = route.paths.iter().find_map(|pattern| pattern.matches(path))?;
            Some(match &route.way {
                Way::Redirect(status, to) => {
                    Routed::Redirect { status: *status, location: to.fill_encoded(&captures) }
                }
                Way::Rewrite(to) => rewritten(&to.fill(&captures), rules),
            })
        })
    }

    /// As [`route`](Self::route) for methods that no rewrite serves.
    pub(crate) fn redirect(&self, path: &str, rules: path::Rules) -> Option<(Status, String)> {
        match self.route(path, rules)? {
            Routed::Redirect { status, location } => Some((status, location)),
            Routed::Rewrite(_) | Routed::Refused(_) => None,
        }
    }

    /// The cache's name for what answers a path that leads nowhere: of one whose last name has no dot, which therefore is no file that a
    /// page is missing.
    pub(crate) fn fallback_for(&self, path: &str) -> Option<&str> {
        let name = path.trim_end_matches(std::path::is_separator);
        let name = name.rsplit(std::path::is_separator).next().unwrap_or(name);
        self.fallback.as_deref().filter(|_| !name.contains('.'))
    }

    /// The cache's name for the page of a status.
    pub(crate) fn page(&self, status: Status) -> Option<&str> {
        self.pages.iter().find(|(other, _)| *other == status).map(|(_, key)| &**key)
    }
}

/// What a filled-in rewrite names. It is as much the client's as the path was, and is resolved by the same rules.
fn rewritten(path: &str, rules: path::Rules) -> Routed {
    let mut file = String::new();
    let path = path.strip_prefix('/').unwrap_or(path);
    match rules.resolve(path.split('/'), &mut file) {
        Ok(form) => {
            if form == path::Form::Folder {
                file.push('/');
            }
            Routed::Rewrite(inside_key(&file))
        }
        Err(refusal) => Routed::Refused(Status::from_code(refusal.status()).unwrap_or(Status::NOT_FOUND)),
    }
}

/// The file that a setting names. It may be one that clients cannot ask for, such as `/.errors/404.html`.
fn below_root(path: &SitePath) -> String {
    let mut file = String::new();
    let form = path::Rules::native(true).resolve(path.as_str()[1..].split('/'), &mut file);
    if form == Ok(path::Form::Folder) {
        file.push('/');
    }
    file
}

/// What separates the parts of the cache's names; no path has it.
const MARK: char = '\0';

/// The cache's name for a file that is reached by another path than its own: neither rules nor the fallback hold for it.
pub(crate) fn inside_key(file: &str) -> Box<str> {
    format!("{MARK}{file}").into()
}

fn page_key(status: u16, page: &SitePath) -> Box<str> {
    format!("{MARK}{status}{MARK}{}", below_root(page)).into()
}

/// The file that one of the cache's names stands for, relative to the root.
pub(crate) fn file_of(key: &str) -> &str {
    key.rsplit(MARK).next().unwrap_or(key)
}
