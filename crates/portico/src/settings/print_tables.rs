//! The tables of a `portico.toml` that says what holds.

use std::fmt::Write as _;

use super::field::Value;
use super::print::literal;
use super::site_rules::{Cors, Rule};
use super::{HostSettings, Settings};
use crate::pattern::Pattern;

/// Writes the tables of the top level. They stand behind its keys.
pub(super) fn print(settings: &Settings, out: &mut String) {
    let pages: Vec<_> = settings.error_pages.iter().collect();
    print_pages("error_pages", &pages, out);
    if let Some(cors) = &settings.cors {
        print_cors("cors", cors, out);
    }
    settings.rules.iter().for_each(|rule| print_rule("rule", rule, out));
}

/// Writes the tables that a host has of its own.
pub(super) fn print_of_host(host: &HostSettings, above: &Settings, out: &mut String) {
    let settings = &host.settings;
    let own: Vec<_> = settings.error_pages.iter().filter(|page| !above.error_pages.contains(page)).collect();
    print_pages("host.error_pages", &own, out);
    if let Some(cors) = settings.cors.as_ref().filter(|cors| Some(*cors) != above.cors.as_ref()) {
        print_cors("host.cors", cors, out);
    }
    // Those above come behind the host's own.
    let own = settings.rules.strip_suffix(&above.rules[..]).unwrap_or(&settings.rules);
    own.iter().for_each(|rule| print_rule("host.rule", rule, out));
}

fn print_pages(name: &str, pages: &[&(u16, super::SitePath)], out: &mut String) {
    if !pages.is_empty() {
        let _ = writeln!(out, "\n[{name}]");
    }
    for (status, page) in pages {
        let _ = writeln!(out, "{status} = {}", text(page.as_str()));
    }
}

fn print_cors(name: &str, cors: &Cors, out: &mut String) {
    let _ = writeln!(out, "\n[{name}]\npath = {}", patterns(&cors.paths));
    for (key, names) in [
        ("origins", &cors.origins),
        ("methods", &cors.methods),
        ("allow_headers", &cors.allow_headers),
        ("expose_headers", &cors.expose_headers),
    ] {
        let _ = writeln!(out, "{key} = {}", literal(&Value::List(names.clone())));
    }
    let _ = writeln!(out, "credentials = {}\nmax_age_s = {}", cors.credentials, cors.max_age_s);
}

fn print_rule(name: &str, rule: &Rule, out: &mut String) {
    let _ = writeln!(out, "\n[[{name}]]\npath = {}", patterns(&rule.paths));
    if !rule.headers.is_empty() {
        let field = |(name, value): &(String, String)| format!("{} = {}", text(name), text(value));
        let fields: Vec<_> = rule.headers.iter().map(field).collect();
        let _ = writeln!(out, "headers = {{ {} }}", fields.join(", "));
    }
    if let Some(redirect) = &rule.redirect {
        let _ = writeln!(out, "redirect = {}\nstatus = {}", text(redirect.to.as_str()), redirect.status);
    }
    if let Some(rewrite) = &rule.rewrite {
        let _ = writeln!(out, "rewrite = {}", text(rewrite.as_str()));
    }
}

fn text(text: &str) -> String {
    // With the quotes that a key of several words needs as well.
    literal(&Value::Text(text.to_owned()))
}

fn patterns(patterns: &[Pattern]) -> String {
    literal(&Value::List(patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()))
}
