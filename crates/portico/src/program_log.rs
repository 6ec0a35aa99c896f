//! The program log: what an operator reads on standard error.

use portico::settings::{LogFormat, LogLevel, Settings};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// Installs the subscriber. Only the program does so; the library leaves it to whoever uses it.
pub(crate) fn install(settings: &Settings) {
    let level = match settings.log {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // What libraries underneath say is for their authors, unless it warns.
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("portico", level)
        .with_target("completion_port", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    match settings.log_format {
        LogFormat::Text => {
            registry.with(lines.with_ansi(false).with_target(false).with_filter(filter)).init()
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).init(),
    }
}
