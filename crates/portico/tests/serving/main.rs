//! The server at its socket: the same behaviour on every backend.

#[path = "../common/mod.rs"]
mod common;

mod authentication;
mod changes;
mod clients;
mod coding;
mod conditional;
mod counters;
mod fields;
mod files;
mod framing;
mod hostile_paths;
mod hostile_targets;
mod hosts;
mod limits;
mod listening;
mod listing;
mod pages;
mod paths;
mod protocol;
mod ready;
mod refusals;
mod rough;
mod rules;
#[cfg(target_os = "linux")]
mod swapped_links;
mod time_limits;
mod uploads;
mod uploads_deleted;
mod uploads_of_forms;
mod uploads_refused;
mod users;
mod whole;
