//! The command line, made from the table of settings.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, value_parser};
use portico::settings::table::{Setting, Shape, TABLE};
use portico::settings::{Effective, Settings, Sources};

/// What the user asks for.
pub(crate) enum Request {
    /// Print this text and end.
    Print(String),
    /// Print the version and end.
    Version {
        /// And which backends work here.
        verbose: bool,
    },
    /// Ask for a password, and print a line of a users file for it.
    HashPassword {
        /// The user's name.
        name: String,
    },
    /// Serve.
    Serve(Box<Effective>),
}

const ABOUT: &str = "Serves the files of a folder over HTTP, through one completion port.";

const EXAMPLES: &str = "\
Every setting is also an environment variable (PORTICO_HEAD_BYTES) and a key of
portico.toml (head_bytes). A flag beats the environment, which beats the file,
which beats the default. portico.toml is read from the current folder when it
is there. --print-config shows what holds, and where each value comes from.

Examples:
  portico ./site
      Serve ./site at http://127.0.0.1:8080/, to this machine only.
  portico ./site --address 0.0.0.0 --port 80 --access-log access.log
      Serve everybody, and write a line for each request.
  portico ./site --upload ./site/inbox
      Let clients put files: curl -T report.pdf http://127.0.0.1:8080/inbox/
  portico ./site --idle-timeout-ms 5000 --print-config > mine.toml
      Write down a configuration; portico --config mine.toml serves with it.
  portico --version --verbose
      Show which completion ports work on this machine, and why others do not.
";

/// Reads flags, environment and configuration file.
///
/// # Errors
/// One sentence that names the mistake.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(Request::Print(error.to_string())),
        Err(error) => return Err(sentence(&error)),
    };
    if matches.get_flag("version") {
        return Ok(Request::Version { verbose: matches.get_flag("verbose") });
    }
    if matches.get_flag("verbose") {
        return Err("--verbose goes with --version; the program log has --log debug".to_owned());
    }
    if let Some(name) = matches.get_one::<String>("hash_password") {
        return match name.contains(':') || name.trim() != name || name.is_empty() || name.starts_with('#') {
            true => Err(format!(
                "{name:?} cannot be a user's name: it is empty, or has a colon, a # or white space at its ends"
            )),
            false => Ok(Request::HashPassword { name: name.clone() }),
        };
    }
    let config = matches.get_one::<OsString>("config");
    let mut sources =
        Sources::of_process(config.map(OsString::as_os_str)).map_err(|error| error.to_string())?;
    for setting in TABLE {
        let Some(values) = matches.get_many::<OsString>(setting.name) else { continue };
        let values: Vec<_> = values.map(OsString::as_os_str).collect();
        sources.flags.push((setting.name, values.join(",".as_ref())));
    }
    let effective = sources.resolve().map_err(|error| error.to_string())?;
    if matches.get_flag("print_config") {
        return Ok(Request::Print(effective.to_toml()));
    }
    Ok(Request::Serve(Box::new(effective)))
}

/// The text of `--version`; `backends` are the lines that `--verbose` adds.
pub(crate) fn version(backends: &[String]) -> String {
    let mut text = format!("portico {}\n", env!("CARGO_PKG_VERSION"));
    for line in backends {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn command() -> Command {
    let defaults = Settings::new(".");
    let mut command = Command::new("portico")
        .about(ABOUT)
        .after_help(EXAMPLES)
        .override_usage("portico [ROOT] [OPTIONS]")
        .disable_version_flag(true)
        .disable_help_flag(true)
        .max_term_width(110);
    for setting in TABLE {
        command = command.arg(argument(setting, &defaults));
    }
    let about = "About the program";
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name.replace('_', "-")).help(help).action(ArgAction::SetTrue).help_heading(about)
    };
    command.args([
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(OsString))
            .help("Read this configuration file [default: portico.toml in the current folder, when it is there]")
            .help_heading(about),
        Arg::new("hash_password")
            .long("hash-password")
            .value_name("NAME")
            .help("Ask for a password, and print the line for this user in the file of --auth-users")
            .help_heading(about),
        flag("print_config", "Print the settings that hold as a portico.toml, and where each comes from"),
        flag("version", "Print the version").short('V'),
        flag("verbose", "With --version: print which completion ports work on this machine"),
        Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Print this help").help_heading(about),
    ])
}

/// Values stay text here: the table reads them, so that a mistake sounds the same wherever it was made.
fn argument(setting: &'static Setting, defaults: &Settings) -> Arg {
    let argument = Arg::new(setting.name)
        .value_name(setting.placeholder)
        .value_parser(value_parser!(OsString))
        .help(help(setting, defaults));
    if setting.name == "root" {
        return argument;
    }
    let argument = argument.long(setting.flag_name()).help_heading(setting.heading.title());
    match setting.shape {
        // `--trace` alone means true. The value needs its `=`, or `--trace ./site` would take the folder for it.
        Shape::Boolean => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Shape::List => argument.action(ArgAction::Append),
        // The table says what is wrong with a negative number better than clap does.
        _ => argument.allow_negative_numbers(true),
    }
}

fn help(setting: &Setting, defaults: &Settings) -> StyledStr {
    let mut help = setting.help.to_owned();
    if let Shape::Choice(names) = setting.shape {
        help.push_str(&format!(" [one of: {}]", names.join(", ")));
    }
    match setting.shown(defaults) {
        Some(value) if setting.unit().is_empty() => help.push_str(&format!(" [default: {value}]")),
        Some(value) => help.push_str(&format!(" [default: {value} {}]", setting.unit())),
        None => help.push_str(" [default: off]"),
    }
    help.into()
}

/// A usage error as one sentence.
fn sentence(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let said = match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => match context(ContextKind::SuggestedArg) {
            Some(near) => format!("there is no flag {argument}; did you mean {near}?"),
            None => format!("there is no flag {argument}"),
        },
        ErrorKind::UnknownArgument => format!("only one folder can be served, and {argument:?} is one more"),
        ErrorKind::ArgumentConflict => format!("{argument} is given more than once"),
        ErrorKind::InvalidValue | ErrorKind::NoEquals => format!("{argument} needs a value"),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    format!("{said} (portico --help shows all flags)")
}
