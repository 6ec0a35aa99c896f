//! `[[rule]]`, `[error_pages]` and `[cors]` in the configuration file.

use toml::Spanned;
use toml::de::DeValue;

use super::error::SettingsError;
use super::field::Value;
use super::file::{Reader, convert};
use super::site_rules::{
    Cors, ERROR_PAGE_STATUSES, Redirect, Rule, SitePath, SiteTables, check_field, no_page_for,
};
use crate::pattern::{Pattern, Template};

type Item<'t> = Spanned<DeValue<'t>>;

impl Reader<'_> {
    /// Reads a key that is one of these tables. False if it is none.
    pub(super) fn site_table(
        &self,
        name: &str,
        value: &Item<'_>,
        tables: &mut SiteTables,
    ) -> Result<bool, SettingsError> {
        match name {
            "rule" => {
                let DeValue::Array(items) = value.get_ref() else {
                    return Err(self.wrong(value, "rule", "is written as [[rule]], with two brackets"));
                };
                tables.place = Some(self.place(value.span()));
                tables.rules = items.iter().map(|item| self.rule(item)).collect::<Result<_, _>>()?;
            }
            "error_pages" => tables.error_pages = self.error_pages(value)?,
            "cors" => tables.cors = Some(self.cors(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn wrong(&self, at: &Item<'_>, name: &str, message: impl Into<String>) -> SettingsError {
        SettingsError::new(self.place(at.span()), name, message)
    }

    fn rule(&self, item: &Item<'_>) -> Result<Rule, SettingsError> {
        let DeValue::Table(entries) = item.get_ref() else {
            return Err(self.wrong(item, "rule", "is written as [[rule]], with two brackets"));
        };
        let mut rule = Rule::new(Vec::new());
        let (mut redirect, mut status) = (None, None);
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            let wrong = |message: String| self.wrong(value, name, message);
            match name {
                "path" => rule.paths = self.patterns(name, value)?,
                "headers" => {
                    for (field, value) in self.texts_by_name(name, value)? {
                        rule.headers.push((field, value));
                    }
                }
                "cache_control" => {
                    let text = self.text(name, value)?;
                    check_field("Cache-Control", &text).map_err(wrong)?;
                    rule.headers.push(("Cache-Control".to_owned(), text));
                }
                "redirect" => {
                    let to = Template::of_redirect(&self.text(name, value)?);
                    redirect = Some(to.map_err(|error| wrong(error.to_string()))?);
                }
                "status" => status = Some((value, self.number(name, value)?)),
                "rewrite" => {
                    let to = Template::of_rewrite(&self.text(name, value)?);
                    rule.rewrite = Some(to.map_err(|error| wrong(error.to_string()))?);
                }
                _ => {
                    let keys = "path, headers, cache_control, redirect, status and rewrite";
                    let message = format!("{name:?} is not a key of a rule, which has {keys}");
                    return Err(SettingsError::new(self.place(key.span()), "", message));
                }
            }
        }
        // In whichever of the two keys a field was: the order means nothing.
        rule.headers.sort();
        rule.redirect = match (redirect, status) {
            (Some(to), status) => {
                let status = status.map_or(302, |(_, status)| status.try_into().unwrap_or(u16::MAX));
                Some(Redirect { to, status })
            }
            (None, Some((value, _))) => {
                return Err(self.wrong(value, "status", "belongs to redirect = \"...\""));
            }
            (None, None) => None,
        };
        rule.check().map_err(|(name, message)| {
            let at = entries.iter().find(|(key, _)| key.get_ref() == name).map_or(item, |(_, value)| value);
            self.wrong(at, name, message)
        })?;
        Ok(rule)
    }

    fn error_pages(&self, value: &Item<'_>) -> Result<Vec<(u16, SitePath)>, SettingsError> {
        let DeValue::Table(entries) = value.get_ref() else {
            return Err(self.wrong(value, "error_pages", "is a table: 404 = \"/404.html\""));
        };
        let mut pages = Vec::new();
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            let status = name.parse().ok().filter(|status| ERROR_PAGE_STATUSES.contains(status));
            let Some(status) = status else {
                return Err(SettingsError::new(self.place(key.span()), "error_pages", no_page_for(name)));
            };
            let page = SitePath::new(&self.text(name, value)?);
            pages.push((status, page.map_err(|message| self.wrong(value, name, message))?));
        }
        Ok(pages)
    }

    fn cors(&self, item: &Item<'_>) -> Result<Cors, SettingsError> {
        let DeValue::Table(entries) = item.get_ref() else {
            return Err(self.wrong(item, "cors", "is a table: [cors]"));
        };
        let mut cors = Cors::new(Vec::new());
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            match name {
                "path" => cors.paths = self.patterns(name, value)?,
                "origins" => cors.origins = self.texts(name, value)?,
                "methods" => cors.methods = self.texts(name, value)?,
                "allow_headers" => cors.allow_headers = self.texts(name, value)?,
                "expose_headers" => cors.expose_headers = self.texts(name, value)?,
                "credentials" => match convert(value.get_ref()) {
                    Ok(Value::Boolean(yes)) => cors.credentials = yes,
                    _ => return Err(self.wrong(value, name, "expected true or false")),
                },
                "max_age_s" => {
                    let seconds = self.number(name, value)?.try_into();
                    let most = "is above the most 4294967295 s";
                    cors.max_age_s = seconds.map_err(|_| self.wrong(value, name, most))?;
                }
                _ => {
                    let keys =
                        "path, origins, methods, allow_headers, expose_headers, credentials and max_age_s";
                    let message = format!("{name:?} is not a key of [cors], which has {keys}");
                    return Err(SettingsError::new(self.place(key.span()), "", message));
                }
            }
        }
        cors.check().map_err(|(name, message)| {
            let at = entries.iter().find(|(key, _)| key.get_ref() == name).map_or(item, |(_, value)| value);
            self.wrong(at, name, message)
        })?;
        Ok(cors)
    }

    fn patterns(&self, name: &str, value: &Item<'_>) -> Result<Vec<Pattern>, SettingsError> {
        let pattern = |text: &String| {
            Pattern::new(text).map_err(|error| self.wrong(value, name, format!("{text:?}: {error}")))
        };
        self.texts(name, value)?.iter().map(pattern).collect()
    }

    fn text(&self, name: &str, value: &Item<'_>) -> Result<String, SettingsError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            _ => Err(self.wrong(value, name, "expected text in quotes")),
        }
    }

    /// A list of texts, or one.
    fn texts(&self, name: &str, value: &Item<'_>) -> Result<Vec<String>, SettingsError> {
        match convert(value.get_ref()) {
            Ok(Value::Text(text)) => Ok(vec![text]),
            Ok(Value::List(texts)) => Ok(texts),
            _ => Err(self.wrong(value, name, "expected text in quotes, or a list of texts")),
        }
    }

    fn number(&self, name: &str, value: &Item<'_>) -> Result<u64, SettingsError> {
        match convert(value.get_ref()) {
            Ok(Value::Integer(number)) => Ok(number),
            _ => Err(self.wrong(value, name, "expected a whole number")),
        }
    }

    fn texts_by_name(&self, name: &str, value: &Item<'_>) -> Result<Vec<(String, String)>, SettingsError> {
        let DeValue::Table(entries) = value.get_ref() else {
            return Err(self.wrong(value, name, "is a table: { Name = \"value\" }"));
        };
        entries
            .iter()
            .map(|(key, value)| Ok((key.get_ref().clone().into_owned(), self.text(name, value)?)))
            .collect()
    }
}
