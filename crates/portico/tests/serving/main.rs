//! The server at its socket: the same behaviour on every backend.

#[path = "../common/mod.rs"]
mod common;

mod authentication;
mod changes;
mod clients;
mod conditional;
mod files;
mod framing;
mod hostile_paths;
mod hostile_targets;
mod hosts;
mod limits;
mod listening;
mod paths;
mod protocol;
mod refusals;
mod rough;
#[cfg(target_os = "linux")]
mod swapped_links;
mod time_limits;
mod uploads;
mod whole;
