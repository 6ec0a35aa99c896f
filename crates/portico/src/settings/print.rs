//! The effective settings as a `portico.toml`, each with the place that its value comes from.

use std::fmt::Write as _;

use super::field::Value;
use super::print_tables;
use super::sources::{Effective, Origin};
use super::table::{Setting, TABLE};

impl Effective {
    /// A configuration file that gives exactly these settings, with a comment on where each comes from.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut heading = None;
        for setting in TABLE {
            if heading != Some(setting.heading) {
                let gap = if heading.is_some() { "\n" } else { "" };
                let _ = writeln!(out, "{gap}# {}", setting.heading.title());
                heading = Some(setting.heading);
            }
            let value = setting.value(&self.settings);
            let line = match &value {
                Value::Off => format!("# {} = {}", setting.name, setting.placeholder),
                value => format!("{} = {}", setting.name, literal(value)),
            };
            let _ = writeln!(out, "{line:<44} # {}", self.explain(setting));
        }
        print_tables::print(&self.settings, &mut out);
        for host in &self.settings.hosts {
            let names = literal(&Value::List(host.names.clone()));
            let _ = writeln!(out, "\n[[host]]\nnames = {names}");
            for setting in TABLE {
                let value = setting.value(&host.settings);
                if value != setting.value(&self.settings) {
                    let _ = match &value {
                        Value::Off => writeln!(out, "{} = \"\"", setting.name),
                        value => writeln!(out, "{} = {}", setting.name, literal(value)),
                    };
                }
            }
            print_tables::print_of_host(host, &self.settings, &mut out);
        }
        out
    }

    fn explain(&self, setting: &Setting) -> String {
        match (self.origin(setting.name), &self.file) {
            (Origin::Default, _) => "default".to_owned(),
            (Origin::File(line), Some(file)) => format!("{}:{line}", file.display()),
            (Origin::File(line), None) => format!("line {line}"),
            (Origin::Environment, _) => format!("environment {}", setting.variable_name()),
            (Origin::Flag, _) if setting.name == "root" => "argument ROOT".to_owned(),
            (Origin::Flag, _) => format!("flag --{}", setting.flag_name()),
        }
    }
}

pub(super) fn literal(value: &Value) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    match value {
        Value::Words(words) => quoted(&words.to_string_lossy()),
        Value::Text(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::List(names) => {
            format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
        }
        Value::Off => String::new(),
    }
}
